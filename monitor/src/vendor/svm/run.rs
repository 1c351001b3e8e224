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

use adyton_x86::svm::{Event, ExitCode, Vmcb, vmcb::tlb_control};

use super::own;
use crate::calls::Quick;
use crate::cores::{Attended, Core, EPOCH, STACK_END_SIZE, STACK_SIZE, StackEnd};
use crate::domain::seat::Seat;
use crate::vcpu::{Owner, Register, Vcpu, components};
use crate::vendor::Exit;
use crate::{calls, domain0, enclave, interrupts};

/// The loop, with these instructions to load the vector state of the vCPU in RDI, to load what the monitor itself may have
/// changed of it where that vCPU was the last to run, and to save that of the one in RBX.
/// They may use RAX, RCX, RDX, and labels from 40 on.
macro_rules! run_loop {
    ($name:literal, $load:literal, $reload:literal, $save:literal, $rare:literal $(, $operand:ident = $value:expr)*) => {
        global_asm!(
            concat!(".section .text.run, \"ax\"\n.align 64\n", $name, ":"),
            r#"
    // rdi: the stack's end, which holds the core; rsi: the first vCPU.
    mov rsp, rdi
    mov rdi, rsi
    mov rax, [rdi + {control}]
    vmload rax
    jmp 3f
2:  // rax: the vCPU that runs next; rbx: the one that ran last. If that is another, what only VMSAVE and VMLOAD move.
    mov rdi, rax
    cmp rax, rbx
    je 5f
    mov rax, [rbx + {control}]
    vmsave rax
    mov rax, [rdi + {control}]
    vmload rax
3:"#,
            concat!($name, "_loaded: // rdi: the vCPU that runs next, another than the last."),
            $load,
            r#"
4:  mov rax, [rdi + {control}]
    mov rsi, [rdi + 8 * {rsi}]
    mov rdx, [rdi + 8 * {rdx}]
    mov rcx, [rdi + 8 * {rcx}]
    mov r8, [rdi + 8 * {r8}]
    mov r9, [rdi + 8 * {r9}]
    mov r10, [rdi + 8 * {r10}]
    mov r11, [rdi + 8 * {r11}]
    mov rbx, [rdi + 8 * {rbx}]
    mov rbp, [rdi + 8 * {rbp}]
    mov r12, [rdi + 8 * {r12}]
    mov r13, [rdi + 8 * {r13}]
    mov r14, [rdi + 8 * {r14}]
    mov r15, [rdi + 8 * {r15}]
    mov rdi, [rdi + 8 * {rdi}]
    vmrun rax
    // rax: again the control structure's address, which VMRUN has kept; it says whose it is.
    mov rax, [rax + {whose}]
    mov [rax + 8 * {rdi}], rdi
    mov [rax + 8 * {rsi}], rsi
    mov [rax + 8 * {rdx}], rdx
    mov [rax + 8 * {rcx}], rcx
    mov [rax + 8 * {r8}], r8
    mov [rax + 8 * {r9}], r9
    mov [rax + 8 * {r10}], r10
    mov [rax + 8 * {r11}], r11
    mov [rax + 8 * {rbx}], rbx
    mov [rax + 8 * {rbp}], rbp
    mov [rax + 8 * {r12}], r12
    mov [rax + 8 * {r13}], r13
    mov [rax + 8 * {r14}], r14
    mov [rax + 8 * {r15}], r15
    mov rbx, rax"#,
            $save,
            r#"
    mov rdi, [rsp + {core}]
    mov rsi, rbx
    call {exit}
    jmp 2b
5:"#,
            $reload,
            r#"
    jmp 4b"#,
            $rare,
            ".text",
            core = const offset_of!(StackEnd, core),
            whose = const offset_of!(Vmcb, host_word),
            control = const offset_of!(Vcpu, control),
            vector = const offset_of!(Vcpu, vector),
            rdi = const Register::Rdi.place(),
            rsi = const Register::Rsi.place(),
            rdx = const Register::Rdx.place(),
            rcx = const Register::Rcx.place(),
            r8 = const Register::R8.place(),
            r9 = const Register::R9.place(),
            r10 = const Register::R10.place(),
            r11 = const Register::R11.place(),
            rbx = const Register::Rbx.place(),
            rbp = const Register::Rbp.place(),
            r12 = const Register::R12.place(),
            r13 = const Register::R13.place(),
            r14 = const Register::R14.place(),
            r15 = const Register::R15.place(),
            exit = sym exit,
            $($operand = const $value,)*
        );
    };
}

// The x87 state, component 0, stays in the CPU while the same vCPU goes on: the monitor has no instruction that changes it.
// (QEMU 7.2 also changes a word of the *first* core's state, without a lock, whenever any core loads x87 state: if that core
// is just entering or leaving a guest, it loses track of which of both it is in.)
//
// XRSTOR and XSAVE take what EDX:EAX and XCR0 have in common, and XCR0 has no bit above 31: EAX, which holds XCR0, is enough.
run_loop!(
    "svm_run_extended",
    r#"
    mov eax, [rdi + {guest}]
    cmp eax, [rdi + {all}]
    jne 40f
    xrstor64 [rdi + {vector}]
41:"#,
    r#"
    mov eax, [rdi + {guest}]
    cmp eax, [rdi + {all}]
    jne 40f
    dec eax
    xrstor64 [rdi + {vector}]"#,
    r#"
    xor ecx, ecx
    xgetbv
    mov [rbx + {guest}], eax
    cmp eax, [rbx + {all}]
    jne 42f
43: xsave64 [rbx + {vector}]"#,
    r#"
40: // Everything is loaded before the guest's own choice: nothing of another vCPU's stays.
    mov eax, [rdi + {all}]
    xrstor64 [rdi + {vector}]
    mov eax, [rdi + {guest}]
    xor ecx, ecx
    xor edx, edx
    xsetbv
    jmp 41b
42: mov eax, [rbx + {all}]
    xor edx, edx
    xsetbv
    jmp 43b"#,
    guest = offset_of!(Vcpu, guest_components),
    all = offset_of!(Vcpu, all_components)
);

run_loop!(
    "svm_run_plain",
    "fxrstor64 [rdi + {vector}]",
    "fxrstor64 [rdi + {vector}]",
    "fxsave64 [rbx + {vector}]",
    ""
);

// A vCPU is another core's to enter as soon as nobody owns it, so that is said last, after what VMSAVE moves.
global_asm!(
    r#"
.section .text.run, "ax"
// rdi: the vCPU that is given up; rsi: the one that runs next. Goes on in the loop, with its stack.
svm_give_up:
    mov rax, [rdi + {control}]
    vmsave rax
    mov dword ptr [rdi + {owner}], 0
    mov rdi, rsi
    mov rax, [rdi + {control}]
    vmload rax
    or rsp, {stack_mask}
    sub rsp, {end_size} - 1
    cmp dword ptr [rdi + {all}], 0
    jne svm_run_extended_loaded
    jmp svm_run_plain_loaded
.text
"#,
    control = const offset_of!(Vcpu, control),
    owner = const offset_of!(Vcpu, seat) + offset_of!(Seat, owner),
    all = const offset_of!(Vcpu, all_components),
    stack_mask = const STACK_SIZE - 1,
    end_size = const STACK_END_SIZE,
);

unsafe extern "C" {
    /// Says that nobody has the first vCPU any more, and runs the second.
    fn svm_give_up(last: *mut u8, next: *mut u8) -> *mut u8;
    /// The addresses of a [`StackEnd`] and of a [`Vcpu`].
    fn svm_run_extended(stack_end: u64, first: u64) -> !;
    /// The same on a CPU without XSAVE.
    fn svm_run_plain(stack_end: u64, first: u64) -> !;
}

/// Starts the loop with `first`.
///
/// # Safety
/// SVM is on, GIF is off, `first` is configured, and no other core runs it.
pub unsafe fn start(core: &'static Core, first: &mut Vcpu) -> ! {
    core.tables.use_fault_stack(false);
    let (stack_end, first) = (core.stack_end() as u64, &raw mut *first as u64);
    // SAFETY: as the caller warrants; nothing below on this stack is used any more.
    unsafe {
        if components() == 0 {
            svm_run_plain(stack_end, first)
        } else {
            svm_run_extended(stack_end, first)
        }
    }
}

/// The exit at an undefined opcode.
const UNDEFINED_OPCODE: ExitCode = ExitCode(ExitCode::EXCEPTION_FIRST.0 + 6);

/// Every exit comes here. Returns the vCPU that runs next.
///
/// What is rare is done behind tail calls, so that the common round trip saves no register.
extern "C" fn exit(core: &'static Core, vcpu: &'static mut Vcpu) -> *mut Vcpu {
    core.presence.exit(&EPOCH);
    let vmcb = vcpu.vmcb_mut();
    vmcb.inject = Event::NONE;
    vmcb.tlb_control = tlb_control::NOTHING;
    if vmcb.exit_code == UNDEFINED_OPCODE {
        return undefined(core, vcpu);
    }
    let is_call = vmcb.exit_code == ExitCode::VMMCALL;
    match is_call.then(|| calls::handle_quickly(core, vcpu)).flatten() {
        Some(Quick::Kept(next)) => {
            if is_ready(core, next) {
                return next;
            }
            // SAFETY: the loop has called this, and it does nothing more.
            return unsafe { own::slowly(core, vcpu, next, resume_slowly) };
        }
        Some(Quick::Left(next)) => {
            if is_ready(core, next) {
                // SAFETY: as above; `next` was announced, and nothing else of `vcpu` is to be done.
                return unsafe { svm_give_up((&raw mut *vcpu).cast(), next.cast()).cast() };
            }
            // SAFETY: as above.
            return unsafe { own::slowly(core, vcpu, next, give_up_slowly) };
        }
        None => {}
    }
    // SAFETY: as above.
    unsafe { own::slowly(core, vcpu, core::ptr::null_mut(), other_exit) }
}

/// Whether a vCPU of this core's can run without more ado.
#[inline]
fn is_ready(core: &Core, next: *mut Vcpu) -> bool {
    // SAFETY: this core owns it, and has no other reference to it.
    !core.has_attention() && unsafe { &*next }.announce(core)
}

/// `last` has exited, and all of its registers are put away. What `next` asks for before it runs.
extern "C" fn give_up_slowly(core: &'static Core, last: *mut Vcpu, next: *mut Vcpu) -> *mut Vcpu {
    // SAFETY: this core owns it until here, and it was attached.
    unsafe { &*last }.seat.owner.release();
    resume_slowly(core, last, next)
}

/// The exit at an undefined opcode, which may be a leaf of SGX. It saves registers, for which only its own exits pay.
#[inline(never)]
fn undefined(core: &'static Core, vcpu: &'static mut Vcpu) -> *mut Vcpu {
    if vcpu.vmcb().exit_event.is_valid() || !enclave::quick::handle(core, vcpu) {
        // SAFETY: what the loop has called does nothing more than this, and this nothing more than the call.
        return unsafe { own::slowly(core, vcpu, core::ptr::null_mut(), other_exit) };
    }
    core.count_exit(&Exit::Exception {
        vector: 6,
        error: 0,
    });
    if is_ready(core, vcpu) {
        return vcpu;
    }
    // SAFETY: as above.
    unsafe { own::slowly(core, vcpu, vcpu, resume_slowly) }
}

/// What `next` asks for before it runs.
extern "C" fn resume_slowly(core: &'static Core, _: *mut Vcpu, next: *mut Vcpu) -> *mut Vcpu {
    // SAFETY: this core owns it, and has no other reference to it.
    resume(core, unsafe { &mut *next })
}

#[inline]
fn resume(core: &'static Core, next: &'static mut Vcpu) -> *mut Vcpu {
    if core.has_attention() {
        return attend(core, next);
    }
    if next.announce(core) {
        next
    } else {
        renew(core, next)
    }
}

#[cold]
#[inline(never)]
fn attend(core: &'static Core, next: &'static mut Vcpu) -> *mut Vcpu {
    enclave::inside::withdraw(core, next);
    match core.attend(next) {
        Attended::GoOn(next) => {
            next.prepare_entry(core);
            unforeseen(next)
        }
        Attended::Begin(next) => begin_anew(core, next),
    }
}

/// The core has waited. Meanwhile others may have run, or freed, the vCPU that ran last: nothing is saved into it any more.
fn begin_anew(core: &'static Core, next: &'static mut Vcpu) -> ! {
    next.prepare_entry(core);
    // SAFETY: SVM is on and GIF off, as at every exit; this core alone has the vCPU, and nothing on the stack is used any more.
    unsafe { start(core, next) }
}

#[cold]
#[inline(never)]
fn renew(core: &'static Core, next: &'static mut Vcpu) -> *mut Vcpu {
    if next.is_inside() {
        // What is forgotten is domain 0's; it comes back in by itself.
        enclave::inside::withdraw(core, next);
        next.prepare_entry(core);
    } else {
        next.renew(core);
    }
    unforeseen(next)
}

/// `next`, without telling the compiler: knowing that a rare path returns what it got, it would keep that in a register which
/// the common path would have to save.
fn unforeseen(next: *mut Vcpu) -> *mut Vcpu {
    core::hint::black_box(next)
}

extern "C" fn other_exit(core: &'static Core, vcpu: *mut Vcpu, _: *mut Vcpu) -> *mut Vcpu {
    // SAFETY: this core has just run it, and has no other reference to it.
    let vcpu = unsafe { &mut *vcpu };
    let next = if vcpu.vmcb().exit_code == ExitCode::VMMCALL {
        calls::handle(core, vcpu)
    } else {
        no_call(core, vcpu)
    };
    resume(core, next)
}

#[inline(never)]
fn no_call(core: &'static Core, vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
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
