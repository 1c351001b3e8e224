//! Misbehaves as much as a domain can.
//!
//! Argument `instructions`: executes what a domain must not, and reports each attempt (word 1: its number; word 2: the vector of the
//! exception that it raised, [`NOTHING`] for none). `tables`: switches to page tables of its own making; the second argument says which.
//! `storm`: exceptions whose handlers raise the next one. `pattern`: fills all registers and exits, again and again. `selector`: has another
//! selector in FS at each exit, and reports how often it did not find that afterwards.

#![no_std]
#![no_main]

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::exception::{self, Frame, Verdict};
use adyton_runtime::{Domain, call_parent};

adyton_runtime::entry!(main);

/// No exception was raised.
const NOTHING: u64 = 0xff;

static TAKEN: AtomicU64 = AtomicU64::new(NOTHING);

/// Goes on behind the attempt, whose end is in R15.
fn skip(frame: &mut Frame) -> Verdict {
    TAKEN.store(frame.vector, Ordering::Relaxed);
    frame.rip = frame.general[0];
    // Without TF.
    frame.rflags &= !(1 << 8);
    Verdict::Resume
}

fn main(domain: &mut Domain) -> u64 {
    let mut words = domain.words();
    match (words.next(), words.next()) {
        (Some("instructions"), _) => instructions(),
        (Some("tables"), Some(kind)) => tables(kind),
        (Some("storm"), _) => storm(),
        (Some("pattern"), _) => pattern(),
        (Some("selector"), _) => selector(),
        _ => return 1,
    }
    0
}

macro_rules! attempts {
    ($($($instruction:literal)+,)*) => {{
        let mut number = 0;
        $(
            TAKEN.store(NOTHING, Ordering::Relaxed);
            // SAFETY: each of these is refused by an exception, behind which `skip` goes on, or does no harm where it is not.
            unsafe {
                asm!(
                    "push rbx",
                    "lea r15, [rip + 2f]",
                    "xor eax, eax",
                    $($instruction,)+
                    "2:",
                    "pop rbx",
                    out("rax") _, out("rcx") _, out("rdx") _, out("r15") _, out("rdi") _, out("rsi") _,
                );
            }
            call_parent([PAYLOAD, number, TAKEN.load(Ordering::Relaxed), 0, 0, 0]);
            number += 1;
        )*
        let _all = number;
    }};
}

/// In the order of `guest-tests/src/rogue.rs`, which says what is expected.
fn instructions() {
    exception::set_handler(skip);
    attempts! {
        "vmrun rax",
        "vmload rax",
        "vmsave rax",
        "stgi",
        "clgi",
        "skinit eax",
        "invlpga rax, ecx",
        "mov eax, 5" "vmmcall",
        "mov rax, cr0" "btr rax, 31" "mov cr0, rax",
        "mov rax, cr4" "bts rax, 13" "mov cr4, rax",
        "mov cr8, rax",
        "clts",
        "lmsw ax",
        "mov dr0, rax",
        "mov rax, dr7",
        "mov dr7, rax",
        "xor ecx, ecx" "rdpmc",
        "xor ecx, ecx" "xor edx, edx" "monitor",
        "xor ecx, ecx" "mwait",
        "invd",
        "wbinvd",
        "rsm",
        "mov edx, 0x80" "out dx, al",
        "mov edx, 0xcf9" "mov eax, 6" "out dx, al",
        "mov edx, 0x604" "mov eax, 0x2000" "out dx, ax",
        "mov edx, 0xb2" "out dx, al",
        "mov edx, 0x80" "lea rsi, [rip]" "outsb",
        "mov ecx, 0xc0000080" "xor edx, edx" "mov eax, 0xd01" "wrmsr",
        "mov ecx, 0xc0010117" "xor edx, edx" "wrmsr",
        "mov ecx, 0xc0010114" "rdmsr",
        "mov ecx, 0x830" "xor edx, edx" "mov eax, 0x4500" "wrmsr",
        "mov ecx, 0x10" "xor edx, edx" "wrmsr",
        "mov ecx, 0x1d9" "mov eax, 3" "xor edx, edx" "wrmsr",
        "xor ecx, ecx" "xor edx, edx" "mov eax, 0x207" "xsetbv",
        "xor ecx, ecx" "xor edx, edx" "mov eax, 6" "xsetbv",
        "pushfq" "or qword ptr [rsp], 0x100" "popfq" "nop",
        // What it may do, so that an attempt without an exception is known to be told apart.
        "nop",
        "cli" "sti" "cli",
    }
}

/// Loads page tables that lead nowhere, to themselves, or beyond its memory.
fn tables(kind: &str) {
    let root: u64 = match kind {
        // Its own code read as a table.
        "code" => 4 << 20,
        "outside" => 0x7f_0000_0000,
        "monitor" => 0xffff_ffff_f000,
        _ => 0,
    };
    // SAFETY: nothing is promised afterwards; the domain ends, and nothing else.
    unsafe { asm!("mov cr3, {0}", "mov rax, [{0}]", "hlt", in(reg) root, out("rax") _) };
}

/// Gates that are nowhere, a stack that is nowhere, interrupts off: an exception cannot be delivered, nor the one that this raises.
fn storm() {
    let gates: [u16; 5] = [0xfff, 0, 0, 0x7fff, 0];
    // SAFETY: as above.
    unsafe {
        asm!("cli", "lidt [{0}]", "mov rsp, 0x7fffffffe000", "2: ud2", "jmp 2b", in(reg) gates.as_ptr(), options(noreturn));
    }
}

/// Every register that a domain has holds a pattern when it exits.
fn pattern() {
    // SAFETY: nothing else runs from here on, so all registers are the loop's.
    unsafe {
        asm!(
            "mov rbx, 0x5ec2e75ec2e7a001",
            "vmovq xmm0, rbx",
            "vpbroadcastq ymm0, xmm0",
            "vmovdqa ymm1, ymm0", "vmovdqa ymm7, ymm0", "vmovdqa ymm15, ymm0",
            "fninit", "fldpi",
            "2:",
            "mov rbp, rbx", "mov r10, rbx", "mov r11, rbx", "mov r12, rbx",
            "mov r13, rbx", "mov r14, rbx", "mov r15, rbx",
            "mov rsi, rbx", "mov rdx, rbx", "mov rcx, rbx", "mov r8, rbx", "mov r9, rbx",
            "std", "stc",
            "mov edi, {payload}",
            "mov eax, {exit}",
            "vmmcall",
            "jmp 2b",
            payload = const PAYLOAD as u32,
            exit = const adyton_runtime::abi::call::Call::Exit as u32,
            options(noreturn),
        );
    }
}

/// Word 1 of each exit: how many there were; word 2: how often FS was not what it had been at the exit before.
fn selector() {
    let stack: u16;
    // SAFETY: reads a selector.
    unsafe { asm!("mov {:x}, ss", out(reg) stack, options(nomem, nostack)) };
    let (mut number, mut lost) = (0_u64, 0_u64);
    loop {
        number += 1;
        let given = if number % 2 == 0 { 0 } else { stack };
        let found: u16;
        // SAFETY: nothing here uses FS, and the selectors are the null one and one that is loaded already.
        unsafe { asm!("mov fs, {:x}", in(reg) given, options(nomem, nostack)) };
        call_parent([PAYLOAD, number, lost, 0, 0, 0]);
        // SAFETY: reads a selector.
        unsafe { asm!("mov {:x}, fs", out(reg) found, options(nomem, nostack)) };
        lost += u64::from(found != given);
    }
}
