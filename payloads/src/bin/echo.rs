//! Gives back the words that its owner replies, each raised by one: the shortest round trip.
//!
//! With the argument `vector` it counts in a YMM register all the while, and gives the count back as word 5.

#![no_std]
#![no_main]

use core::arch::asm;

use adyton_runtime::{Domain, call_parent};

adyton_runtime::entry!(main);

/// The first word of every exit: the payload's own agreement with its owner.
const ECHO: u64 = adyton_runtime::compose::convention::PAYLOAD;

fn main(domain: &mut Domain) -> u64 {
    match domain.words().next() {
        Some("vector") => echo_with_vector(),
        _ => echo(),
    }
}

fn echo() -> ! {
    let mut words = [ECHO, 0, 0, 0, 0, 0];
    loop {
        let [_, a, b, c, d, e] = call_parent(words);
        let next = |word: u64| word.wrapping_add(1);
        words = [ECHO, next(a), next(b), next(c), next(d), next(e)];
    }
}

/// Counts in every lane of a register and gives the count of an upper lane, which only a switch of all vector
/// state keeps.
fn echo_with_vector() -> ! {
    let step = [3_u64; 4];
    // SAFETY: the monitor gives every domain AVX where the CPU has it; nothing but this loop runs from here on, so all
    // registers are its own, and it touches no memory but the array.
    unsafe {
        asm!(
            "vmovdqu ymm6, [{step}]",
            "vpxor xmm7, xmm7, xmm7",
            "xor esi, esi",
            "xor r9d, r9d",
            "2:",
            "mov eax, {exit}",
            "mov edi, {echo}",
            "vmmcall",
            "inc rsi",
            "vpaddq ymm7, ymm7, ymm6",
            "vextracti128 xmm5, ymm7, 1",
            "vmovq r9, xmm5",
            "jmp 2b",
            step = in(reg) step.as_ptr(),
            exit = const adyton_runtime::abi::call::Call::Exit as u32,
            echo = const ECHO as u32,
            options(noreturn),
        );
    }
}
