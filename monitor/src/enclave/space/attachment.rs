//! Parts of a space that are judged when they are touched, instead of at the entry.
//!
//! To judge a space costs by the page, and a program with much memory touches little of it in most of its stays. So the regions of a
//! large space are *detached* at an entry: the upper entry that names a region's table is no longer present, which takes a few
//! instructions for each 2 MiB. The first touch of a region faults, and it is judged then and *attached*: every translation in it is as
//! good as one that was loaded at that moment. That is later than the entry, which is all that a translation owes ([`super`]).

use core::sync::atomic::Ordering;

use adyton_x86::paging::{Entry, index, span};

use super::region::Region;
use super::{Space, TABLE, table};
use crate::guest::walk::Kind;

impl Space {
    /// Judges all of it at once: drops what no longer holds, and what `keep` does not want, asked with the linear address and the entry of
    /// whatever it was not asked about since the EPCM's `restrictions`.
    pub fn renew(&mut self, restrictions: u64, mut keep: impl FnMut(u64, u64) -> bool) {
        let mut dropped = 0;
        self.for_each_region(|region| dropped += region.renew(restrictions, &mut keep));
        self.asked = restrictions;
        self.forget(dropped);
    }

    /// Puts everything out of the processor's reach until it is attached.
    pub fn detach(&mut self, restrictions: u64) {
        self.is_settled = false;
        self.asked = restrictions;
        self.for_each_region(|region| region.detach());
    }

    /// Judges the region of an address as [`Self::renew`] does and attaches it, if it is there and detached. Whether it was.
    pub fn attach(
        &mut self,
        address: u64,
        restrictions: u64,
        mut keep: impl FnMut(u64, u64) -> bool,
    ) -> bool {
        let found = self.region(address & !(span(1) - 1));
        let Some(region) = found.filter(|region| !region.is_attached()) else {
            return false;
        };
        let dropped = region.renew(restrictions, &mut keep);
        self.forget(dropped);
        true
    }

    /// Whether an access finds a translation that allows it.
    #[must_use]
    pub fn permits(&mut self, address: u64, kind: Kind) -> bool {
        let Some(region) = self.region(address & !(span(1) - 1)) else {
            return false;
        };
        let word = Entry(table(region.table)[index(address, 0)].load(Ordering::Relaxed));
        let is_allowed = match kind {
            Kind::Read => true,
            Kind::Write => word.has(Entry::WRITABLE),
            Kind::Execute => !word.has(Entry::NO_EXECUTE),
        };
        region.is_attached() && word.has(Entry::PRESENT) && is_allowed
    }
}

impl Region {
    /// How many were dropped.
    fn renew(&mut self, restrictions: u64, keep: &mut impl FnMut(u64, u64) -> bool) -> usize {
        let mut dropped = self.judge();
        if self.asked != restrictions {
            dropped += self.retain(keep);
            self.asked = restrictions;
        }
        self.attach();
        dropped
    }

    pub(super) fn is_attached(&self) -> bool {
        Entry(self.slot().load(Ordering::Relaxed)).has(Entry::PRESENT)
    }

    pub(super) fn attach(&self) {
        self.slot()
            .store(self.table.value() | TABLE, Ordering::Relaxed);
    }

    /// Its table stays where it is found when all is given back.
    fn detach(&self) {
        let without = TABLE & !Entry::PRESENT;
        self.slot()
            .store(self.table.value() | without, Ordering::Relaxed);
    }
}
