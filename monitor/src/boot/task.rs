//! The monitor's own task register: it names the stack that a core changes to when its own is used up.

use core::arch::asm;
use core::mem::size_of;

use super::selector;
use crate::interrupts::TaskState;

unsafe extern "C" {
    /// The place of one descriptor in the descriptor table, which the cores use one after the other: the CPU reads it once.
    static mut task_descriptor: [u64; 2];
}

/// Loads this core's task register.
///
/// # Safety
/// While booting: no other core does the same at the same time.
pub unsafe fn load(task: &'static TaskState) {
    // SAFETY: as the caller warrants, the descriptor is nobody else's now; the segment lives for ever.
    unsafe {
        (&raw mut task_descriptor).write_volatile(descriptor(task as *const TaskState as u64));
        asm!("ltr {:x}", in(reg) selector::TASK, options(nostack));
    }
}

/// An available 64-bit task state segment, present (APM volume 2, figure 4-22).
const fn descriptor(base: u64) -> [u64; 2] {
    const PRESENT_AVAILABLE: u64 = 0x89 << 40;
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | PRESENT_AVAILABLE | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}
