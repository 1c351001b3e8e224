//! What calls that are over have left on the stacks.
//!
//! Stacks lie in the reserve or in the image, which a reset leaves as they are, and whatever a function computed with stays there until another
//! one happens to use the same place.

use core::sync::atomic::Ordering;

use super::{STACK_END_SIZE, STACK_SIZE, all};

/// Zeroes what is left on the stacks when the machine ends: all of those of the other cores that have stopped, and on the own one what
/// lies below the caller.
///
/// A core that has not stopped keeps its stack, which it is using.
pub fn clear_stacks() {
    for core in all() {
        if core.stopped.load(Ordering::Acquire) {
            let start = core.stack.value() as *mut u8;
            // SAFETY: the core halts in a loop that has nothing on the stack, for ever: with GIF clear not even an NMI is taken. Its
            // topmost words stay, by which a core is known.
            unsafe { start.write_bytes(0, STACK_SIZE - STACK_END_SIZE) };
        }
    }
    clear_below();
}

/// Zeroes the own stack below the caller's frame, or a little less of it.
#[cfg(not(any(test, fuzzing)))]
#[inline(never)]
pub fn clear_below() {
    // SAFETY: nothing below the stack pointer is in use, and each stack is aligned to its size, that of the boot too. An NMI that
    // comes in between uses what was or will be zeroed and leaves nothing secret there.
    unsafe {
        core::arch::asm!(
            "mov rdi, rsp",
            "and rdi, {start}",
            "mov rcx, rsp",
            "sub rcx, rdi",
            "shr rcx, 3",
            "rep stosq",
            start = const -(STACK_SIZE as i64),
            inout("rax") 0_u64 => _,
            out("rcx") _,
            out("rdi") _,
        );
    }
}

/// Stacks of the host are not aligned to their size.
#[cfg(any(test, fuzzing))]
pub fn clear_below() {}
