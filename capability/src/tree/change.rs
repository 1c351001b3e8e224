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
    match (left, right) {
        (Some(left), Some(right)) => {
            let heir = leftmost(store, order, right);
            let start = detach_heir(store, order, link, heir, right);
            links_mut(store, order, heir).left = Some(left);
            links_mut(store, order, left).up = Some(heir);
            // What the heir knew is of where it was: nothing may pass for unchanged.
            links_mut(store, order, heir).height = 0;
            replace(store, order, root, up, link, Some(heir));
            rebalance(store, order, root, start);
            rebalance(store, order, root, Some(heir));
        }
        (child, None) | (None, child) => {
            replace(store, order, root, up, link, child);
            rebalance(store, order, root, up);
        }
    }
    *links_mut(store, order, link) = TreeLinks::default();
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
        let look = update(store, order, at);
        here = look.up.filter(|_| look.changed);
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

/// What a look at a node and its children showed.
struct Look {
    up: Option<Link>,
    left: Option<Link>,
    right: Option<Link>,
    /// How much higher the left side is than the right.
    lean: i16,
    /// The node knows something new of what is below it, so those above must, too.
    changed: bool,
}

/// Works out what the node knows of what is below it.
fn update<S: Store>(store: &mut S, order: Order, link: Link) -> Look {
    let node = store.node(link);
    let TreeLinks {
        up, left, right, ..
    } = node.links[order as usize];
    let mut marks = own_marks(node);
    let mut reach = node.end();
    let mut exclusive_reach = if node.kind.is_exclusive() { reach } else { 0 };
    let mut heights = [0; 2];
    for (child, height) in [left, right].into_iter().zip(&mut heights) {
        let Some(child) = child else { continue };
        let child = store.node(child);
        let links = &child.links[order as usize];
        marks |= links.marks;
        *height = links.height;
        reach = reach.max(child.reach);
        exclusive_reach = exclusive_reach.max(child.exclusive_reach);
    }
    let height = heights[0].max(heights[1]) + 1;
    let links = &node.links[order as usize];
    let mut changed = (links.marks, links.height) != (marks, height);
    if order == Order::Siblings {
        changed |= (node.reach, node.exclusive_reach) != (reach, exclusive_reach);
    }
    if changed {
        let node = store.node_mut(link);
        if order == Order::Siblings {
            node.reach = reach;
            node.exclusive_reach = exclusive_reach;
        }
        let links = &mut node.links[order as usize];
        links.marks = marks;
        links.height = height;
    }
    Look {
        up,
        left,
        right,
        lean: i16::from(heights[0]) - i16::from(heights[1]),
        changed,
    }
}

fn rebalance<S: Store>(
    store: &mut S,
    order: Order,
    root: &mut Option<Link>,
    mut from: Option<Link>,
) {
    while let Some(link) = from {
        let look = update(store, order, link);
        let heavy = match look.lean {
            2.. => look.left,
            ..=-2 => look.right,
            _ if look.changed => None,
            _ => return,
        };
        if let Some(heavy) = heavy {
            straighten(store, order, root, link, heavy);
        }
        from = look.up;
    }
}

/// Rotates at `link`, below which `heavy` is two higher than its sibling.
fn straighten<S: Store>(
    store: &mut S,
    order: Order,
    root: &mut Option<Link>,
    link: Link,
    heavy: Link,
) {
    let to_the_right = links(store, order, link).left == Some(heavy);
    let TreeLinks { left, right, .. } = *links(store, order, heavy);
    let (outer, inner) = if to_the_right {
        (left, right)
    } else {
        (right, left)
    };
    if height(store, order, inner) > height(store, order, outer) {
        rotate(store, order, root, heavy, !to_the_right);
    }
    rotate(store, order, root, link, to_the_right);
}

/// Lets a child of `link` take its place, so that `link` sinks to the right or to the left.
fn rotate<S: Store>(
    store: &mut S,
    order: Order,
    root: &mut Option<Link>,
    link: Link,
    to_the_right: bool,
) {
    let TreeLinks {
        up, left, right, ..
    } = *links(store, order, link);
    let Some(child) = (if to_the_right { left } else { right }) else {
        return;
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
}
