//! Zeroing memory past the caches.

use core::arch::asm;
use core::arch::x86_64::_mm_sfence;

use crate::address::{HostPhysical, PAGE_SIZE};

/// Bytes of one turn of the loop; a page is a multiple.
const TURN: u64 = 256;
const _: () = assert!(PAGE_SIZE.is_multiple_of(TURN));

/// Fills whole pages with zeros by non-temporal stores, which leave no line of them in any cache (SDM volume 1, section
/// 10.4.6.2), and waits until they are visible to all.
///
/// # Safety
/// `size` bytes at `base`, page-aligned, are memory that no domain reaches and no Rust reference points to.
pub unsafe fn zero(base: HostPhysical, size: u64) {
    debug_assert!(base.is_aligned(PAGE_SIZE));
    let end = base.value() + size / PAGE_SIZE * PAGE_SIZE;
    let mut place = base.value();
    while place < end {
        // SAFETY: as the caller warrants; memory is mapped one to one.
        unsafe { zero_turn(place) };
        place += TURN;
    }
    // SAFETY: SSE is part of x86-64.
    unsafe { _mm_sfence() };
}

/// Zeroes [`TURN`] bytes. The intrinsic would compute each address in a register of its own: twice the instructions.
///
/// # Safety
/// As of [`zero`].
#[inline(always)]
unsafe fn zero_turn(place: u64) {
    // SAFETY: writes `TURN` aligned bytes, which the caller warrants, and changes one register, which is declared.
    unsafe {
        asm!(
            "pxor {zero}, {zero}",
            ".irp distance, 0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240",
            "movntdq [{place} + \\distance], {zero}",
            ".endr",
            place = in(reg) place,
            zero = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}
