//! What a program without an operating system must bring itself, if it has no domain's runtime either.

use core::arch::asm;
use core::panic::PanicInfo;

/// Ends it, as an exception that its host sees.
#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: an invalid instruction, by which the program ends.
    unsafe { asm!("ud2", options(noreturn)) }
}

/// Never called: nothing here unwinds, but prebuilt `core` names it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: by the contract of the C function; the direction flag is clear. An emulator counts each step of these, so they go by words.
    unsafe {
        asm!("rep movsq", "mov rcx, {rest}", "rep movsb",
            inout("rdi") to => _, inout("rsi") from => _, inout("rcx") length / 8 => _,
            rest = in(reg) length % 8,
            options(nostack, preserves_flags));
    }
    to
}

/// # Safety
/// As in C.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    // SAFETY: by the contract of the C function; the direction flag is clear.
    unsafe {
        asm!("rep stosb", inout("rdi") to => _, inout("rcx") length => _, in("al") byte as u8,
            options(nostack, preserves_flags));
    }
    to
}
