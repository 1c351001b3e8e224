//! Where each core is: inside which domain, or in the monitor since which epoch.
//!
//! Whoever takes translations or contexts away must know that no core uses the old ones. A core uses a domain's
//! translations while it runs it, and holds references (a walk, a context that it found) only while it is in the monitor.
//! So two things are enough: which domain a core runs and which generation of it, and, for a core in the monitor, a
//! number that says whether it came in before or after.
//!
//! Orderings: a core publishes what it is about to run, then looks whether that is still right; who takes
//! away publishes first, then looks at what cores run. Both are sequentially consistent, so at least one sees the other.
//! For the same reason, what a core looks up in the monitor and others withdraw is looked up by a sequentially consistent load.

use crate::atomic::{AtomicU64, Ordering, constant};
use crate::flush::{CoreTranslations, Generation, Tag, Tlb};

/// Raised by everyone who has to wait for cores to leave the monitor. One for the machine.
#[derive(Debug)]
pub struct Epoch(AtomicU64);

impl Epoch {
    constant! {
        /// The first.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicU64::new(1))
        }
    }

    /// Begins a new epoch and says its number: cores that come into the monitor from now on see everything that was
    /// published before.
    pub fn begin(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Default for Epoch {
    fn default() -> Self {
        Self::new()
    }
}

/// A core's whereabouts.
#[derive(Debug)]
pub struct Presence {
    /// Which domain it runs, and what it may have cached.
    translations: CoreTranslations,
    /// The epoch at which it came into the monitor last.
    since: AtomicU64,
}

impl Presence {
    constant! {
        /// A core that is in the monitor since ever, with address spaces up to `last_space`.
        #[must_use]
        pub const fn new(core: u16, last_space: u32) -> Self {
            Self {
                translations: CoreTranslations::new(core, last_space),
                since: AtomicU64::new(0),
            }
        }
    }

    /// The core is about to run a vCPU of `domain`; whether it may keep its translations. If not, [`Self::renew`] must follow.
    #[inline]
    #[must_use]
    pub fn enter(&self, tag: &Tag, domain: u64, generation: &Generation) -> bool {
        self.translations.enter_as_before(tag, domain, generation)
    }

    /// What must be done about the translations of a vCPU that is about to run.
    pub fn renew(&self, tag: &mut Tag, generation: &Generation) -> Tlb {
        self.translations.renew(tag, generation)
    }

    /// The core sleeps and uses nothing.
    pub fn rest(&self) {
        self.translations.rest();
    }

    /// The core has come into the monitor.
    #[inline]
    pub fn exit(&self, epoch: &Epoch) {
        // Ordering: who reads of the exit reads of the epoch too (release, below). An older epoch only makes others wait.
        self.since
            .store(epoch.0.load(Ordering::Acquire), Ordering::Relaxed);
        self.translations.exit();
    }

    /// Whether the core may still use translations of `domain` from before its present generation, or references from
    /// before `epoch`.
    #[must_use]
    pub fn may_use_old(&self, domain: u64, generation: &Generation, epoch: u64) -> bool {
        self.is_inside_since_before(epoch)
            || self.translations.is_pending(domain, generation.current())
    }

    /// The same for an earlier generation of the domain's: that of a ticket.
    #[must_use]
    pub fn may_use_older(&self, domain: u64, ticket: u64, epoch: u64) -> bool {
        self.is_inside_since_before(epoch) || self.translations.is_pending(domain, ticket)
    }

    /// Whether the core is in the monitor and came in before `epoch`.
    #[must_use]
    pub fn is_inside_since_before(&self, epoch: u64) -> bool {
        self.translations.is_outside() && self.since.load(Ordering::SeqCst) < epoch
    }
}
