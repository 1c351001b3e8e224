//! Zeroing memory past the caches.

use core::arch::x86_64::{__m128i, _mm_setzero_si128, _mm_sfence, _mm_stream_si128};

use crate::address::{HostPhysical, PAGE_SIZE};

/// Fills whole pages with zeros by non-temporal stores, which leave no line of them in any cache (SDM volume 1, section
/// 10.4.6.2), and waits until they are visible to all.
///
/// # Safety
/// `size` bytes at `base`, page-aligned, are memory that no domain reaches and no Rust reference points to.
pub unsafe fn zero(base: HostPhysical, size: u64) {
    debug_assert!(base.is_aligned(PAGE_SIZE));
    let start = base.value() as *mut __m128i;
    let words = (size / PAGE_SIZE * PAGE_SIZE) as usize / size_of::<__m128i>();
    // SAFETY: as the caller warrants; memory is mapped one to one, and SSE2 is part of x86-64.
    unsafe {
        let zero = _mm_setzero_si128();
        for group in (0..words).step_by(8) {
            for offset in 0..8 {
                _mm_stream_si128(start.add(group + offset), zero);
            }
        }
        _mm_sfence();
    }
}
