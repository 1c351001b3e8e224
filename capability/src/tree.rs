//! Balanced trees threaded through the nodes: one algorithm for the three orders that nodes stand in.
//!
//! An AVL tree with links to the parent, so that nothing recurses and stepping is constant space. In the order
//! of siblings each node also knows how far the ranges below it reach, which answers "does anything overlap
//! this range" in logarithmic time, and in every order it knows which marks occur below it, which finds the
//! next node that bears one.
//!
//! The root is kept by whoever the tree belongs to and is passed in. A node is in at most one tree of each order, and
//! what an order compares may not change while it is in.

use core::cmp::Ordering;

use crate::node::{Kind, Link, Node, Resource, flag};
use crate::records::Records;
use crate::store::Store;
use adyton_abi::region::Attributes;

/// The orders that nodes stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Among what was derived from the same parent, by beginning.
    Siblings,
    /// With who has it: a domain's holdings by class and place, or what nobody has, by name.
    Holder,
    /// Among what a domain is offered, by name.
    Offers,
}

/// What a node bears, or what occurs below it.
pub(crate) mod mark {
    /// Not quarantined.
    pub(crate) const WORKABLE: u8 = 1;
    /// A control page that is not quarantined.
    pub(crate) const WORKABLE_CONTROL: u8 = 2;
    /// A control page.
    pub(crate) const CONTROL: u8 = 4;
    /// Pool.
    pub(crate) const POOL: u8 = 8;
    /// A claim.
    pub(crate) const CLAIM: u8 = 16;
}

/// Classes of a domain's holdings, the first part of their key.
pub(crate) mod class {
    /// Regions of memory, by guest-physical place.
    pub(crate) const MEMORY: u64 = 0;
    /// Cores, by number.
    pub(crate) const CORE: u64 = 1;
    /// Exit pages, by the index of their vCPU.
    pub(crate) const EXIT: u64 = 2;
}

/// Place of a node in one tree.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TreeLinks {
    pub(crate) up: Option<Link>,
    left: Option<Link>,
    right: Option<Link>,
    height: u8,
    marks: u8,
}

/// What orders a tree: compared as a pair.
pub(crate) type Key = (u64, u64);

/// The key of `node` in `order`.
pub(crate) fn key(order: Order, node: &Node) -> Key {
    match (order, node.owner) {
        (Order::Siblings, _) => (node.base, node.id.word()),
        (Order::Holder, Some(_)) => (class_of(node), node.place),
        (Order::Holder, None) | (Order::Offers, _) => (0, node.id.word()),
    }
}

fn class_of(node: &Node) -> u64 {
    match (node.kind, node.resource) {
        (Kind::Exit, _) => class::EXIT,
        (_, Resource::Core) => class::CORE,
        (_, Resource::Memory) => class::MEMORY,
    }
}

fn own_marks(node: &Node) -> u8 {
    let workable = !node.has(flag::QUARANTINED);
    let control = node.kind == Kind::Control;
    let pool = node.kind != Kind::Claim && node.attributes.contains(Attributes::POOL);
    let bit = |holds: bool, mark: u8| if holds { mark } else { 0 };
    bit(workable, mark::WORKABLE)
        | bit(workable && control, mark::WORKABLE_CONTROL)
        | bit(control, mark::CONTROL)
        | bit(pool, mark::POOL)
        | bit(node.kind == Kind::Claim, mark::CLAIM)
}

/// A tree: where its nodes are, their order, and its root.
pub(crate) struct Tree<'a, S> {
    store: &'a S,
    order: Order,
    root: Option<Link>,
}

impl<'a, S: Store> Tree<'a, S> {
    pub(crate) const fn new(store: &'a S, order: Order, root: Option<Link>) -> Self {
        Self { store, order, root }
    }

    fn node(&self, link: Link) -> &'a Node {
        self.store.node(link)
    }

    fn links(&self, link: Link) -> &'a TreeLinks {
        &self.node(link).links[self.order as usize]
    }

    fn key(&self, link: Link) -> Key {
        key(self.order, self.node(link))
    }

    /// The node with the least key that is at least `from`.
    pub(crate) fn at_or_after(&self, from: Key) -> Option<Link> {
        let (mut best, mut here) = (None, self.root);
        while let Some(link) = here {
            if self.key(link) >= from {
                best = here;
                here = self.links(link).left;
            } else {
                here = self.links(link).right;
            }
        }
        best
    }

    /// The node with the greatest key below `limit`.
    pub(crate) fn before(&self, limit: Key) -> Option<Link> {
        let (mut best, mut here) = (None, self.root);
        while let Some(link) = here {
            if self.key(link) < limit {
                best = here;
                here = self.links(link).right;
            } else {
                here = self.links(link).left;
            }
        }
        best
    }

    /// The first node.
    pub(crate) fn first(&self) -> Option<Link> {
        self.at_or_after((0, 0))
    }

    /// The node behind `link`.
    pub(crate) fn next(&self, link: Link) -> Option<Link> {
        let (first, second) = self.key(link);
        self.at_or_after((first, second.checked_add(1)?))
    }

    /// The first node at or after `from` that bears `wanted`.
    pub(crate) fn marked(&self, wanted: u8, from: Key) -> Option<Link> {
        // The candidates are, from low to high: on the way down to `from`, each node that is not before it,
        // and what is right of it. The lowest one stands deepest, so climb.
        let mut here = self.root;
        let mut deepest = None;
        while let Some(link) = here {
            deepest = here;
            let links = self.links(link);
            here = if self.key(link) >= from {
                links.left
            } else {
                links.right
            };
        }
        while let Some(link) = deepest {
            if self.key(link) >= from {
                if own_marks(self.node(link)) & wanted != 0 {
                    return Some(link);
                }
                if let Some(right) = self.links(link).right
                    && let Some(found) = self.leftmost_marked(wanted, right)
                {
                    return Some(found);
                }
            }
            deepest = self.links(link).up;
        }
        None
    }

    fn leftmost_marked(&self, wanted: u8, root: Link) -> Option<Link> {
        if self.links(root).marks & wanted == 0 {
            return None;
        }
        let mut here = root;
        loop {
            let links = self.links(here);
            match links.left {
                Some(left) if self.links(left).marks & wanted != 0 => here = left,
                _ if own_marks(self.node(here)) & wanted != 0 => return Some(here),
                _ => here = links.right?,
            }
        }
    }

    /// Whether anything in the tree (of siblings) overlaps `base .. end`.
    pub(crate) fn overlaps(&self, base: u64, end: u64) -> bool {
        self.overlaps_by(base, end, |node| node.reach, |_| true)
    }

    /// Whether anything exclusive does.
    pub(crate) fn overlaps_exclusive(&self, base: u64, end: u64) -> bool {
        let reach = |node: &Node| node.exclusive_reach;
        self.overlaps_by(base, end, reach, |node| node.kind.is_exclusive())
    }

    fn overlaps_by(
        &self,
        base: u64,
        end: u64,
        reach: impl Fn(&Node) -> u64,
        counts: impl Fn(&Node) -> bool,
    ) -> bool {
        let mut here = self.root;
        while let Some(link) = here {
            let node = self.node(link);
            if counts(node) && node.base < end && base < node.end() {
                return true;
            }
            let left = self.links(link).left;
            // If something on the left reaches behind `base` and yet none there overlaps, it begins
            // behind `end`, and so does everything on the right.
            here = match left {
                Some(left) if reach(self.node(left)) > base => Some(left),
                _ => self.links(link).right,
            };
        }
        false
    }
}

fn links<S: Store>(store: &S, order: Order, link: Link) -> &TreeLinks {
    &store.node(link).links[order as usize]
}

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

fn height<S: Store>(store: &S, order: Order, link: Option<Link>) -> u8 {
    link.map_or(0, |link| links(store, order, link).height)
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
