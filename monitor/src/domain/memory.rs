//! A caller's memory as the monitor reads it on the caller's behalf: no further than the caller's own nested rights.

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_x86::paging::ENTRIES;
use arrayvec::ArrayVec;

use super::context::Context;
use crate::address::{GuestPhysical, HostPhysical};
use crate::frames::FRAMES;
use crate::guest::walk::{Denied, GuestMemory};
use crate::memory::{Kind, Layout, MAXIMUM_ENTRIES, Range};
use crate::nested::Rights;
use crate::once::Once;
use crate::vcpu::{Owner, Vcpu};

/// RAM that is domain 0's for good, the largest stretch first.
static ORDINARY: Once<ArrayVec<Range, MAXIMUM_ENTRIES>> = Once::new();

/// Notes which memory is domain 0's for good. Once, while the monitor boots.
pub fn set_ordinary(layout: &Layout) {
    let ram = layout
        .domain0
        .iter()
        .filter(|entry| entry.kind == Kind::Ram);
    let mut ranges: ArrayVec<Range, MAXIMUM_ENTRIES> = ram.map(|entry| entry.range).collect();
    ranges.sort_unstable_by_key(|range| core::cmp::Reverse(range.size()));
    ORDINARY.set(ranges);
}

/// The memory of the domain that a vCPU belongs to.
#[derive(Clone, Copy)]
pub struct CallerMemory {
    context: &'static Context,
    is_domain0: bool,
}

impl CallerMemory {
    /// That of `caller`'s domain.
    #[inline]
    #[must_use]
    pub fn new(caller: &Vcpu) -> Self {
        Self {
            context: caller.seat.context(),
            is_domain0: caller.owner() == Owner::Domain0,
        }
    }

    /// Where `place` is, if the domain may write there and it is RAM.
    #[inline]
    #[must_use]
    pub fn writable(self, place: GuestPhysical) -> Option<HostPhysical> {
        self.reach(place, Rights::READ_WRITE)
    }

    /// Where `place` is, if the domain may read there and it is RAM.
    #[inline]
    #[must_use]
    pub fn readable(self, place: GuestPhysical) -> Option<HostPhysical> {
        self.reach(place, Rights::READ)
    }

    /// Domain 0's tables also lead to devices; a read of those can have effects, so only RAM will do.
    #[inline]
    fn reach(self, place: GuestPhysical, rights: Rights) -> Option<HostPhysical> {
        if self.is_domain0 {
            let is_ordinary = ORDINARY
                .get()
                .iter()
                .any(|range| range.contains(place.value()));
            if is_ordinary {
                return Some(HostPhysical(place.value()));
            }
            if !super::directory::DIRECTORY
                .get()
                .pool()
                .contains(place.value())
            {
                return None;
            }
        }
        // A domain's tables may also lead to a device that it drives, and devices do not reach each other's registers.
        let rights = rights.union(Rights::DEVICE.only_if(!self.is_domain0));
        let found = self.context.view.translate(&FRAMES, place)?;
        found.rights.contains(rights).then_some(found.address)
    }

    #[inline]
    fn word(self, place: GuestPhysical, rights: Rights) -> Result<&'static AtomicU64, Denied> {
        let base = self
            .reach(GuestPhysical(place.value() & !7), rights)
            .ok_or(Denied)?;
        // SAFETY: it is RAM of the domain's, mapped one to one and aligned. The domain changes it at any time, so it is only
        // ever used as an atomic word. Should it be taken from the domain meanwhile, whoever takes it waits for this core
        // to leave the monitor before it is given on.
        Ok(unsafe { &*(base.value() as *const AtomicU64) })
    }
}

impl CallerMemory {
    /// All words of the page that holds `place`, for as long as this core stays in the monitor.
    pub fn table(self, place: GuestPhysical) -> Option<&'static [AtomicU64; ENTRIES]> {
        let base = self.reach(place.page(), Rights::READ)?;
        // SAFETY: as in `word`; a page of the guest's lies in one page of the host's.
        Some(unsafe { &*(base.value() as *const [AtomicU64; ENTRIES]) })
    }

    /// The word of a page-table entry, for as long as this core stays in the monitor.
    #[inline]
    pub(crate) fn entry(self, place: GuestPhysical) -> Result<&'static AtomicU64, Denied> {
        self.word(place, Rights::READ)
    }
}

impl GuestMemory for CallerMemory {
    #[inline]
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        Ok(self.word(place, Rights::READ)?.load(Ordering::Relaxed))
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        let word = self.word(place, Rights::READ_WRITE)?;
        Ok(word
            .compare_exchange(old, new, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok())
    }
}
