//! A call with every register as a test wants it, and what every register holds afterwards.
#![allow(unsafe_code)]

use std::arch::global_asm;

use adyton::abi::call::Call;

/// All registers of a call, before it and after it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSI, RDI, RBP, R8 to R15.
    pub general: [u64; 15],
    /// RFLAGS; before the call, the arithmetic flags and DF, and what else shall be set.
    pub flags: u64,
    /// YMM0 to YMM15 afterwards.
    vectors: [[u64; 4]; 16],
}

impl Registers {
    /// Number and arguments 0 to 5.
    pub fn set_call(&mut self, call: Call, arguments: [u64; 6]) {
        let [rdi, rsi, rdx, rcx, r8, r9] = arguments;
        self.general[..3].copy_from_slice(&[call as u64, rcx, rdx]);
        self.general[4..6].copy_from_slice(&[rsi, rdi]);
        self.general[7..9].copy_from_slice(&[r8, r9]);
    }

    /// R8: argument 4.
    pub fn set_sequence(&mut self, sequence: u64) {
        self.general[7] = sequence;
    }

    /// R12.
    pub fn set_token(&mut self, token: u64) {
        self.general[11] = token;
    }

    /// RAX.
    #[must_use]
    pub fn status(&self) -> u64 {
        self.general[0]
    }

    /// RDI, RSI, RDX, RCX, R8 to R11.
    #[must_use]
    pub fn results(&self) -> [u64; 8] {
        let places = [5, 4, 2, 1, 7, 8, 9, 10];
        places.map(|place| self.general[place])
    }

    /// What no call changes: RBX, RBP, R12 to R15.
    #[must_use]
    pub fn kept(&self) -> [u64; 6] {
        [3, 6, 11, 12, 13, 14].map(|place: usize| self.general[place])
    }

    /// Whether a vector register has this word anywhere.
    #[must_use]
    pub fn vector_holds(&self, word: u64) -> bool {
        self.vectors.iter().flatten().any(|found| *found == word)
    }
}

global_asm!(
    r#"
.section .text.calls, "ax"
// rdi: the registers.
call_with_registers:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    push rdi
    pushfq
    mov rax, [rsp]
    and rax, ~0xcd5
    or rax, [rdi + 120]
    push rax
    mov rax, [rdi]
    mov rcx, [rdi + 8]
    mov rdx, [rdi + 16]
    mov rbx, [rdi + 24]
    mov rsi, [rdi + 32]
    mov rbp, [rdi + 48]
    mov r8, [rdi + 56]
    mov r9, [rdi + 64]
    mov r10, [rdi + 72]
    mov r11, [rdi + 80]
    mov r12, [rdi + 88]
    mov r13, [rdi + 96]
    mov r14, [rdi + 104]
    mov r15, [rdi + 112]
    mov rdi, [rdi + 40]
    popfq
    vmmcall
    pushfq
    xchg rdi, [rsp + 16]
    mov [rdi], rax
    mov [rdi + 8], rcx
    mov [rdi + 16], rdx
    mov [rdi + 24], rbx
    mov [rdi + 32], rsi
    mov rax, [rsp + 16]
    mov [rdi + 40], rax
    mov [rdi + 48], rbp
    mov [rdi + 56], r8
    mov [rdi + 64], r9
    mov [rdi + 72], r10
    mov [rdi + 80], r11
    mov [rdi + 88], r12
    mov [rdi + 96], r13
    mov [rdi + 104], r14
    mov [rdi + 112], r15
    pop rax
    mov [rdi + 120], rax
    .irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    vmovdqu [rdi + 128 + 32 * \number], ymm\number
    .endr
    popfq
    pop rdi
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    vzeroupper
    ret
.text
"#
);

unsafe extern "C" {
    fn call_with_registers(registers: *mut Registers);
}

/// Executes the calling instruction with all registers as given, and says what they hold afterwards.
pub fn call_with(registers: &mut Registers) {
    // SAFETY: the assembly keeps what the ABI wants kept, and stores only to the registers' structure.
    unsafe { call_with_registers(registers) };
}
