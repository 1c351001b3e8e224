//! What a program tries that no program may: ENCLS, and leaves of ENCLU that belong inside an enclave.

use std::arch::global_asm;

use anyhow::Result;
use nix::errno::Errno;
use nix::libc;

use super::tally::{Ended, Row};
use adyton_player::Dice;

global_asm!(
    r#"
.section .text.random_outside, "ax"
// rdi: the leaf; rsi, rdx: RBX and RCX for it. 0, or the vector of the fault, which the handler puts in RAX.
outside_encls:
    push rbx
    mov eax, edi
    mov rbx, rsi
    mov rcx, rdx
outside_encls_at:
    .byte 0x0f, 0x01, 0xcf
    xor eax, eax
    jmp outside_end
outside_enclu:
    push rbx
    mov eax, edi
    mov rbx, rsi
    mov rcx, rdx
outside_enclu_at:
    .byte 0x0f, 0x01, 0xd7
    xor eax, eax
outside_end:
    pop rbx
    ret
.text
"#
);

unsafe extern "C" {
    fn outside_encls(leaf: u64, first: u64, second: u64) -> u64;
    fn outside_enclu(leaf: u64, first: u64, second: u64) -> u64;
    static outside_encls_at: u8;
    static outside_enclu_at: u8;
    static outside_end: u8;
}

/// Goes on behind one of the two instructions; another that faults does so again, without this handler.
extern "C" fn skip(signal: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a ucontext to a handler that asks for one.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let place = registers[libc::REG_RIP as usize];
    let known = [&raw const outside_encls_at, &raw const outside_enclu_at];
    if known.iter().any(|at| *at as i64 == place) {
        registers[libc::REG_RIP as usize] = &raw const outside_end as i64;
        registers[libc::REG_RAX as usize] = registers[libc::REG_TRAPNO as usize];
    } else {
        // SAFETY: restores the default action.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// From now on [`play`] works.
pub fn prepare() -> Result<()> {
    for signal in [libc::SIGSEGV, libc::SIGILL, libc::SIGBUS] {
        // SAFETY: an all-zero sigaction is valid, and the handler touches its own context only.
        let status = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = skip as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        Errno::result(status)?;
    }
    Ok(())
}

/// Tries one leaf, with addresses out of `addresses` or anything; EENTER and ERESUME are played elsewhere.
pub fn play(dice: &mut Dice, addresses: &[u64], encls: &mut Row, enclu: &mut Row) {
    let mut operand = || match dice.below(3) {
        0 => dice.word(),
        _ => addresses[dice.below(addresses.len() as u64) as usize],
    };
    let (first, second) = (operand(), operand());
    let mut leaf = dice.below(24);
    if dice.once_in(8) {
        leaf = dice.word() & 0xffff_ffff;
    }
    let is_system = dice.once_in(2);
    if !is_system && matches!(leaf, 2 | 3) {
        return;
    }
    // SAFETY: the handler goes on where it faults, as it must; should it not, it says so.
    let (row, vector) = unsafe {
        if is_system {
            (encls, outside_encls(leaf, first, second))
        } else {
            (enclu, outside_enclu(leaf, first, second))
        }
    };
    row.note(match vector {
        0 => Ended::Success,
        vector => Ended::Fault(vector),
    });
}
