//! Balanced trees threaded through the nodes: one algorithm for the three orders that nodes stand in.
//!
//! An AVL tree with links to the parent, so that nothing recurses and stepping is constant space. In the order
//! of siblings each node also knows how far the ranges below it reach, which answers "does anything overlap
//! this range" in logarithmic time, and in every order it knows which marks occur below it, which finds the
//! next node that bears one.
//!
//! The root is kept by whoever the tree belongs to and is passed in. A node is in at most one tree of each order, and
//! what an order compares may not change while it is in.

use crate::node::{Kind, Link, Node, Resource, flag};
use crate::records::Records;
use crate::store::Store;
use adyton_abi::region::Attributes;

mod change;
mod check;
#[cfg(test)]
mod tests;

pub(crate) use change::{insert, refresh, remove};
pub(crate) use check::{Malformed, check};

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
    /// Regions of memory, and devices that were given to it, by guest-physical place.
    pub(crate) const MEMORY: u64 = 0;
    /// Cores, by number.
    pub(crate) const CORE: u64 = 1;
    /// Exit pages, by the index of their vCPU.
    pub(crate) const EXIT: u64 = 2;
    /// The machine's devices, by number: domain 0's.
    pub(crate) const DEVICE: u64 = 3;
    /// Whole cores, by the number of their first thread.
    pub(crate) const WHOLE_CORE: u64 = 4;
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

pub(crate) fn class_of(node: &Node) -> u64 {
    class_for(node.kind, node.resource)
}

/// The class of what such a node stands for.
pub(crate) fn class_for(kind: Kind, resource: Resource) -> u64 {
    match (kind, resource) {
        (Kind::Exit, _) => class::EXIT,
        (_, Resource::Core) => class::CORE,
        (_, Resource::WholeCore) => class::WHOLE_CORE,
        (Kind::Root, Resource::Device) => class::DEVICE,
        (_, Resource::Device) => class::MEMORY,
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
        self.first_that(
            from,
            |link| own_marks(self.node(link)) & wanted != 0,
            |link| self.links(link).marks & wanted != 0,
        )
    }

    /// The first node (of siblings) at or after `from` that overlaps `base .. end`.
    pub(crate) fn overlapping(&self, from: Key, base: u64, end: u64) -> Option<Link> {
        let found = self.first_that(
            from,
            |link| self.node(link).end() > base,
            |link| self.node(link).reach > base,
        )?;
        // What stands behind it begins no earlier.
        (self.node(found).base < end).then_some(found)
    }

    /// The first node at or after `from` for which `own` holds; `below` says whether it holds for any node from there down.
    fn first_that(
        &self,
        from: Key,
        own: impl Fn(Link) -> bool,
        below: impl Fn(Link) -> bool,
    ) -> Option<Link> {
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
                if own(link) {
                    return Some(link);
                }
                if let Some(right) = self.links(link).right.filter(|right| below(*right)) {
                    return self.leftmost_that(right, &own, &below);
                }
            }
            deepest = self.links(link).up;
        }
        None
    }

    /// The first node from `root` down for which `own` holds; `below` holds for `root`.
    fn leftmost_that(
        &self,
        root: Link,
        own: &impl Fn(Link) -> bool,
        below: &impl Fn(Link) -> bool,
    ) -> Option<Link> {
        let mut here = root;
        loop {
            let links = self.links(here);
            match links.left {
                Some(left) if below(left) => here = left,
                _ if own(here) => return Some(here),
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

fn height<S: Store>(store: &S, order: Order, link: Option<Link>) -> u8 {
    link.map_or(0, |link| links(store, order, link).height)
}
