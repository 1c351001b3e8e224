//! Entering a guest and coming back: the one loop that each core runs for ever.
//!
//! The exit handler returns the vCPU that runs next, so that going from one to another is no more than a different
//! pointer. VMRUN and the exit move RAX, RSP, RIP, RFLAGS and what the VMCB's save area holds; the loop moves the other
//! general registers and the vector state; VMLOAD and VMSAVE are done only when the vCPU changes.
//!
//! The guest's XCR0 is not intercepted: it is read at the exit, and written back at the entry if it is not what the
//! monitor itself runs with (all components, so that XSAVE saves all).

use core::arch::global_asm;
use core::mem::offset_of;

use adyton_x86::svm::{Event, ExitCode, vmcb::tlb_control};

use crate::cores::{Core, StackEnd};
use crate::vcpu::{Owner, Vcpu};
use crate::{calls, domain0, interrupts};

global_asm!(
    r#"
.section .text.run, "ax"
// rdi: the stack's end, which holds the core; rsi: the first vCPU.
.align 64
svm_run:
    mov rsp, rdi
    mov rax, rsi
2:  // rax: the vCPU that runs next
    mov rdi, rax
    cmp rdi, [rsp + {running}]
    jne 20f
3:  mov r8d, [rdi + {all}]
    test r8d, r8d
    jz 30f
    mov eax, -1
    mov edx, eax
    xrstor64 [rdi + {vector}]
    mov eax, [rdi + {guest}]
    cmp eax, r8d
    jne 40f
4:  mov rax, [rdi + {control}]
    mov rcx, [rdi + 8 * 1]
    mov rdx, [rdi + 8 * 2]
    mov rbx, [rdi + 8 * 3]
    mov rbp, [rdi + 8 * 5]
    mov rsi, [rdi + 8 * 6]
    mov r8, [rdi + 8 * 8]
    mov r9, [rdi + 8 * 9]
    mov r10, [rdi + 8 * 10]
    mov r11, [rdi + 8 * 11]
    mov r12, [rdi + 8 * 12]
    mov r13, [rdi + 8 * 13]
    mov r14, [rdi + 8 * 14]
    mov r15, [rdi + 8 * 15]
    mov rdi, [rdi + 8 * 7]
    vmrun rax
    mov rax, [rsp + {running}]
    mov [rax + 8 * 1], rcx
    mov [rax + 8 * 2], rdx
    mov [rax + 8 * 3], rbx
    mov [rax + 8 * 5], rbp
    mov [rax + 8 * 6], rsi
    mov [rax + 8 * 7], rdi
    mov [rax + 8 * 8], r8
    mov [rax + 8 * 9], r9
    mov [rax + 8 * 10], r10
    mov [rax + 8 * 11], r11
    mov [rax + 8 * 12], r12
    mov [rax + 8 * 13], r13
    mov [rax + 8 * 14], r14
    mov [rax + 8 * 15], r15
    mov rdi, rax
    mov r8d, [rdi + {all}]
    test r8d, r8d
    jz 50f
    xor ecx, ecx
    xgetbv
    mov [rdi + {guest}], eax
    cmp eax, r8d
    jne 60f
5:  mov eax, -1
    mov edx, eax
    xsave64 [rdi + {vector}]
6:  mov rsi, rdi
    mov rdi, [rsp + {core}]
    call {exit}
    jmp 2b

20: // Another vCPU than before: what only VMSAVE and VMLOAD move.
    mov rcx, [rsp + {running}]
    test rcx, rcx
    jz 21f
    mov rax, [rcx + {control}]
    vmsave rax
21: mov rax, [rdi + {control}]
    vmload rax
    mov [rsp + {running}], rdi
    jmp 3b
30: fxrstor64 [rdi + {vector}]
    jmp 4b
40: xor ecx, ecx
    xor edx, edx
    xsetbv
    jmp 4b
50: fxsave64 [rdi + {vector}]
    jmp 6b
60: mov eax, r8d
    xor edx, edx
    xsetbv
    jmp 5b
.text
"#,
    core = const offset_of!(StackEnd, core),
    running = const offset_of!(StackEnd, running),
    control = const offset_of!(Vcpu, control),
    guest = const offset_of!(Vcpu, guest_components),
    all = const offset_of!(Vcpu, all_components),
    vector = const offset_of!(Vcpu, vector),
    exit = sym exit,
);

unsafe extern "C" {
    /// The addresses of a [`StackEnd`] and of a [`Vcpu`].
    fn svm_run(stack_end: u64, first: u64) -> !;
}

/// Starts the loop with `first`.
///
/// # Safety
/// SVM is on, GIF is off, `first` is configured, and no other core runs it.
pub unsafe fn start(core: &'static Core, first: &mut Vcpu) -> ! {
    // SAFETY: as the caller warrants; nothing below on this stack is used any more.
    unsafe { svm_run(core.stack_end() as u64, &raw mut *first as u64) }
}

/// Every exit comes here. Returns the vCPU that runs next.
extern "C" fn exit(core: &'static Core, vcpu: &'static mut Vcpu) -> *mut Vcpu {
    core.presence.exit();
    let vmcb = vcpu.vmcb_mut();
    vmcb.inject = Event::NONE;
    vmcb.tlb_control = tlb_control::NOTHING;
    let next = if vmcb.exit_code == ExitCode::VMMCALL {
        calls::handle(core, vcpu)
    } else {
        other_exit(core, vcpu)
    };
    if core.has_attention() {
        core.attend(next);
    }
    next.prepare_entry(core);
    next
}

#[cold]
#[inline(never)]
fn other_exit(core: &'static Core, vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
    let vmcb = vcpu.vmcb_mut();
    if vmcb.exit_event.is_valid() {
        vmcb.inject = redelivered(vmcb.exit_event);
    }
    if vmcb.exit_code == ExitCode::NMI {
        interrupts::drain_nmis();
        core.account_nmis();
    }
    let exit = vcpu.exit();
    core.count_exit(&exit);
    match vcpu.owner() {
        Owner::Domain0 => domain0::handle(core, vcpu, exit),
        Owner::Domain => calls::handle_exit(vcpu, exit),
    }
}

/// The event that the exit kept from being delivered, to be delivered at the next entry unless the handler knows better.
///
/// Software interrupts and the two traps that are instructions come by themselves when the instruction runs again. QEMU
/// reports every event as an exception, whatever it was.
fn redelivered(event: Event) -> Event {
    const SOFTWARE: u8 = 4;
    const EXCEPTION: u8 = 3;
    match (event.kind(), event.vector()) {
        (SOFTWARE, _) | (EXCEPTION, 3 | 4) => Event::NONE,
        (EXCEPTION, 2) => Event::NMI,
        (EXCEPTION, vector) if vector >= 32 => Event::interrupt(vector),
        _ => event,
    }
}
