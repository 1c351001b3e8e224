//! Where application processors begin: a few 16-bit instructions below 1 MiB that lead to the monitor's own code.

use core::arch::global_asm;

use super::selector;

/// The page that it is copied to. Nothing of the firmware's is there, and domain 0 has not started yet.
pub const PAGE: u8 = 0x08;

global_asm!(
    r#"
.section .rodata.trampoline, "a"
.code16
.global trampoline, trampoline_end
trampoline:
    cli
    cld
    mov ax, cs
    mov ds, ax
    // lgdt with a 32-bit base, and below a jump with a 32-bit target: the assembler cannot write these two.
    .byte 0x66, 0x0f, 0x01, 0x16
    .word trampoline_table_pointer - trampoline
    mov eax, 0x11
    mov cr0, eax
    .byte 0x66, 0xea
    .long application_start
    .word {code32}
.align 4
trampoline_table_pointer:
    .word 31
    .long descriptor_table
trampoline_end:

.section .text.boot, "ax"
.code32
application_start:
    mov ax, 0x10
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov ebp, offset application_entry
    jmp long_mode_to_ebp
.code64
.text
"#,
    code32 = const selector::CODE_32,
);

unsafe extern "C" {
    static trampoline: u8;
    static trampoline_end: u8;
    /// The [`crate::cores::StackEnd`] of the processor that is being started.
    static mut application_stack: u64;
}

/// Copies the instructions to their page.
///
/// # Safety
/// The page must be RAM that nobody uses.
pub unsafe fn install() {
    let start = &raw const trampoline;
    let size = (&raw const trampoline_end) as usize - start as usize;
    // SAFETY: as the caller warrants; the two symbols enclose the instructions.
    unsafe { core::ptr::copy_nonoverlapping(start, (u64::from(PAGE) << 12) as *mut u8, size) };
}

/// Says on which stack the next processor begins.
///
/// # Safety
/// No other processor may be starting.
pub unsafe fn set_stack(stack_end: u64) {
    // SAFETY: as the caller warrants: the only reader is the processor that starts next.
    unsafe { (&raw mut application_stack).write_volatile(stack_end) };
}
