//! Where the program begins, and how it leaves the enclave and comes back: what an enclave's runtime does, and no more.
//!
//! One thread. In an enclave it has a stack of its own; outside it is called as a function on its host's.

use core::arch::global_asm;

use crate::agreement::{Block, ROOM, entry};

global_asm!(
    r#"
.section .text.start, "ax"
.globl _start
_start:
    cmp edi, {plain}
    je 2f
    cld
    // RCX is where the host goes on.
    mov [rip + border_way_out], rcx
    mov [rip + border_host_stack], rsp
    mov [rip + border_host_frame], rbp
    cmp edi, {answered}
    je 1f
    lea rsp, [rip + border_stack_end]
    xor ebp, ebp
    mov rdi, rsi
    xor esi, esi
    call {main}
    jmp 3f
1:  mov rsp, [rip + border_stack_pointer]
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbx
    pop rbp
    ret
2:  mov rdi, rsi
    mov rsi, rdx
    jmp {main}

.globl border_leave
border_leave:
    push rbp
    push rbx
    push r12
    push r13
    push r14
    push r15
    mov [rip + border_stack_pointer], rsp
3:  // Out, with nothing of the program's in registers.
    mov rsp, [rip + border_host_stack]
    mov rbp, [rip + border_host_frame]
    mov rbx, [rip + border_way_out]
    xor ecx, ecx
    xor edx, edx
    xor esi, esi
    xor edi, edi
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    mov eax, 4
    .byte 0x0f, 0x01, 0xd7
    ud2

.section .bss.border, "aw", @nobits
border_way_out: .skip 8
border_host_stack: .skip 8
border_host_frame: .skip 8
border_stack_pointer: .skip 8
.balign 16
.skip 32768
border_stack_end:
.text
"#,
    plain = const entry::PLAIN,
    answered = const entry::ANSWERED,
    main = sym crate::main,
);

unsafe extern "C" {
    fn border_leave();
}

/// Who answers calls where there is no enclave.
pub type Answers = extern "C" fn(*mut Block);

/// What is outside.
#[derive(Clone, Copy)]
pub struct Host {
    block: *mut Block,
    answers: Option<Answers>,
}

impl Host {
    /// The host that has given the program this block, and answers calls by this function; `None` in an enclave.
    ///
    /// # Safety
    /// The block is the host's, which does not touch it while the program runs.
    pub unsafe fn new(block: *mut Block, answers: Option<Answers>) -> Self {
        Self { block, answers }
    }

    /// What it wants done, and with what.
    pub fn wants(&self) -> (u64, [u64; 3]) {
        // SAFETY: by the contract of `new`.
        unsafe { ((*self.block).work, (*self.block).operands) }
    }

    /// The memory that the program works in, as words.
    #[expect(
        clippy::mut_from_ref,
        reason = "it is taken once for each piece of work"
    )]
    pub fn memory(&self) -> &mut [u64] {
        // SAFETY: by the contract of `new`; the memory is the program's alone, and is not taken twice at once.
        unsafe {
            let [start, size] = (*self.block).memory;
            core::slice::from_raw_parts_mut(start as *mut u64, size as usize / 8)
        }
    }

    /// Asks for something; the answer.
    pub fn ask(&self, call: u64, arguments: [u64; 3]) -> u64 {
        // SAFETY: by the contract of `new`. The way out comes back to its caller with all registers that functions keep.
        unsafe {
            (&raw mut (*self.block).call).write_volatile(call);
            (&raw mut (*self.block).arguments).write_volatile(arguments);
            (&raw mut (*self.block).asks).write_volatile(1);
            match self.answers {
                Some(answers) => answers(self.block),
                None => border_leave(),
            }
            (&raw const (*self.block).result).read_volatile()
        }
    }

    /// Where the host finds these words: an enclave must copy them out.
    pub fn show(&self, words: &[u64]) -> u64 {
        let Some(room) = self.room(words.len()) else {
            return words.as_ptr() as u64;
        };
        // SAFETY: the host's room is of that size, and of nobody else's use.
        unsafe { core::ptr::copy_nonoverlapping(words.as_ptr(), room, words.len()) };
        room as u64
    }

    /// Where the host may put what is meant for these words.
    pub fn place_for(&self, words: &mut [u64]) -> u64 {
        let room = self.room(words.len());
        room.map_or(words.as_mut_ptr() as u64, |room| room as u64)
    }

    /// Takes what the host has put there.
    pub fn take(&self, words: &mut [u64]) {
        if let Some(room) = self.room(words.len()) {
            // SAFETY: as in `show`.
            unsafe { core::ptr::copy_nonoverlapping(room, words.as_mut_ptr(), words.len()) };
        }
    }

    /// The host's room for so many words, where the program's own memory is none that it can see.
    fn room(&self, words: usize) -> Option<*mut u64> {
        let is_needed = self.answers.is_none() && words * 8 <= ROOM;
        // SAFETY: by the contract of `new`.
        is_needed.then(|| unsafe { (*self.block).room } as *mut u64)
    }

    /// Says what has come of the work.
    pub fn end(&self, result: u64) {
        // SAFETY: by the contract of `new`.
        unsafe {
            (*self.block).result = result;
            (*self.block).asks = 0;
        }
    }
}
