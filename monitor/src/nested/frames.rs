//! Where table pages come from, and the duty to flush before they go back.

use core::sync::atomic::AtomicU64;

use adyton_x86::paging::ENTRIES;

use crate::address::HostPhysical;

/// The owner of table pages.
///
/// A retired page keeps its contents until every core has flushed: hardware may still be walking it. The
/// implementation therefore holds it back until it is told that the flush is done, and only then reuses it.
pub trait Frames {
    /// A page full of zeros, or `None` if there is none left on this account.
    fn allocate(&self) -> Option<HostPhysical>;

    /// Takes back a page that no entry names any more, to be free after the next complete flush.
    fn retire(&self, table: HostPhysical);

    /// The entries of a page that came from here and is not free.
    fn table(&self, table: HostPhysical) -> &[AtomicU64; ENTRIES];
}

/// The duty to flush the translations of the domain whose tables were changed, on every core that may hold some.
#[must_use = "cores may still use the old translations until they are flushed"]
#[derive(Debug, PartialEq, Eq)]
pub struct MustFlush(bool);

impl MustFlush {
    /// Nothing that a core could have cached was changed.
    pub const fn nothing() -> Self {
        Self(false)
    }

    pub(super) const fn needed() -> Self {
        Self(true)
    }

    pub(super) const fn only_if(stale: bool) -> Self {
        Self(stale)
    }

    /// Whether anything must be flushed at all.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        self.0
    }

    /// Both duties as one.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// To be called when every core has flushed, or none needed to.
    pub const fn flushed(self) {}
}
