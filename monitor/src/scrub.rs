//! Memory never outlives its secrecy: what happens before the machine is reset or switched off.
//!
//! Confidential memory is always part of a claim, and every claim of domain 0's is noted here before it exists
//! ([`note_claim`]), in a bitmap with a bit for each 2 MiB of the pool. So [`everything`] zeroes all that was ever
//! claimed since the boot and nothing else, without a lock and without a look at any structure that a panic could have
//! left half changed.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::address::PAGE_SIZE;
use crate::frames::FRAMES;
use crate::instructions::write_back_caches;
use crate::memory::{LARGE_PAGE, Range};
use crate::once::Once;

static CLAIMED: Once<Claimed> = Once::new();

/// Which parts of the pool were ever claimed.
struct Claimed {
    pool: Range,
    words: &'static [AtomicU64],
}

/// Makes the bitmap for the pool.
///
/// # Panics
/// If the reserve has no room for it.
pub fn initialize(pool: Range) {
    let words = (pool.size() / LARGE_PAGE).div_ceil(u64::BITS.into());
    let pages = (words * size_of::<AtomicU64>() as u64).div_ceil(PAGE_SIZE);
    let start = FRAMES
        .allocate_contiguous(pages, PAGE_SIZE)
        .expect("the reserve is too small for the pool's bitmap");
    // SAFETY: the pages are zeroed, belong to the bitmap for ever, and are only accessed by atomic words.
    let words =
        unsafe { core::slice::from_raw_parts(start.value() as *const AtomicU64, words as usize) };
    CLAIMED.set(Claimed { pool, words });
}

/// Notes that a stretch of the pool is about to be claimed.
pub fn note_claim(range: Range) {
    let claimed = CLAIMED.get();
    for number in claimed.chunks(range) {
        if let Some(word) = claimed.words.get(number as usize / 64) {
            word.fetch_or(1 << (number % 64), Ordering::SeqCst);
        }
    }
}

/// Zeroes all of the pool that was ever claimed, and writes it back from the caches.
///
/// Called before every reset, power-off and shutdown that passes through the monitor, and by its panic handler. Another core
/// may still run a domain meanwhile; what that writes is its own loss, and it ends with the reset that follows.
pub fn everything() {
    let Some(claimed) = CLAIMED.try_get() else {
        return;
    };
    for number in claimed.chunks(claimed.pool) {
        let word = claimed
            .words
            .get(number as usize / 64)
            .map_or(0, |word| word.load(Ordering::SeqCst));
        if word & 1 << (number % 64) != 0 {
            let start = claimed.pool.start + number * LARGE_PAGE;
            // SAFETY: the pool is RAM, mapped one to one, and nothing of the monitor's lies in it.
            unsafe { core::ptr::write_bytes(start as *mut u8, 0, LARGE_PAGE as usize) };
        }
    }
    write_back_caches();
}

impl Claimed {
    /// The numbers of the 2 MiB parts of the pool that overlap `range`.
    fn chunks(&self, range: Range) -> core::ops::Range<u64> {
        let start = range.start.max(self.pool.start) - self.pool.start;
        let end = range.end.min(self.pool.end).saturating_sub(self.pool.start);
        start / LARGE_PAGE..end.div_ceil(LARGE_PAGE)
    }
}
