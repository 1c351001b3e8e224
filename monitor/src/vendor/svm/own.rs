//! What VMRUN does not move and the monitor wants for itself all the same: its task register.
//!
//! FS, GS, the task register and some model-specific registers stay the guest's at an exit. On the quick way from one guest to another they
//! stay so throughout: that way is short, and begins on an empty stack. Everything else runs between [`take`] and
//! [`give_back`], with the vCPU's in its control structure and the monitor's own in the CPU, so that a stack that is used up is caught.

use core::arch::asm;

use crate::cores::Core;
use crate::vcpu::Vcpu;

/// Keeps what this core has now as the monitor's own.
///
/// # Safety
/// SVM is on, and the task register is the monitor's.
pub unsafe fn keep(core: &Core) {
    // SAFETY: as the caller warrants; the page is this core's alone.
    unsafe { asm!("vmsave rax", in("rax") core.own_registers.value(), options(nostack)) };
}

/// Moves the registers of `vcpu`, which has just exited, into its control structure, and loads the monitor's own.
#[inline]
pub fn take(core: &Core, vcpu: &Vcpu) {
    // SAFETY: the control structure is that of the vCPU whose registers these are; the monitor's were kept when the core started.
    unsafe {
        asm!("vmsave rax", in("rax") vcpu.control.value(), options(nostack));
        asm!("vmload rax", in("rax") core.own_registers.value(), options(nostack));
    }
    core.tables().use_fault_stack(true);
}

/// Loads the registers of the vCPU again.
///
/// # Safety
/// It is the one whose registers were taken, and nobody else has had it since.
#[inline]
pub unsafe fn give_back(core: &Core, vcpu: *const Vcpu) {
    core.tables().use_fault_stack(false);
    // SAFETY: as the caller warrants.
    unsafe { asm!("vmload rax", in("rax") (*vcpu).control.value(), options(nostack)) };
}
