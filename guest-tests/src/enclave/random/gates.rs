//! Executing leaves in kernel mode, where a fault must be caught without the kernel: for as long, three of its gates lead to stubs that go on behind
//! the instruction. Nothing else here may fault.

use std::arch::{asm, global_asm};

use super::tally::Ended;

global_asm!(
    r#"
.section .text.random_leaves, "ax"
// rdi: the leaf; rsi: RBX, RCX, RDX for it, and where the vector of a fault goes.
.macro random_leaf name, last
\name:
    push rbx
    mov r8, rsi
    mov rax, rdi
    mov rbx, [r8]
    mov rcx, [r8 + 8]
    mov rdx, [r8 + 16]
    .byte 0x0f, 0x01, \last
    pop rbx
    ret
.endm
    random_leaf random_encls, 0xcf
    random_leaf random_enclu, 0xd7
.purgem random_leaf
random_undefined:
    mov qword ptr [r8 + 24], 6
    add qword ptr [rsp], 3
    iretq
random_protection:
    add rsp, 8
    mov qword ptr [r8 + 24], 13
    add qword ptr [rsp], 3
    iretq
random_page:
    add rsp, 8
    mov qword ptr [r8 + 24], 14
    add qword ptr [rsp], 3
    iretq
.text
"#
);

unsafe extern "C" {
    fn random_encls(leaf: u64, operands: *mut [u64; 4]) -> u64;
    fn random_enclu(leaf: u64, operands: *mut [u64; 4]) -> u64;
    static random_undefined: u8;
    static random_protection: u8;
    static random_page: u8;
}

/// Leaves of ENCLS that leave RAX alone.
const SILENT: [u64; 5] = [0x00, 0x01, 0x06, 0x0a, 0x0d];

/// An interrupt descriptor table.
pub type Gates = [[u64; 2]; 256];

/// Executes a leaf of ENCLS. Only inside [`with`].
pub fn encls(leaf: u64, operands: [u64; 3]) -> Ended {
    let (status, fault) = execute(random_encls, leaf, operands);
    match (fault, status) {
        (0, 0) => Ended::Success,
        (0, _) if SILENT.contains(&leaf) => Ended::Success,
        (0, code) => Ended::Code(code),
        (vector, _) => Ended::Fault(vector),
    }
}

/// Executes a leaf of ENCLU. Only inside [`with`].
pub fn enclu(leaf: u64, operands: [u64; 3]) -> Ended {
    match execute(random_enclu, leaf, operands) {
        (_, 0) => Ended::Success,
        (_, vector) => Ended::Fault(vector),
    }
}

/// RAX and the vector of the fault, if any.
fn execute(
    instruction: unsafe extern "C" fn(u64, *mut [u64; 4]) -> u64,
    leaf: u64,
    operands: [u64; 3],
) -> (u64, u64) {
    let [first, second, third] = operands;
    let mut words = [first, second, third, 0];
    // SAFETY: in kernel mode under the gates below, which go on behind the instruction where it faults. It writes to pages of the EPC
    // that nobody else uses, and to the player's memory.
    let status = unsafe { instruction(leaf, &raw mut words) };
    (status, words[3])
}

/// Runs `action` in kernel mode, interrupts off, with faults of leaves caught. `gates` is overwritten.
pub fn with(gates: &mut Gates, action: impl FnOnce()) {
    let mut kernels = [0_u8; 10];
    // SAFETY: stores where the kernel's table is.
    unsafe { asm!("sidt [{0}]", in(reg) kernels.as_mut_ptr(), options(nostack)) };
    let [_, _, base @ ..] = kernels;
    let base = u64::from_le_bytes(base);
    // SAFETY: the kernel's table has 256 gates.
    unsafe { std::ptr::copy_nonoverlapping(base as *const [u64; 2], gates.as_mut_ptr(), 256) };
    let selector: u16;
    // SAFETY: reads a register.
    unsafe { asm!("mov {0:x}, cs", out(reg) selector, options(nomem, nostack)) };
    let stubs = [
        (6, &raw const random_undefined),
        (13, &raw const random_protection),
        (14, &raw const random_page),
    ];
    for (vector, stub) in stubs {
        let place = stub as u64;
        let low = place & 0xffff | u64::from(selector) << 16 | 0x8e << 40;
        gates[vector] = [low | (place >> 16 & 0xffff) << 48, place >> 32];
    }
    let mut own = [0_u8; 10];
    own[..2].copy_from_slice(&4095_u16.to_le_bytes());
    own[2..].copy_from_slice(&(gates.as_ptr() as u64).to_le_bytes());
    // SAFETY: the gates lie in memory that is locked; they are the kernel's but for three, and the kernel's come back.
    unsafe { asm!("lidt [{0}]", in(reg) own.as_ptr(), options(nostack)) };
    action();
    // SAFETY: as it was.
    unsafe { asm!("lidt [{0}]", in(reg) kernels.as_ptr(), options(nostack)) };
}
