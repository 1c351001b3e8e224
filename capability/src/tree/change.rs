//! Putting nodes in and taking them out, keeping the balance and what each node knows of what is below it.

use super::{Order, TreeLinks, height, key, links, own_marks};
use crate::node::Link;
use crate::records::Records;
use crate::store::Store;

fn links_mut<S: Store>(store: &mut S, order: Order, link: Link) -> &mut TreeLinks {
    &mut store.node_mut(link).links[order as usize]
}

/// Puts `link` into the tree.
pub(crate) fn insert<S: Store>(store: &mut S, order: Order, root: &mut Option<Link>, link: Link) {
    let new = key(order, store.node(link));
    let (mut above, mut here, mut left) = (None, *root, false);
    while let Some(at) = here {
        above = here;
        left = new < key(order, store.node(at));
        let links = links(store, order, at);
        here = if left { links.left } else { links.right };
    }
    *links_mut(store, order, link) = TreeLinks {
        up: above,
        ..TreeLinks::default()
    };
    match above {
        None => *root = Some(link),
        Some(above) if left => links_mut(store, order, above).left = Some(link),
        Some(above) => links_mut(store, order, above).right = Some(link),
    }
    rebalance(store, order, root, Some(link));
}

/// Takes `link` out of the tree.
pub(crate) fn remove<S: Store>(store: &mut S, order: Order, root: &mut Option<Link>, link: Link) {
    let TreeLinks {
        up, left, right, ..
    } = *links(store, order, link);
    let start = match (left, right) {
        (Some(left), Some(right)) => {
            let heir = leftmost(store, order, right);
            let start = detach_heir(store, order, link, heir, right);
            links_mut(store, order, heir).left = Some(left);
            links_mut(store, order, left).up = Some(heir);
            replace(store, order, root, up, link, Some(heir));
            start
        }
        (child, None) | (None, child) => {
            replace(store, order, root, up, link, child);
            up
        }
    };
    *links_mut(store, order, link) = TreeLinks::default();
    rebalance(store, order, root, start);
}

/// Takes `heir` from below `right`, the right child of `link`, and puts `right` below it instead.
/// Returns the lowest node whose height may have changed.
fn detach_heir<S: Store>(
    store: &mut S,
    order: Order,
    link: Link,
    heir: Link,
    right: Link,
) -> Option<Link> {
    let TreeLinks {
        up, right: below, ..
    } = *links(store, order, heir);
    if up == Some(link) {
        return Some(heir);
    }
    replace(store, order, &mut None, up, heir, below);
    links_mut(store, order, heir).right = Some(right);
    links_mut(store, order, right).up = Some(heir);
    up
}

/// Works out anew what the nodes from `link` up to the root know of what is below them.
pub(crate) fn refresh<S: Store>(store: &mut S, order: Order, link: Link) {
    let mut here = Some(link);
    while let Some(at) = here {
        update(store, order, at);
        here = links(store, order, at).up;
    }
}

fn leftmost<S: Store>(store: &S, order: Order, mut link: Link) -> Link {
    while let Some(left) = links(store, order, link).left {
        link = left;
    }
    link
}

/// Puts `new` where `old` is below `above`.
fn replace<S: Store>(
    store: &mut S,
    order: Order,
    root: &mut Option<Link>,
    above: Option<Link>,
    old: Link,
    new: Option<Link>,
) {
    match above {
        None => *root = new,
        Some(above) => {
            let links = links_mut(store, order, above);
            if links.left == Some(old) {
                links.left = new;
            } else {
                links.right = new;
            }
        }
    }
    if let Some(new) = new {
        links_mut(store, order, new).up = above;
    }
}

fn update<S: Store>(store: &mut S, order: Order, link: Link) {
    let TreeLinks { left, right, .. } = *links(store, order, link);
    let node = store.node(link);
    let mut marks = own_marks(node);
    let mut reach = node.end();
    let mut exclusive_reach = if node.kind.is_exclusive() { reach } else { 0 };
    let mut height = 0;
    for child in [left, right].into_iter().flatten() {
        let child = store.node(child);
        let links = &child.links[order as usize];
        marks |= links.marks;
        height = height.max(links.height);
        reach = reach.max(child.reach);
        exclusive_reach = exclusive_reach.max(child.exclusive_reach);
    }
    let node = store.node_mut(link);
    if order == Order::Siblings {
        node.reach = reach;
        node.exclusive_reach = exclusive_reach;
    }
    let links = &mut node.links[order as usize];
    links.marks = marks;
    links.height = height + 1;
}

fn rebalance<S: Store>(
    store: &mut S,
    order: Order,
    root: &mut Option<Link>,
    mut from: Option<Link>,
) {
    while let Some(link) = from {
        update(store, order, link);
        let top = straighten(store, order, root, link);
        from = links(store, order, top).up;
    }
}

/// Rotates at `link` where one side is two higher than the other; returns what now stands there.
fn straighten<S: Store>(store: &mut S, order: Order, root: &mut Option<Link>, link: Link) -> Link {
    let TreeLinks { left, right, .. } = *links(store, order, link);
    let (high_left, high_right) = (height(store, order, left), height(store, order, right));
    let (heavy, to_the_right) = match (left, right) {
        (Some(left), _) if high_left > high_right + 1 => (left, true),
        (_, Some(right)) if high_right > high_left + 1 => (right, false),
        _ => return link,
    };
    let TreeLinks { left, right, .. } = *links(store, order, heavy);
    let (outer, inner) = if to_the_right {
        (left, right)
    } else {
        (right, left)
    };
    if height(store, order, inner) > height(store, order, outer) {
        rotate(store, order, root, heavy, !to_the_right);
    }
    rotate(store, order, root, link, to_the_right)
}

/// Lets a child of `link` take its place, so that `link` sinks to the right or to the left.
fn rotate<S: Store>(
    store: &mut S,
    order: Order,
    root: &mut Option<Link>,
    link: Link,
    to_the_right: bool,
) -> Link {
    let TreeLinks {
        up, left, right, ..
    } = *links(store, order, link);
    let Some(child) = (if to_the_right { left } else { right }) else {
        return link;
    };
    let TreeLinks {
        left: child_left,
        right: child_right,
        ..
    } = *links(store, order, child);
    let middle = if to_the_right {
        links_mut(store, order, link).left = child_right;
        links_mut(store, order, child).right = Some(link);
        child_right
    } else {
        links_mut(store, order, link).right = child_left;
        links_mut(store, order, child).left = Some(link);
        child_left
    };
    if let Some(middle) = middle {
        links_mut(store, order, middle).up = Some(link);
    }
    replace(store, order, root, up, link, Some(child));
    links_mut(store, order, link).up = Some(child);
    update(store, order, link);
    update(store, order, child);
    child
}
