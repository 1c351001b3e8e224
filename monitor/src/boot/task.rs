//! The monitor's own task register: it names the stack that a core changes to when its own is used up.

use core::arch::asm;

use adyton_x86::descriptors::TaskState;

use super::selector;

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
        (&raw mut task_descriptor)
            .write_volatile(TaskState::descriptor(task as *const TaskState as u64));
        asm!("ltr {:x}", in(reg) selector::TASK, options(nostack));
    }
}
