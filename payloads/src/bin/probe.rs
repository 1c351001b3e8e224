//! Tries what a domain must not be able to do, and reports what happened.
//!
//! First argument: `port`, `msr`, `cr`, `read ADDRESS`, `write ADDRESS`, `cpuid`, `random`, `tsc`, `secret`. The
//! answer is the second word of an exit.

#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::{__cpuid, _rdtsc};
use core::sync::atomic::{AtomicU64, Ordering};

use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::exception::{self, Frame, Verdict};
use adyton_runtime::{Domain, call_parent, random};

adyton_runtime::entry!(main);

/// What a forbidden instruction seems to return when its exception was taken.
const REFUSED: u64 = 0xdead;

/// The vector of the exception that was taken last.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Continues behind the forbidden instruction, whose end the probe left in R15.
fn skip(frame: &mut Frame) -> Verdict {
    TAKEN.store(frame.vector, Ordering::Relaxed);
    frame.rip = frame.general[0];
    frame.general[14] = REFUSED;
    Verdict::Resume
}

fn main(domain: &mut Domain) -> u64 {
    exception::set_handler(skip);
    let kind = domain.words().next().unwrap_or("");
    let number = domain.number(1).unwrap_or(0);
    let answer = match kind {
        "port" => port(number),
        "msr" => msr(number),
        "write-msr" => write_msr(number),
        "read" => read(number),
        "write" => write(number),
        "cpuid" => cpuid(number),
        "random" => random()[0],
        "tsc" => time(),
        "secret" => return secret(),
        _ => return 1,
    };
    call_parent([PAYLOAD, answer, TAKEN.load(Ordering::Relaxed), 0, 0, 0]);
    0
}

macro_rules! attempt {
    ($($instruction:literal),* ; $($operand:tt)*) => {{
        let answer: u64;
        // SAFETY: the instruction is forbidden or harmless; if it faults, `skip` goes on behind it.
        unsafe {
            asm!(
                "lea r15, [rip + 2f]",
                $($instruction,)*
                "2:",
                $($operand)*,
                inlateout("rax") 0_u64 => answer,
                out("r15") _,
            );
        }
        answer
    }};
}

fn port(number: u64) -> u64 {
    attempt!("in al, dx"; in("dx") number as u16)
}

fn msr(number: u64) -> u64 {
    attempt!("rdmsr"; in("ecx") number as u32, out("edx") _)
}

fn write_msr(number: u64) -> u64 {
    attempt!("wrmsr"; in("ecx") number as u32, in("edx") 0)
}

fn read(address: u64) -> u64 {
    attempt!("mov rax, [rcx]"; in("rcx") address)
}

fn write(address: u64) -> u64 {
    attempt!("mov [rcx], rax"; in("rcx") address)
}

fn cpuid(leaf: u64) -> u64 {
    let result = __cpuid(leaf as u32);
    u64::from(result.ecx) << 32 | u64::from(result.eax)
}

/// 1 if the time stamp never went back over many exits.
fn time() -> u64 {
    // SAFETY: RDTSC has no effect.
    let now = || unsafe { _rdtsc() };
    let mut last = now();
    for _ in 0..100 {
        call_parent([PAYLOAD + 1, last, 0, 0, 0, 0]);
        let next = now();
        if next <= last {
            return 0;
        }
        last = next;
    }
    1
}

/// Holds a secret in memory and in registers while its owner looks around.
fn secret() -> u64 {
    let words = core::hint::black_box([0x5ec2_e75e_c2e7_0001_u64; 512]);
    loop {
        call_parent([PAYLOAD, words.as_ptr() as u64, 0, 0, 0, 0]);
        if core::hint::black_box(&words)
            .iter()
            .any(|&word| word != 0x5ec2_e75e_c2e7_0001)
        {
            return 1;
        }
    }
}
