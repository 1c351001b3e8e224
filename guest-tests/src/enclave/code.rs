//! What the tests' enclave executes, and how it is entered.
//!
//! The code is copied out of this program, so it is independent of where it lies. It uses no stack. RDI says what to do, RSI and RDX
//! with what, R8 is where the result goes: a word outside the enclave.
#![allow(unsafe_code)]

use std::arch::global_asm;

/// What the enclave is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Command {
    /// The result is the sum of the operands.
    Add = 0,
    /// The result is the word at the first operand.
    Load = 1,
    /// Stores the second operand at the first.
    Store = 2,
    /// Adds 1 to the word at the second operand as often as the first one says.
    Count = 3,
    /// Calls the first operand.
    Call = 4,
    /// UD2.
    Undefined = 5,
    /// INT3.
    Breakpoint = 6,
    /// CPUID.
    Identify = 7,
    /// SYSCALL.
    SystemCall = 8,
    /// Fills all registers with the first operand, XMM registers too, then loads from the second operand.
    FillAndLoad = 10,
    /// VMMCALL.
    MonitorCall = 11,
    /// INT 80h.
    Interrupt = 12,
    /// Executes the leaf of ENCLU that the first operand names with RBX, RCX, RDX from the table at the second; the result is RAX.
    Leaf = 13,
    /// IN from port 80h.
    Port = 14,
    /// MOV DS with the first operand.
    LoadSegment = 15,
    /// Adds words from eight pages from the first operand on and from the second operand.
    TouchEight = 16,
    /// Adds the second operand to RIP in the frame whose GPRSGX the first one names.
    StepOver = 100,
}

global_asm!(
    r#"
.globl enclave_code, enclave_code_out, enclave_code_end, enclave_enter, enclave_enter_end, enclave_exit_pointer, enclave_by_vdso
.section .text.enclave, "ax"
.balign 4096
enclave_code:
    // RAX: the current frame; RBX: the TCS; RCX: where to go back.
    mov r11, rcx
    cmp rdi, 100
    je 90f
    cmp rdi, 0
    je 10f
    cmp rdi, 1
    je 11f
    cmp rdi, 2
    je 12f
    cmp rdi, 3
    je 13f
    cmp rdi, 4
    je 14f
    cmp rdi, 5
    je 15f
    cmp rdi, 6
    je 16f
    cmp rdi, 7
    je 17f
    cmp rdi, 8
    je 18f
    cmp rdi, 10
    je 20f
    cmp rdi, 11
    je 21f
    cmp rdi, 12
    je 22f
    cmp rdi, 13
    je 23f
    cmp rdi, 14
    je 24f
    cmp rdi, 15
    je 25f
    cmp rdi, 16
    je 26f
enclave_code_out:
80: // Out again, without the registers that were used.
    mov rbx, r11
    xor r11d, r11d
    xor r9d, r9d
    mov eax, 4
    .byte 0x0f, 0x01, 0xd7
    ud2
10: lea rax, [rsi + rdx]
    mov [r8], rax
    jmp 80b
11: mov rax, [rsi]
    mov [r8], rax
    jmp 80b
12: mov [rsi], rdx
    jmp 80b
13: test rsi, rsi
    jz 80b
    inc qword ptr [rdx]
    dec rsi
    jmp 13b
14: jmp rsi
15: ud2
    jmp 80b
16: int3
    jmp 80b
17: xor eax, eax
    cpuid
    jmp 80b
18: mov r9, rcx
    mov eax, 39
    syscall
    jmp 80b
20: mov rax, rsi
    mov rbx, rsi
    mov rcx, rsi
    mov rdi, rsi
    mov rbp, rsi
    mov r8, rsi
    mov r9, rsi
    mov r10, rsi
    mov r12, rsi
    mov r13, rsi
    mov r14, rsi
    mov r15, rsi
    movq xmm0, rsi
    movq xmm7, rsi
    movq xmm15, rsi
    fld1
    mov rdx, [rdx]
    jmp 80b
21: vmmcall
    jmp 80b
22: int 0x80
    jmp 80b
23: mov rax, rsi
    mov r9, rdx
    mov rbx, [r9]
    mov rcx, [r9 + 8]
    mov rdx, [r9 + 16]
    .byte 0x0f, 0x01, 0xd7
    mov [r8], rax
    jmp 80b
24: in al, 0x80
    jmp 80b
25: mov ds, esi
    jmp 80b
26: mov rax, [rdx]
    .irp page, 0, 1, 2, 3, 4, 5, 6, 7
    add rax, [rsi + 4096 * \page]
    .endr
    mov [r8], rax
    jmp 80b
90: // Steps over the exception in the frame whose GPRSGX the first operand names: RIP there is 136 in.
    add [rsi + 136], rdx
    jmp 80b
enclave_code_end:
    .balign 4096

.section .text.enclave_entry, "ax"
// rdi: the TCS; rsi: the command; rdx, rcx: operands; r8: where the result goes; r9: the leaf.
enclave_enter:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rbx, rdi
    mov rdi, rsi
    mov rsi, rdx
    mov rdx, rcx
    lea rcx, [rip + enclave_exit_pointer]
    mov rax, r9
enclave_exit_pointer:
    .byte 0x0f, 0x01, 0xd7
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
enclave_enter_end:
// rdi: the function of the vDSO; rsi: eight words: RDI, RSI, RDX, RCX, R8, R9 for it, the run structure.
enclave_by_vdso:
    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rax, rdi
    mov r10, rsi
    push [r10 + 48]
    mov rdi, [r10]
    mov rsi, [r10 + 8]
    mov rdx, [r10 + 16]
    mov rcx, [r10 + 24]
    mov r8, [r10 + 32]
    mov r9, [r10 + 40]
    call rax
    add rsp, 8
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
.text
"#
);

unsafe extern "C" {
    static enclave_code: u8;
    static enclave_code_out: u8;
    static enclave_code_end: u8;
    static enclave_enter_end: u8;
    static enclave_exit_pointer: u8;
    fn enclave_enter(tcs: u64, command: u64, first: u64, second: u64, result: *mut u64, leaf: u64);
    fn enclave_by_vdso(function: u64, words: *const [u64; 7]) -> i32;
}

/// The enclave's code.
pub fn bytes() -> &'static [u8] {
    let (start, end) = (&raw const enclave_code, &raw const enclave_code_end);
    // SAFETY: both are labels of one section of this program.
    unsafe { std::slice::from_raw_parts(start, end as usize - start as usize) }
}

/// Where in the enclave's code it leaves.
pub fn way_out() -> u64 {
    &raw const enclave_code_out as u64 - &raw const enclave_code as u64
}

/// What [`enter`] does, at a place of its own, where its instruction can be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Enter {
    code: u64,
    instruction: u64,
}

impl Enter {
    /// Copies it to a page that can be written and executed.
    pub fn copy_to(code: u64) -> Self {
        let start = enclave_enter as *const () as u64;
        let end = &raw const enclave_enter_end as u64;
        // SAFETY: both are labels of one section of this program; the page is the caller's.
        unsafe {
            std::ptr::copy_nonoverlapping(
                start as *const u8,
                code as *mut u8,
                (end - start) as usize,
            );
        }
        let instruction = code + (&raw const enclave_exit_pointer as u64 - start);
        Self { code, instruction }
    }

    /// Puts these bytes in place of ENCLU.
    pub fn replace(&self, bytes: [u8; 3]) {
        // SAFETY: the page is the caller's of `copy_to`.
        unsafe { (self.instruction as *mut [u8; 3]).write_volatile(bytes) };
    }

    /// See [`enter`].
    pub fn enter(&self, tcs: u64, command: Command, first: u64, second: u64) -> u64 {
        const EENTER: u64 = Leaf::Enter as u64;
        type Function = unsafe extern "C" fn(u64, u64, u64, u64, *mut u64, u64);
        let mut result = 0;
        // SAFETY: a copy of that function, which does not depend on where it lies; see `enter`.
        unsafe {
            let function = std::mem::transmute::<u64, Function>(self.code);
            function(tcs, command as u64, first, second, &raw mut result, EENTER);
        }
        result
    }
}

/// EENTER, without help: after an interrupt the program goes on with ERESUME. An exception inside is a signal.
pub fn enter(tcs: u64, command: Command, first: u64, second: u64) -> u64 {
    const EENTER: u64 = Leaf::Enter as u64;
    let mut result = 0;
    // SAFETY: the enclave does what this module says: it writes the result and what the operands name.
    unsafe { enclave_enter(tcs, command as u64, first, second, &raw mut result, EENTER) };
    result
}

/// What the vDSO reports of an entry (`struct sgx_enclave_run`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Run {
    tcs: u64,
    /// The leaf by which it came back: 4 if the enclave left by itself, 2 or 3 if that leaf met an exception.
    pub function: u32,
    /// The exception's vector.
    pub vector: u16,
    /// Its error code.
    pub error: u16,
    /// The address of a page fault.
    pub address: u64,
    handler: u64,
    data: u64,
    reserved: [u8; 216],
}

/// How an entry through the vDSO ended.
#[derive(Clone, Copy, Debug)]
pub struct Entered {
    /// What the vDSO reports.
    pub run: Run,
    /// What the function returns.
    pub status: i32,
    /// What the enclave wrote as its result.
    pub result: u64,
}

/// The leaf to begin with.
#[derive(Clone, Copy, Debug)]
pub enum Leaf {
    /// EENTER.
    Enter = 2,
    /// ERESUME.
    Resume = 3,
}

/// Enters by the vDSO's function at `function`.
#[inline(never)]
pub fn enter_by_vdso(
    function: u64,
    tcs: u64,
    leaf: Leaf,
    command: u64,
    operands: [u64; 2],
) -> Entered {
    let mut entered = Entered {
        run: Run {
            tcs,
            function: 0,
            vector: 0,
            error: 0,
            address: 0,
            handler: 0,
            data: 0,
            reserved: [0; 216],
        },
        status: 0,
        result: 0,
    };
    let words = [
        command,
        operands[0],
        operands[1],
        leaf as u64,
        &raw mut entered.result as u64,
        0,
        &raw mut entered.run as u64,
    ];
    // SAFETY: as in `enter`; the vDSO writes the run structure.
    entered.status = unsafe { enclave_by_vdso(function, &raw const words) };
    entered
}

/// Enters by the vDSO's function, and as long as that ends with an exception that `mend` has an answer to, resumes.
///
/// The enclave uses the program's stack pointer and result, which are those of its first entry: so every entry is made from here.
pub fn enter_and_mend(
    function: u64,
    tcs: u64,
    command: Command,
    operands: [u64; 2],
    mut mend: impl FnMut(&Entered) -> anyhow::Result<bool>,
) -> anyhow::Result<Entered> {
    let mut leaf = Leaf::Enter;
    loop {
        let entered = enter_by_vdso(function, tcs, leaf, command as u64, operands);
        if entered.run.function == 4 || !mend(&entered)? {
            return Ok(entered);
        }
        leaf = Leaf::Resume;
    }
}

/// Where the vDSO's function for entering enclaves is.
pub fn vdso_function() -> Option<u64> {
    // SAFETY: the kernel maps the vDSO, an ELF file, at this address for the life of the process.
    unsafe {
        let base = nix::libc::getauxval(nix::libc::AT_SYSINFO_EHDR);
        symbol(base, b"__vdso_sgx_enter_enclave\0")
    }
}

/// The address of a dynamic symbol of the ELF file that is mapped at `base`.
///
/// # Safety
/// There is one.
unsafe fn symbol(base: u64, name: &[u8]) -> Option<u64> {
    const DYNAMIC: u32 = 2;
    const LOAD: u32 = 1;
    let read = |address: u64| -> u64 {
        // SAFETY: the caller warrants a whole file.
        unsafe { (address as *const u64).read_unaligned() }
    };
    let headers = base + read(base + 32);
    let count = read(base + 56) & 0xffff;
    let mut shift = base;
    let mut dynamic = 0;
    for header in (0..count).map(|number| headers + 56 * number) {
        match read(header) as u32 {
            DYNAMIC => dynamic = read(header + 16),
            LOAD if read(header + 8) == 0 => shift = base - read(header + 16),
            _ => {}
        }
    }
    let (mut strings, mut symbols, mut hash) = (0, 0, 0);
    let mut entry = shift + dynamic;
    while read(entry) != 0 {
        let value = read(entry + 8) + shift;
        match read(entry) {
            4 => hash = value,
            5 => strings = value,
            6 => symbols = value,
            _ => {}
        }
        entry += 16;
    }
    if hash == 0 || symbols == 0 || strings == 0 {
        return None;
    }
    let total = read(hash) >> 32;
    (0..total)
        .map(|number| symbols + 24 * number)
        .find_map(|found| {
            let start = strings + (read(found) & 0xffff_ffff);
            let is_same = name.iter().zip(start..).all(|(byte, place)| {
                // SAFETY: as above; names end with a zero.
                unsafe { *(place as *const u8) == *byte }
            });
            is_same.then(|| shift + read(found + 8))
        })
}
