//! Frames for the nested tables of domains, and what happens to those that are taken out.
//!
//! A table that is taken out may still be walked, by hardware and by a core that translates for a caller, until the
//! domain is flushed. Until then it waits in a chain of its domain: one word a frame of the reserve
//! ([`FrameWords`](super::store::FrameWords)), not in the page itself.

use core::cell::Cell;
use core::sync::atomic::AtomicU64;

use adyton_x86::paging::ENTRIES;

use super::store::{WORDS, frame_number};
use crate::address::HostPhysical;
use crate::frames::FRAMES;
use crate::nested::Frames;

/// For whoever changes the tables of one domain: retired tables go into that domain's chain.
#[derive(Debug)]
pub struct DomainFrames {
    retired: Cell<u64>,
}

impl DomainFrames {
    /// Goes on with a chain.
    #[must_use]
    pub const fn new(retired: u64) -> Self {
        Self {
            retired: Cell::new(retired),
        }
    }

    /// The chain as it is now.
    #[must_use]
    pub fn retired(&self) -> u64 {
        self.retired.get()
    }
}

impl Frames for DomainFrames {
    fn allocate(&self) -> Option<HostPhysical> {
        FRAMES.allocate()
    }

    fn retire(&self, table: HostPhysical) {
        if let Some(number) = frame_number(table) {
            WORDS.get().chain(number, self.retired.get());
            self.retired.set(table.value());
        }
    }

    #[inline]
    fn table(&self, table: HostPhysical) -> &[AtomicU64; ENTRIES] {
        entries(table)
    }
}

#[inline]
fn entries<'a>(table: HostPhysical) -> &'a [AtomicU64; ENTRIES] {
    // SAFETY: every table came from `FRAMES`, whole and aligned, and is not freed before nobody can walk it; what it holds
    // is only ever reached as atomic words.
    unsafe { &*(table.value() as *const [AtomicU64; ENTRIES]) }
}

/// Frees the tables of a chain, after the flush that it waited for; at most `limit` of them. What is left of the chain.
#[must_use]
pub fn free_chain(mut head: u64, limit: u32) -> u64 {
    for _ in 0..limit {
        let frame = HostPhysical(head);
        let Some(number) = frame_number(frame) else {
            break;
        };
        head = WORDS.get().unchain(number);
        // SAFETY: it was taken out of its domain's tables, and the domain was flushed since.
        unsafe { FRAMES.free(frame) };
    }
    head
}
