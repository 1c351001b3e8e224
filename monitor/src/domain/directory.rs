//! From a page of the pool to the domain whose control page it is, without a lock: one word for each page.
//!
//! `enter` comes through here, so it is an array and not a tree. What must hold: a word is set only after its context
//! is complete, and a context is freed only after its word was cleared and every core has been seen outside the monitor
//! since (see [`crate::cores`]). So a reference found here is good until the core that found it enters a guest.

use core::sync::atomic::{AtomicU64, Ordering};

use super::context::Context;
use crate::address::{HostPhysical, PAGE_SIZE};
use crate::frames::FRAMES;
use crate::memory::Range;
use crate::once::Once;

/// The directory of the machine's pool.
pub static DIRECTORY: Once<Directory> = Once::new();

/// One word for each page of the pool: the address of a context, or 0.
pub struct Directory {
    pool: Range,
    words: &'static [AtomicU64],
}

impl Directory {
    /// An empty directory for `pool`, or `None` if the reserve has no room for it.
    #[must_use]
    pub fn new(pool: Range) -> Option<Self> {
        let words = pool.size() / PAGE_SIZE;
        let pages = (words * 8).div_ceil(PAGE_SIZE);
        let base = FRAMES.allocate_contiguous(pages, PAGE_SIZE)?;
        // SAFETY: the pages are the monitor's from now on, full of zeros, mapped one to one and large enough.
        let words = unsafe {
            core::slice::from_raw_parts(base.value() as *const AtomicU64, words as usize)
        };
        Some(Self { pool, words })
    }

    /// The pool it describes.
    #[must_use]
    pub const fn pool(&self) -> Range {
        self.pool
    }

    /// The domain whose control page holds `address`.
    #[inline]
    #[must_use]
    pub fn domain_at(&self, address: HostPhysical) -> Option<&'static Context> {
        Self::domain_in(self.word(address)?)
    }

    /// The domain that a word of the directory leads to.
    #[inline]
    #[must_use]
    pub fn domain_in(word: &AtomicU64) -> Option<&'static Context> {
        // Ordering: who withdraws the word does so, then looks where this core is; this core has said where it is, then looks
        // here. So at least one sees the other.
        let context = word.load(Ordering::SeqCst);
        // SAFETY: a word that is not 0 is the address of a context that outlives this visit to the monitor.
        (context != 0).then(|| unsafe { &*(context as *const Context) })
    }

    /// Makes `page` the control page of `context`.
    pub fn publish(&self, page: HostPhysical, context: &'static Context) {
        if let Some(word) = self.word(page) {
            word.store(core::ptr::from_ref(context) as u64, Ordering::Release);
        }
    }

    /// Makes `page` an ordinary page again.
    pub fn withdraw(&self, page: HostPhysical) {
        if let Some(word) = self.word(page) {
            word.store(0, Ordering::SeqCst);
        }
    }

    /// The word for the page that holds `address`; `None` if that is not in the pool.
    #[inline]
    #[must_use]
    pub fn word(&self, address: HostPhysical) -> Option<&'static AtomicU64> {
        let offset = address.value().checked_sub(self.pool.start)?;
        self.words.get((offset / PAGE_SIZE) as usize)
    }
}
