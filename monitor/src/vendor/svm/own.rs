//! What VMRUN does not move and the monitor wants for itself all the same: its task register.
//!
//! FS, GS, the task register and some model-specific registers stay the guest's at an exit. On the quick ways from one guest to another, and
//! into an enclave and out of it, they stay so throughout: those are short, and begin on an empty stack. Everything else runs inside [`slowly`]'s detour, with the
//! vCPU's in its control structure and the monitor's own in the CPU, so that a stack that is used up is caught.

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use crate::cores::{Core, STACK_END_SIZE, STACK_SIZE, StackEnd};
use crate::interrupts::ExceptionTables;
use crate::vcpu::Vcpu;

/// Keeps what this core has now as the monitor's own.
///
/// # Safety
/// SVM is on, and the task register is the monitor's.
pub unsafe fn keep(core: &Core) {
    // SAFETY: as the caller warrants; the page is this core's alone.
    unsafe { asm!("vmsave rax", in("rax") core.own_registers.value(), options(nostack)) };
}

global_asm!(
    r#"
.section .text.run, "ax"
// rdi: the core; rsi: the vCPU that has exited; rdx: what may be known to run next; rcx: what to call with all three.
// Goes back to the loop, whose call of the exit handler has left its return address, and nothing else, on the stack.
svm_slowly:
    mov rax, [rsi + {control}]
    vmsave rax
    mov rax, [rdi + {own}]
    vmload rax
    mov word ptr [rdi + {gate}], {changes}
    or rsp, {stack_mask}
    sub rsp, {end_size} + 16 - 1
    mov rbx, rsi
    call rcx
    mov rcx, [rsp + 16 + {core}]
    mov word ptr [rcx + {gate}], {stays}
    add rsp, 8
    cmp rax, rbx
    jne 2f
    mov rdx, rax
    mov rax, [rbx + {control}]
    vmload rax
    mov rax, rdx
    ret
2:  // The last vCPU may be another core's by now, so nothing is saved there again: what the loop saves is what the CPU has, the
    // monitor's own.
    lea rbx, [rcx + {own} - {control}]
    ret
.text
"#,
    control = const offset_of!(Vcpu, control),
    own = const offset_of!(Core, own_registers),
    gate = const offset_of!(Core, tables) + ExceptionTables::PAGE_FAULT_ATTRIBUTES,
    changes = const ExceptionTables::CHANGES_STACK,
    stays = const ExceptionTables::STAYS_ON_STACK,
    stack_mask = const STACK_SIZE - 1,
    end_size = const STACK_END_SIZE,
    core = const offset_of!(StackEnd, core),
);

unsafe extern "C" {
    fn svm_slowly(core: *const u8, last: *mut u8, next: *mut u8, handler: Handler) -> *mut u8;
}

/// What handles an exit of the second, and may know already what is to run next; it says what does.
pub type Handler =
    extern "C" fn(core: &'static Core, last: *mut Vcpu, next: *mut Vcpu) -> *mut Vcpu;

/// Has `handler` go on with the exit of `last`, with the registers of that vCPU in its control structure and the monitor's own in the CPU.
///
/// # Safety
/// Called by what the loop calls at an exit of `last`, as the last thing that it does; nothing of it is left to drop.
#[inline]
pub unsafe fn slowly(
    core: &'static Core,
    last: *mut Vcpu,
    next: *mut Vcpu,
    handler: Handler,
) -> *mut Vcpu {
    // SAFETY: as the caller warrants.
    unsafe { svm_slowly((&raw const *core).cast(), last.cast(), next.cast(), handler).cast() }
}
