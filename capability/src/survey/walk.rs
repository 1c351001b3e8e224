//! Walking what was derived from a node, one search at a time.

use crate::engine::Engine;
use crate::identity::PageNumber;
use crate::node::{Kind, Link, Node, Stage, flag};
use crate::records::Records;
use crate::store::Store;
use crate::tree::{Order, Tree, key};

/// Where a walk is. It visits the nodes below `top` that overlap a range, parents before children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    top: Link,
    here: Link,
    base: u64,
    end: u64,
    /// Whether it goes on to the children of `here`, or past them.
    into: bool,
}

/// What one search found.
pub(crate) enum Found {
    /// A node; the walk goes past it unless told otherwise.
    Node(Link),
    /// Nothing yet.
    Nothing,
    /// Nothing more.
    End,
}

impl Walk {
    /// Below `top`, where `region` is.
    pub(crate) const fn new(top: Link, region: &Node) -> Self {
        Self {
            top,
            here: top,
            base: region.base,
            end: region.end(),
            into: true,
        }
    }

    /// Also to what was derived from the node that was found last.
    pub(crate) const fn descend(&mut self) {
        self.into = true;
    }
}

/// Whether who holds the parent still reaches what the node is about: then both reach the same bytes.
pub(crate) fn is_aliased(node: &Node) -> bool {
    match node.kind {
        Kind::Share | Kind::Claim => true,
        // The parent's holder has not lost it yet.
        Kind::Carve => matches!(node.stage, Stage::Take | Stage::TakeFlush),
        Kind::Root | Kind::Control | Kind::Exit => false,
    }
}

impl<S: Store> Engine<S> {
    pub(crate) fn walk_on(&self, walk: &mut Walk) -> Found {
        let here = self.store.node(walk.here);
        let (parent, from) = if core::mem::take(&mut walk.into) {
            (here, (0, 0))
        } else if walk.here == walk.top {
            return Found::End;
        } else {
            let Some(parent) = here.parent else {
                return Found::End;
            };
            let (base, id) = key(Order::Siblings, here);
            let next = self.overlapping(self.store.node(parent), (base, id + 1), *walk);
            if next.is_none() {
                walk.here = parent;
                return Found::Nothing;
            }
            walk.here = next.unwrap_or(parent);
            return Found::Node(walk.here);
        };
        match self.overlapping(parent, from, *walk) {
            Some(child) => {
                walk.here = child;
                Found::Node(child)
            }
            None => Found::Nothing,
        }
    }

    fn overlapping(&self, parent: &Node, from: (u64, u64), walk: Walk) -> Option<Link> {
        let siblings = Tree::new(&self.store, Order::Siblings, parent.children);
        siblings.overlapping(from, walk.base, walk.end)
    }

    /// The node at the head of all that reach the same bytes as `region`.
    pub(crate) fn head(&self, region: Link) -> Link {
        let mut here = region;
        while is_aliased(self.store.node(here))
            && let Some(parent) = self.store.node(here).parent
        {
            here = parent;
        }
        here
    }

    /// Whether whoever made the head of a group can still derive from it although nobody has it.
    pub(crate) fn is_open(&self, head: Link) -> bool {
        if self.store.node(head).owner.is_some() {
            return false;
        }
        let mut here = Some(head);
        while let Some(link) = here {
            let node = self.store.node(link);
            if node.has(flag::CLOSED | flag::DYING | flag::QUARANTINED) {
                return false;
            }
            here = node.parent;
        }
        true
    }

    /// The domain from whose memory the region was derived.
    pub(crate) fn origin(&self, region: Link) -> Option<PageNumber> {
        let mut here = self.store.node(region).parent;
        while let Some(link) = here {
            let node = self.store.node(link);
            if node.kind == Kind::Claim {
                return Some(self.store.claim(node.payer).domain);
            }
            if node.owner.is_some() {
                return node.owner;
            }
            here = node.parent;
        }
        None
    }
}
