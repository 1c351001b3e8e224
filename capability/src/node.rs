//! One node of the derivation forest, and the page that holds some of them.
//!
//! A node is a right over one resource. Roots are what the machine has; every other node was derived from
//! its parent. Each node sits in two trees: among its siblings, ordered by where they begin in the
//! resource, and with its holder (the domain that owns it, or the claim, if nobody does), ordered by place.
//! An offer sits in a third, that of the domain it is offered to.

use core::num::NonZeroU32;

use adyton_abi::region::Attributes;

use crate::identity::{NodeId, PageNumber};
use crate::tree::TreeLinks;

/// Where a node is: page and slot. Unlike a [`NodeId`] it says nothing about whether the node is still the
/// same; only the engine's own records hold links, and they are cut when a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Link(NonZeroU32);

impl Link {
    const SLOT_BITS: u32 = 5;

    /// The slot in the low bits, the page's number plus one above.
    pub(crate) const fn new(page: PageNumber, slot: usize) -> Self {
        let word = page.plus_one().get() << Self::SLOT_BITS | (slot as u32 & 31);
        match NonZeroU32::new(word) {
            Some(word) => Self(word),
            None => unreachable!(),
        }
    }

    #[inline]
    pub(crate) const fn page(self) -> PageNumber {
        match NonZeroU32::new(self.0.get() >> Self::SLOT_BITS) {
            Some(word) => PageNumber::from_plus_one(word),
            None => unreachable!(),
        }
    }

    #[inline]
    pub(crate) const fn slot(self) -> usize {
        (self.0.get() & 31) as usize
    }
}

/// What a node is a right over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// Host-physical memory, in bytes.
    Memory,
    /// The right to be entered on cores, by their number.
    Core,
    /// PCI functions, each a stretch of numbers of its own: see [`crate::device`].
    Device,
    /// Cores themselves, by the numbers of their threads: see [`crate::whole_core`].
    WholeCore,
}

/// How a node came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What the machine has: domain 0's.
    Root,
    /// A range in which its owner makes domains; the owner keeps its access.
    Claim,
    /// Derived exclusively: the parent's holder has no access while it lives.
    Carve,
    /// Derived aliased: the parent's holder keeps its access.
    Share,
    /// The control page of a domain; the claim's owner keeps its access, nothing can be derived.
    Control,
    /// The exit page of a vCPU; as a control page.
    Exit,
}

impl Kind {
    /// Whether nothing else may be derived where such a node is.
    pub(crate) const fn is_exclusive(self) -> bool {
        !matches!(self, Self::Share)
    }
}

/// How far a node is on its way into place or out of it, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Being unmapped from who holds the parent.
    Take,
    /// The parent's holder is forgetting its translations.
    TakeFlush,
    /// A device is being reset, so that nothing goes on in it that its last holder began.
    Reset,
    /// Being mapped into its owner.
    Give,
    /// In place.
    Live,
    /// Being unmapped from its owner.
    Drop,
    /// The owner is forgetting its translations.
    DropFlush,
    /// Being zeroed, or, a device, reset.
    Scrub,
    /// Being mapped back into who holds the parent.
    Return,
    /// Nothing but its place in the forest is left.
    Gone,
}

/// Bits of a node's `flags`.
pub(crate) mod flag {
    /// Nothing can be derived from it, or from what was derived from it.
    pub(crate) const CLOSED: u8 = 1;
    /// It and all below it are being taken back.
    pub(crate) const DYING: u8 = 2;
    /// A core did not answer: never used again, never given back.
    pub(crate) const QUARANTINED: u8 = 4;
    /// The domain `target` may accept it.
    pub(crate) const OFFERED: u8 = 8;
}

/// Entry state of a vCPU, fixed before seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Instruction pointer.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Page table root (guest-physical).
    pub cr3: u64,
    /// RDI.
    pub argument: u64,
}

/// How far work on a node is. Nodes are named, not linked: what is named may be gone, 0 is nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    /// Bytes that the present stage has done.
    pub(crate) offset: u64,
    /// While it is the subject of a revocation: the node that is being worked at.
    pub(crate) cursor: u64,
    /// The node from which the work came here other than from the parent, and goes back to.
    pub(crate) back: u64,
    /// The domain to which it was vital, which must be gone before it is given back.
    pub(crate) awaits: u64,
}

/// What only some kinds of node need.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Detail {
    /// Of all nodes but exit pages.
    Course(Course),
    /// Of an exit page.
    Vcpu(Entry),
}

/// A right over one resource.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Node {
    /// Its name.
    pub(crate) id: NodeId,
    /// Host-physical address, or number of the first core or thread, or of a device.
    pub(crate) base: u64,
    /// Bytes, or cores, or threads.
    pub(crate) size: u64,
    /// Where its owner has it; for an offer, where it shall be; for an exit page, the vCPU's index.
    pub(crate) place: u64,
    /// Greatest end in the sibling tree below here.
    pub(crate) reach: u64,
    /// Greatest end of an exclusive node there.
    pub(crate) exclusive_reach: u64,
    pub(crate) detail: Detail,
    /// Links in the trees of [`crate::tree::Order`].
    pub(crate) links: [TreeLinks; 3],
    /// The domain that has it.
    pub(crate) owner: Option<PageNumber>,
    /// The domain of a control page; whom it is offered to.
    pub(crate) target: Option<PageNumber>,
    /// The claim (for roots: the domain) that pays for it and may command it.
    pub(crate) payer: PageNumber,
    pub(crate) parent: Option<Link>,
    /// Root of the sibling tree of what was derived from it.
    pub(crate) children: Option<Link>,
    /// Carves and shares derived from it, directly or in its owner's claims.
    pub(crate) carves: u32,
    pub(crate) shares: u32,
    pub(crate) resource: Resource,
    pub(crate) kind: Kind,
    pub(crate) stage: Stage,
    pub(crate) attributes: Attributes,
    pub(crate) flags: u8,
    /// Nodes above it.
    pub(crate) depth: u8,
}

impl Node {
    /// The first byte behind it. It was checked at derivation that there is one.
    pub(crate) const fn end(&self) -> u64 {
        self.base + self.size
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// READ, WRITE and EXECUTE.
    pub(crate) const fn rights(&self) -> Attributes {
        self.attributes.intersection(Attributes::RIGHTS)
    }

    pub(crate) const fn is_pool(&self) -> bool {
        self.attributes.contains(Attributes::POOL)
    }

    pub(crate) const fn is_clean(&self) -> bool {
        self.attributes.contains(Attributes::CLEAN)
    }

    /// Whether it still takes part in revocations.
    pub(crate) const fn is_workable(&self) -> bool {
        !self.has(flag::QUARANTINED)
    }

    pub(crate) const fn course(&self) -> Course {
        match self.detail {
            Detail::Course(course) => course,
            Detail::Vcpu(_) => Course {
                offset: 0,
                cursor: 0,
                back: 0,
                awaits: 0,
            },
        }
    }

    /// Changes how far work on it is; an exit page needs no work.
    pub(crate) fn set_course(&mut self, change: impl FnOnce(&mut Course)) {
        if let Detail::Course(course) = &mut self.detail {
            change(course);
        }
    }

    /// Begins the next stage.
    pub(crate) fn set_stage(&mut self, next: Stage) {
        self.stage = next;
        self.set_course(|course| course.offset = 0);
    }
}

/// Nodes that one account pays for.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct NodePage {
    /// The claim or domain that pays.
    pub(crate) payer: PageNumber,
    /// Neighbours in the payer's list of pages that have room.
    pub(crate) previous: Option<PageNumber>,
    pub(crate) next: Option<PageNumber>,
    /// Free slots, one bit each.
    free: u32,
    nodes: [Option<Node>; NodePage::SLOTS],
}

impl NodePage {
    /// Nodes in a page.
    pub const SLOTS: usize = (4096 - 64) / core::mem::size_of::<Option<Node>>();

    pub(crate) fn new(payer: PageNumber) -> Self {
        Self {
            payer,
            previous: None,
            next: None,
            free: (1 << Self::SLOTS) - 1,
            nodes: [const { None }; Self::SLOTS],
        }
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.free == 0
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.free.count_ones() as usize == Self::SLOTS
    }

    /// Puts a node into a free slot and says which; the page must not be full.
    pub(crate) fn insert(&mut self, node: Node) -> usize {
        let slot = self.free.trailing_zeros() as usize;
        self.free &= self.free - 1;
        self.nodes[slot] = Some(node);
        slot
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        if self.nodes[slot].take().is_some() {
            self.free |= 1 << slot;
        }
    }

    #[inline]
    pub(crate) fn get(&self, slot: usize) -> Option<&Node> {
        self.nodes.get(slot)?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: usize) -> Option<&mut Node> {
        self.nodes.get_mut(slot)?.as_mut()
    }

    /// The slot of the node that has this name.
    pub(crate) fn find(&self, id: NodeId) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.as_ref().is_some_and(|node| node.id == id))
    }

    /// The first slot that is taken.
    pub(crate) fn first(&self) -> Option<usize> {
        self.nodes.iter().position(Option::is_some)
    }
}

const _: () = assert!(NodePage::SLOTS < 32 && NodePage::SLOTS >= 20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_page_and_slot() {
        let page = PageNumber::new(PageNumber::LIMIT - 1).unwrap();
        let link = Link::new(page, 31);
        assert_eq!((link.page(), link.slot()), (page, 31));
        let link = Link::new(PageNumber::new(0).unwrap(), 0);
        assert_eq!((link.page().number(), link.slot()), (0, 0));
    }
}
