//! How often a core came out of a guest, by reason: what it costs to have a monitor.

use core::sync::atomic::{AtomicU64, Ordering};

use super::Core;
use crate::vendor::Exit;

/// How many counters there are: those of [`index`], [`LONGEST_CALL`] and [`FLUSHES`].
pub const COUNT: usize = 11;
/// The longest time for which a call held the core at one go, in ticks of the time-stamp counter.
const LONGEST_CALL: usize = 9;
/// How often the core has made old translations of a domain invalid, on all cores.
const FLUSHES: usize = 10;

/// A core's counters.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; COUNT]);

impl Core {
    /// Notes an exit. Calls are not counted: their path is short.
    pub fn count_exit(&self, exit: &Exit) {
        if let Some(counter) = self.counters.0.get(index(exit)) {
            // Only this core writes, so no locked instruction is needed.
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Notes that the core has begun a flush of a domain's translations.
    pub fn count_flush(&self) {
        if let Some(counter) = self.counters.0.get(FLUSHES) {
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Notes for how many ticks a call, or a slice of one, has held the core.
    pub fn note_call(&self, ticks: u64) {
        if let Some(longest) = self.counters.0.get(LONGEST_CALL)
            && longest.load(Ordering::Relaxed) < ticks
        {
            longest.store(ticks, Ordering::Relaxed);
        }
    }

    /// A counter, 0 for one that there is not.
    #[must_use]
    pub fn counter(&self, index: u64) -> u64 {
        let counter = usize::try_from(index)
            .ok()
            .and_then(|index| self.counters.0.get(index));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

/// Which counter an exit goes to.
const fn index(exit: &Exit) -> usize {
    match exit {
        Exit::Cpuid => 0,
        Exit::ReadMsr => 1,
        Exit::WriteMsr => 2,
        Exit::Io(_) => 3,
        Exit::NestedFault(_) => 4,
        Exit::Exception { .. } => 5,
        Exit::Interrupt => 6,
        Exit::Nmi => 7,
        _ => 8,
    }
}
