//! Where each core is: inside which domain, or in the monitor since which epoch.
//!
//! Whoever takes translations or contexts away must know that no core uses the old ones. A core uses a domain's
//! translations while it runs it, and holds references (a walk, a context that it found) only while it is in the monitor.
//! So two things are enough: which domain a core runs and which generation of it, and, for a core in the monitor, a
//! number that says whether it came in before or after.
//!
//! Orderings: a core publishes what it is about to run, then looks whether that is still right; who takes
//! away publishes first, then looks at what cores run. Both are sequentially consistent, so at least one sees the other.

use core::sync::atomic::{AtomicU64, Ordering};

use super::context::Context;

/// Raised by everyone who has to wait for cores to leave the monitor.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// Instead of a context: the core sleeps in the monitor.
const RESTING: u64 = 1;

/// A core's whereabouts.
#[derive(Debug)]
pub struct Presence {
    /// The context of what it runs, 0 while it is in the monitor.
    running: AtomicU64,
    /// The generation of that domain at the entry.
    generation: AtomicU64,
    /// The epoch at which it came into the monitor last.
    since: AtomicU64,
}

impl Presence {
    /// A core that is in the monitor since ever.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            running: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            since: AtomicU64::new(0),
        }
    }

    /// The core is about to run `context`; says which generation of its translations it must have from here on.
    #[inline]
    pub fn enter(&self, context: &Context) -> u64 {
        self.generation.store(0, Ordering::Relaxed);
        self.running
            .store(core::ptr::from_ref(context) as u64, Ordering::SeqCst);
        let generation = context.generation.load(Ordering::SeqCst);
        self.generation.store(generation, Ordering::Release);
        generation
    }

    /// The core sleeps and uses nothing.
    pub fn rest(&self) {
        self.running.store(RESTING, Ordering::SeqCst);
    }

    /// The core has come into the monitor.
    #[inline]
    pub fn exit(&self) {
        self.since
            .store(EPOCH.load(Ordering::Acquire), Ordering::Relaxed);
        // The exchange orders all that the core will look up behind it.
        self.running.swap(0, Ordering::SeqCst);
    }

    /// Whether the core may still use translations of `context` from before its present generation, or references from
    /// before `epoch`.
    #[must_use]
    pub fn may_use_old(&self, context: &Context, epoch: u64) -> bool {
        match self.running.load(Ordering::SeqCst) {
            0 => self.since.load(Ordering::SeqCst) < epoch,
            running if running == core::ptr::from_ref(context) as u64 => {
                self.generation.load(Ordering::SeqCst) < context.generation.load(Ordering::SeqCst)
            }
            _ => false,
        }
    }

    /// Whether the core runs `context` now.
    #[must_use]
    pub fn runs(&self, context: &Context) -> bool {
        self.running.load(Ordering::SeqCst) == core::ptr::from_ref(context) as u64
    }

    /// Whether the core is in the monitor and came in before `epoch`.
    #[must_use]
    pub fn is_inside_since_before(&self, epoch: u64) -> bool {
        self.running.load(Ordering::SeqCst) == 0 && self.since.load(Ordering::SeqCst) < epoch
    }
}

impl Default for Presence {
    fn default() -> Self {
        Self::new()
    }
}

/// Begins a new epoch: cores that come into the monitor from now on see everything that was published before.
pub fn new_epoch() -> u64 {
    EPOCH.fetch_add(1, Ordering::SeqCst) + 1
}
