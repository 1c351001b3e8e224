//! Whether a tree is as it must be.

use core::cmp::Ordering;

use super::{Order, Tree, height, key, links, own_marks};
use crate::node::Link;
use crate::records::Records;
use crate::store::Store;

/// Why a tree is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Checks order, balance and what each node knows of what is below it; returns how many nodes there are.
pub(crate) fn check<S: Store>(
    store: &S,
    order: Order,
    root: Option<Link>,
) -> Result<usize, Malformed> {
    let tree = Tree::new(store, order, root);
    let mut count = 0;
    let mut here = tree.first();
    if root.is_some_and(|root| links(store, order, root).up.is_some()) {
        return Err(Malformed);
    }
    while let Some(link) = here {
        count += 1;
        check_one(store, order, link)?;
        here = tree.next(link);
    }
    Ok(count)
}

fn check_one<S: Store>(store: &S, order: Order, link: Link) -> Result<(), Malformed> {
    let own = links(store, order, link);
    let node = store.node(link);
    let mut marks = own_marks(node);
    let mut reach = node.end();
    for (child, side) in [(own.left, Ordering::Less), (own.right, Ordering::Greater)] {
        let Some(child) = child else { continue };
        let child_node = store.node(child);
        let below = links(store, order, child);
        marks |= below.marks;
        reach = reach.max(child_node.reach);
        if below.up != Some(link) || key(order, child_node).cmp(&key(order, node)) != side {
            return Err(Malformed);
        }
    }
    let (left, right) = (
        height(store, order, own.left),
        height(store, order, own.right),
    );
    let balanced = left.abs_diff(right) <= 1 && own.height == left.max(right) + 1;
    let knows = own.marks == marks && (order != Order::Siblings || node.reach == reach);
    if balanced && knows {
        Ok(())
    } else {
        Err(Malformed)
    }
}
