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

use adyton_capability::flush::{CoreTranslations, Tag, Tlb};

use super::context::Context;

/// Raised by everyone who has to wait for cores to leave the monitor.
static EPOCH: AtomicU64 = AtomicU64::new(1);

/// A core's whereabouts.
#[derive(Debug)]
pub struct Presence {
    /// Which domain it runs, and what it may have cached.
    translations: CoreTranslations,
    /// The epoch at which it came into the monitor last.
    since: AtomicU64,
}

impl Presence {
    /// A core that is in the monitor since ever, with address spaces up to `last_space`.
    #[must_use]
    pub const fn new(core: u16, last_space: u32) -> Self {
        Self {
            translations: CoreTranslations::new(core, last_space),
            since: AtomicU64::new(0),
        }
    }

    /// The core is about to run a vCPU of `context`; whether it may keep its translations. If not, [`Self::renew`] must follow.
    #[inline]
    #[must_use]
    pub fn enter(&self, tag: &Tag, context: &Context) -> bool {
        self.translations
            .enter_as_before(tag, context.id, &context.generation)
    }

    /// What must be done about the translations of a vCPU of `context` that is about to run.
    pub fn renew(&self, tag: &mut Tag, context: &Context) -> Tlb {
        self.translations.renew(tag, &context.generation)
    }

    /// The core sleeps and uses nothing.
    pub fn rest(&self) {
        self.translations.rest();
    }

    /// The core has come into the monitor.
    #[inline]
    pub fn exit(&self) {
        self.since
            .store(EPOCH.load(Ordering::Acquire), Ordering::Relaxed);
        self.translations.exit();
    }

    /// Whether the core may still use translations of `context` from before its present generation, or references from
    /// before `epoch`.
    #[must_use]
    pub fn may_use_old(&self, context: &Context, epoch: u64) -> bool {
        self.is_inside_since_before(epoch)
            || self
                .translations
                .is_pending(context.id, context.generation.current())
    }

    /// Whether the core is in the monitor and came in before `epoch`.
    #[must_use]
    pub fn is_inside_since_before(&self, epoch: u64) -> bool {
        self.translations.is_outside() && self.since.load(Ordering::SeqCst) < epoch
    }
}

/// Begins a new epoch: cores that come into the monitor from now on see everything that was published before.
pub fn new_epoch() -> u64 {
    EPOCH.fetch_add(1, Ordering::SeqCst) + 1
}
