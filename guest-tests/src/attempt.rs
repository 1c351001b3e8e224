//! Accesses and calls that may fault, as attempts: a handler goes on behind those that do.
#![allow(unsafe_code)]

use std::arch::global_asm;

use anyhow::Result;
use nix::errno::Errno;
use nix::libc;

/// RAX of a call that faulted, see [`skip_faulting_calls`].
pub const FAULTED: u64 = u64::MAX;
/// VMMCALL.
const CALL: [u8; 3] = [0x0f, 0x01, 0xd9];

/// Goes on behind the calling instruction; any other that faults does so again, without this handler.
extern "C" fn skip_call(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a ucontext to a handler that asks for one.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let place = registers[libc::REG_RIP as usize];
    for attempt in [&raw const attempted_load, &raw const attempted_store] {
        if place == attempt as i64 {
            registers[libc::REG_RIP as usize] = &raw const attempt_failed as i64;
            return;
        }
    }
    // SAFETY: the instruction was executed, so its first bytes can be read; a jump into nothing ends the process here too.
    let found = unsafe { (place as *const [u8; 3]).read_unaligned() };
    if found == CALL {
        registers[libc::REG_RIP as usize] = place + CALL.len() as i64;
        registers[libc::REG_RAX as usize] = FAULTED as i64;
    } else {
        // SAFETY: restores the default action.
        unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
    }
}

global_asm!(
    r#"
.section .text.attempts, "ax"
// rdi: the address; rsi: where the word goes.
attempt_load:
attempted_load:
    mov rax, [rdi]
    mov [rsi], rax
    mov eax, 1
    ret
// rdi: the address; rsi: the word.
attempt_store:
attempted_store:
    mov [rdi], rsi
    mov eax, 1
    ret
attempt_failed:
    xor eax, eax
    ret
.text
"#
);

unsafe extern "C" {
    static attempted_load: u8;
    static attempted_store: u8;
    static attempt_failed: u8;
    fn attempt_load(address: u64, word: *mut u64) -> u32;
    fn attempt_store(address: u64, word: u64) -> u32;
}

/// A word from anywhere, `None` if that faults. After [`skip_faulting_calls`].
#[must_use]
pub fn try_load(address: u64) -> Option<u64> {
    let mut word = 0;
    // SAFETY: a load changes nothing; the handler goes on where it faults.
    (unsafe { attempt_load(address, &raw mut word) } == 1).then_some(word)
}

/// Stores a word to pool memory, or to where it faults: whether it did not. After [`skip_faulting_calls`].
pub fn try_store(address: u64, word: u64) -> bool {
    // SAFETY: tests store only to pool memory, to which no reference points, or to what must fault.
    unsafe { attempt_store(address, word) == 1 }
}

/// From now on a call that faults returns [`FAULTED`], and [`try_load`] and [`try_store`] work.
///
/// # Errors
/// What the kernel refuses.
pub fn skip_faulting_calls() -> Result<()> {
    // SAFETY: an all-zero sigaction is valid, and the handler touches its own context only.
    let statuses = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = skip_call as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        [libc::SIGSEGV, libc::SIGBUS]
            .map(|signal| libc::sigaction(signal, &raw const action, std::ptr::null_mut()))
    };
    for status in statuses {
        Errno::result(status)?;
    }
    Ok(())
}
