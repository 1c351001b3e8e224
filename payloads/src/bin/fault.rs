//! Does what its first argument names, and what ends a program: each kind of exception, halt, an access
//! outside its memory, shutdown, a panic. With `handled` it takes an exception itself and goes on.

#![no_std]
#![no_main]

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};

use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::exception::{self, Frame, Verdict};
use adyton_runtime::{Domain, call_parent};

adyton_runtime::entry!(main);

fn main(domain: &mut Domain) -> u64 {
    let kind = domain.words().next().unwrap_or("");
    match kind {
        "halt" => halt(),
        "outside" => read_at(0x7f_0000_0000),
        "unmapped" => read_at(0x10),
        "overflow" => overflow(black_box(1)),
        "panic" => panic!("as asked"),
        "handled" => return handled(),
        _ => return raise(kind),
    };
    call_parent([PAYLOAD, 0, 0, 0, 0, 0]);
    0
}

fn halt() -> u64 {
    // SAFETY: the domain runs at ring 0; halting exits to its owner and goes on afterwards.
    unsafe { asm!("hlt", options(nomem, nostack)) };
    0
}

fn read_at(address: u64) -> u64 {
    let word: u64;
    // SAFETY: an assembly load of one word; if nothing is there it exits or faults, as intended.
    unsafe { asm!("mov {word}, [{address}]", word = out(reg) word, address = in(reg) address) };
    word
}

fn overflow(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    if depth == 0 {
        0
    } else {
        overflow(room[0] + 1) + black_box(room[1])
    }
}

/// Raises one exception; returns 99 if it went on behind it.
fn raise(kind: &str) -> u64 {
    // SAFETY: each of these does nothing but raise an exception, or (shutdown) makes the next one fatal.
    unsafe {
        match kind {
            "divide" => {
                asm!("xor edx, edx", "xor ecx, ecx", "div ecx", out("eax") _, out("ecx") _, out("edx") _)
            }
            "breakpoint" => asm!("int3"),
            "undefined" => asm!("ud2"),
            "protection" => asm!("mov {0}, 0x8000000000000000", "mov {0}, [{0}]", out(reg) _),
            "shutdown" => {
                let empty = [0_u64; 2];
                asm!("lidt [{0}]", "ud2", in(reg) empty.as_ptr());
            }
            _ => return 98,
        }
    }
    99
}

static HANDLED: AtomicU64 = AtomicU64::new(0);

/// Steps over the two bytes of UD2.
fn step_over(frame: &mut Frame) -> Verdict {
    if frame.vector != 6 {
        return Verdict::Report;
    }
    HANDLED.fetch_add(1, Ordering::Relaxed);
    frame.rip += 2;
    Verdict::Resume
}

fn handled() -> u64 {
    exception::set_handler(step_over);
    for _ in 0..3 {
        // SAFETY: the handler steps over the instruction.
        unsafe { asm!("ud2", options(nostack)) };
    }
    HANDLED.load(Ordering::Relaxed)
}
