//! Exceptions inside the domain: to the payload's handler if it has one, else to the owner as an exit.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicUsize, Ordering};

use adyton_compose::convention::FAULT;

use crate::call::call_parent;

/// Exceptions have vectors 0 to 31.
pub(crate) const VECTORS: usize = 32;

/// Bytes of a stub.
const STUB: usize = 16;

/// The interrupted computation, as the stub leaves it on the exception stack.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Frame {
    /// R15 … R8, RBP, RDI, RSI, RDX, RCX, RBX, RAX.
    pub general: [u64; 15],
    /// Vector.
    pub vector: u64,
    /// Error code, 0 where the exception has none.
    pub error_code: u64,
    /// Where the computation goes on.
    pub rip: u64,
    /// Code segment.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

/// What a handler decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on as the frame says.
    Resume,
    /// Report the exception to the owner.
    Report,
}

/// A payload's own handler. It runs on a stack of 8 KiB.
pub type Handler = fn(&mut Frame) -> Verdict;

static HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Makes `handler` see every exception of this domain that its policy leaves to it.
pub fn set_handler(handler: Handler) {
    HANDLER.store(handler as usize, Ordering::Release);
}

/// The address that the last page fault was about.
#[must_use]
pub fn fault_address() -> u64 {
    let address: u64;
    // SAFETY: reading CR2 at ring 0 has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) address, options(nomem, nostack, preserves_flags)) };
    address
}

global_asm!(
    ".section .text.exceptions, \"ax\"",
    ".p2align 4",
    "adyton_exception_stubs:",
    ".set vector, 0",
    ".rept 32",
    ".p2align 4",
    // 8, 10 to 14, 17, 21, 29 and 30 come with an error code.
    ".if ((1 << vector) & 0x60227d00) == 0",
    "push 0",
    ".endif",
    "push vector",
    "jmp {common}",
    ".set vector, vector + 1",
    ".endr",
    common = sym common,
);

unsafe extern "C" {
    #[link_name = "adyton_exception_stubs"]
    static STUBS: u8;
}

/// Address of the stub of `vector`.
pub(crate) fn stub(vector: usize) -> u64 {
    &raw const STUBS as u64 + (vector * STUB) as u64
}

/// Saves what Rust may change, and calls [`handle`] with the frame.
#[unsafe(naked)]
unsafe extern "C" fn common() {
    core::arch::naked_asm!(
        "push rax",
        "push rbx",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push rbp",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "cld",
        "mov rdi, rsp",
        "sub rsp, 512",
        "fxsave64 [rsp]",
        "call {handle}",
        "fxrstor64 [rsp]",
        "add rsp, 512",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rbx",
        "pop rax",
        "add rsp, 16",
        "iretq",
        handle = sym handle,
    )
}

extern "sysv64" fn handle(frame: &mut Frame) {
    let handler = HANDLER.load(Ordering::Acquire);
    if handler != 0 {
        // SAFETY: only `set_handler` stores here, and it stores a `Handler`.
        let handler: Handler = unsafe { core::mem::transmute::<usize, Handler>(handler) };
        if handler(frame) == Verdict::Resume {
            return;
        }
    }
    report(frame.vector)
}

/// Tells the owner the vector and nothing else: where and why may be secret.
fn report(vector: u64) -> ! {
    loop {
        call_parent([FAULT, vector, 0, 0, 0, 0]);
    }
}
