//! The monitor's own interrupt descriptor table: exceptions are panics, NMIs are counted, interrupts are discarded.
//!
//! The monitor runs on one stack a core, at privilege level 0 throughout. Only what a stack that is used up leads to, a page fault, changes to another
//! one, and that not on the quick way from guest to guest, where a guest's task register stays loaded ([`tables`]). Physical interrupts arrive only in [`discard_pending`]: otherwise RFLAGS.IF is on only
//! while GIF is off.

mod tables;

use core::arch::{asm, global_asm};
use core::sync::atomic::AtomicU32;

use crate::apic;
use crate::cores::stack::{self, Whose};
use crate::cores::{STACK_END_SIZE, STACK_SIZE, StackEnd};
use crate::instructions::read_cr2;

pub use tables::ExceptionTables;

const EXCEPTIONS: usize = 32;
const NMI: usize = 2;
const PAGE_FAULT: u64 = 14;

global_asm!(
    r#"
.section .text.interrupts, "ax"
.altmacro
.macro exception_stub vector
exception_\vector:
    .if (\vector == 8) || ((\vector >= 10) && (\vector <= 14)) || (\vector == 17) || (\vector == 21) || (\vector >= 29)
    .else
    push 0
    .endif
    push \vector
    jmp exception_any
.endm
.macro exception_address vector
    .quad exception_\vector
.endm

.set vector, 0
.rept 32
    exception_stub %vector
    .set vector, vector + 1
.endr

exception_any:
    // The one instruction that may fault: see try_write_msr.
    cmp qword ptr [rsp], 13
    jne 1f
    lea rax, [rip + attempt]
    cmp [rsp + 16], rax
    jne 1f
    lea rax, [rip + attempt_failed]
    mov [rsp + 16], rax
    add rsp, 16
    iretq
1:  cld
    mov rdi, rsp
    and rsp, -16
    call {exception}
    ud2

// edi: the register; esi, edx: the halves of the value. Returns whether the CPU took it.
attempt_write_msr:
    mov ecx, edi
    mov eax, esi
attempt:
    wrmsr
    mov eax, 1
    ret
attempt_failed:
    xor eax, eax
    ret

// NMIs come only inside drain_nmis and sleep_until. Counts, and takes a sleeper past its HLT.
nmi_entry:
    push rax
    mov rax, rsp
    or rax, {stack_mask}
    inc qword ptr [rax - {stack_mask} + {stack_size} - {end_size} + {nmis}]
    lea rax, [rip + sleep_window]
    cmp [rsp + 8], rax
    jb 1f
    lea rax, [rip + sleep_window_end]
    cmp [rsp + 8], rax
    ja 1f
    mov [rsp + 8], rax
1:  pop rax
    iretq

// A physical interrupt that nobody waits for any more.
discard_entry:
    push rax
    push rcx
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    push r11
    cld
    call {discard}
    pop r11
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop rcx
    pop rax
    iretq

// rdi: the word, esi: the bits that end the sleep. Returns with GIF off again.
sleep_until_attention:
    cli
    stgi
sleep_window:
    test [rdi], esi
    jnz sleep_window_end
    hlt
    jmp sleep_window
sleep_window_end:
    clgi
    sti
    ret

.section .rodata.interrupts, "a"
.align 8
exception_stubs:
.set vector, 0
.rept 32
    exception_address %vector
    .set vector, vector + 1
.endr
.noaltmacro
.text
"#,
    exception = sym exception,
    discard = sym discard,
    stack_mask = const STACK_SIZE - 1,
    stack_size = const STACK_SIZE,
    end_size = const STACK_END_SIZE,
    nmis = const core::mem::offset_of!(StackEnd, nmis),
);

unsafe extern "C" {
    static exception_stubs: [u64; EXCEPTIONS];
    fn attempt_write_msr(register: u32, low: u32, high: u32) -> u32;
    fn nmi_entry();
    fn discard_entry();
    fn sleep_until_attention(word: *const AtomicU32, bits: u32);
}

/// What a stub leaves on the stack.
#[repr(C)]
struct Frame {
    vector: u64,
    error: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

extern "C" fn exception(frame: &Frame) -> ! {
    if frame.vector == PAGE_FAULT {
        match stack::used_up(read_cr2()) {
            Some(Whose::Core(index)) => {
                panic!("the stack of core {index} is used up, at {:#x}", frame.rip)
            }
            Some(Whose::Boot) => panic!("the boot's stack is used up, at {:#x}", frame.rip),
            None => {}
        }
    }
    panic!(
        "exception {} (error {:#x}) in the monitor at {:#x}, stack {:#x}, flags {:#x}, address {:#x}",
        frame.vector,
        frame.error,
        frame.rip,
        frame.rsp,
        frame.rflags,
        read_cr2(),
    );
}

extern "C" fn discard() {
    apic::end_interrupt();
}

/// ExceptionTables with the monitor's handlers, whose stack for faults ends there.
#[must_use]
pub fn tables(fault_stack_end: u64) -> ExceptionTables {
    // SAFETY: the assembly above defines as many addresses.
    let exceptions = unsafe { exception_stubs };
    let discard = discard_entry as *const () as u64;
    let handler = |vector| match vector {
        NMI => nmi_entry as *const () as u64,
        _ => exceptions.get(vector).copied().unwrap_or(discard),
    };
    ExceptionTables::new(handler, fault_stack_end)
}

/// Holds everything off from now on; see the module's text for the state that this gives.
///
/// # Safety
/// The core has SVM enabled and its descriptor tables loaded.
pub unsafe fn hold() {
    // SAFETY: as the caller warrants; with GIF off, IF has no effect here.
    unsafe { asm!("clgi; sti", options(nostack)) };
}

/// Writes a model-specific register that may not exist, or not take the value: whether it did.
///
/// # Safety
/// If the register takes the value, what that changes must be the caller's to change.
pub unsafe fn try_write_msr(register: u32, value: u64) -> bool {
    // SAFETY: as the caller warrants; the handler above turns a fault into the answer 0.
    unsafe { attempt_write_msr(register, value as u32, (value >> 32) as u32) != 0 }
}

/// Takes the NMIs that are latched; each is counted.
pub fn drain_nmis() {
    // SAFETY: the NMI handler changes only its counter; physical interrupts are off while GIF is on.
    unsafe { asm!("cli; stgi; nop; clgi; sti", options(nostack)) };
}

/// Takes the physical interrupts that are pending, and forgets them.
pub fn discard_pending() {
    // SAFETY: the handlers only end the interrupt at the APIC, or count an NMI.
    unsafe { asm!("stgi", "nop", "nop", "clgi", options(nostack)) };
}

/// Sleeps until one of `bits` is set in `word`, or an NMI comes.
pub fn sleep_until(word: &AtomicU32, bits: u32) {
    // SAFETY: as in `drain_nmis`; the word lives longer than the sleep.
    unsafe { sleep_until_attention(word, bits) };
}
