//! What a walk of the operating system's tables has read: the entries on its way, as they are when it ends.
//!
//! A translation holds as long as these entries say what was noted, so a mark that the walk itself sets is noted too.

use core::cell::Cell;
use core::sync::atomic::{AtomicU64, Ordering};

use super::space::Step;
use crate::address::GuestPhysical;
use crate::domain::memory::CallerMemory;
use crate::guest::walk::{Denied, GuestMemory};

/// Levels of a walk.
const LEVELS: usize = 4;

/// A memory whose page-table entries have a place.
pub(super) trait Entries: GuestMemory {
    /// The word of an entry.
    ///
    /// # Errors
    /// If the guest itself may not read there.
    fn entry(&self, place: GuestPhysical) -> Result<&AtomicU64, Denied>;
}

impl Entries for CallerMemory {
    fn entry(&self, place: GuestPhysical) -> Result<&AtomicU64, Denied> {
        CallerMemory::entry(*self, place)
    }
}

/// A memory that notes what a walk reads.
pub(super) struct Notes<M> {
    memory: M,
    steps: [Cell<Step>; LEVELS],
    count: Cell<usize>,
}

impl<M> Notes<M> {
    pub(super) fn new(memory: M) -> Self {
        Self {
            memory,
            steps: [const { Cell::new(Step::NONE) }; LEVELS],
            count: Cell::new(0),
        }
    }

    pub(super) fn last(&self) -> Option<Step> {
        self.last_step().map(Cell::get)
    }

    fn last_step(&self) -> Option<&Cell<Step>> {
        self.steps.get(self.count.get().checked_sub(1)?)
    }

    /// A bit is in the result if it is set in all entries.
    pub(super) fn in_all(&self) -> u64 {
        let seen = self.steps.iter().take(self.count.get());
        seen.fold(u64::MAX, |bits, step| bits & step.get().word)
    }

    /// A bit is in the result if it is set in any entry.
    pub(super) fn in_any(&self) -> u64 {
        let seen = self.steps.iter().take(self.count.get());
        seen.fold(0, |bits, step| bits | step.get().word)
    }

    /// The three upper entries, the last one repeated where a large page ends the walk early; and that of the last table.
    pub(super) fn way(&self) -> Option<([Step; 3], Option<Step>)> {
        let last = self.last()?;
        let upper = core::array::from_fn(|level| {
            if level < self.count.get() {
                self.steps[level].get()
            } else {
                last
            }
        });
        Some((upper, (self.count.get() == LEVELS).then_some(last)))
    }
}

impl<M: Entries> GuestMemory for Notes<M> {
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        let entry = self.memory.entry(place)?;
        let word = entry.load(Ordering::Relaxed);
        let step = Step { entry, word };
        // An entry that changed before it could be marked is read once more.
        let again = self
            .last()
            .is_some_and(|last| core::ptr::eq(last.entry, entry));
        let number = self.count.get() - usize::from(again);
        // Of a way that is longer nothing is kept ([`Self::way`]).
        if let Some(place) = self.steps.get(number) {
            place.set(step);
        }
        self.count.set(number + 1);
        Ok(word)
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        let is_marked = self.memory.exchange(place, old, new)?;
        // The walk goes on without reading it again.
        if is_marked && let Some(last) = self.last_step() {
            let entry = last.get().entry;
            last.set(Step { entry, word: new });
        }
        Ok(is_marked)
    }
}

#[cfg(test)]
pub(super) mod tests;
