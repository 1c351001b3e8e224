//! What calls that are over have left on the stacks.
//!
//! Stacks lie in the reserve or in the image, which a reset leaves as they are, and whatever a function computed with stays there until another
//! one happens to use the same place.

use core::sync::atomic::Ordering;

use super::{all, stack};
use crate::memory::Range;

/// Zeroes what is left on the stacks when the machine ends: all of those of the other cores that have stopped, and on the own one what
/// lies below the caller. If the caller is on the stack for faults, nobody comes back to the core's own.
///
/// A core that has not stopped keeps its stack, which it is using.
pub fn clear_stacks() {
    for core in all() {
        if core.stopped.load(Ordering::Acquire) {
            // SAFETY: the core halts in a loop that has nothing on the stack, for ever: with GIF clear not even an NMI is taken. Its
            // topmost words stay, by which a core is known.
            unsafe { clear(stack::usable(core.stack.value())) };
        }
    }
    let here = stack_pointer();
    if cfg!(not(any(test, fuzzing))) && stack::is_fault_stack(here) {
        // SAFETY: this core has left that stack for ever.
        unsafe { clear(stack::usable(stack::base_of(here))) };
    }
    clear_below();
}

/// # Safety
/// It is a part of a stack that is not in use.
unsafe fn clear(range: Range) {
    // SAFETY: as the caller warrants.
    unsafe { (range.start as *mut u8).write_bytes(0, range.size() as usize) };
}

#[inline(always)]
fn stack_pointer() -> u64 {
    let place;
    // SAFETY: reading a register has no effect.
    unsafe { core::arch::asm!("mov {}, rsp", out(reg) place, options(nomem, nostack)) };
    place
}

/// Zeroes the own stack below the caller's frame, or a little less of it.
#[cfg(not(any(test, fuzzing)))]
#[inline(never)]
pub fn clear_below() {
    #[cfg(feature = "selfcheck")]
    super::depth::note();
    let lowest = stack::lowest(stack_pointer());
    // SAFETY: nothing below the stack pointer is in use, and the stack is mapped down to there, the boot's too. An NMI that
    // comes in between uses what was or will be zeroed and leaves nothing secret there.
    unsafe {
        core::arch::asm!(
            "mov rcx, rsp",
            "sub rcx, rdi",
            "shr rcx, 3",
            "rep stosq",
            inout("rax") 0_u64 => _,
            out("rcx") _,
            inout("rdi") lowest => _,
        );
    }
}

/// Stacks of the host are not aligned to their size.
#[cfg(any(test, fuzzing))]
pub fn clear_below() {}
