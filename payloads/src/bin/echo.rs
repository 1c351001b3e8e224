//! Gives back the words that its owner replies, each raised by one: the shortest round trip.
//!
//! With the argument `vector` it keeps a number in a YMM register all the while, and gives it
//! back as word 5; with `state` it checks that the register survived.

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

fn echo_with_vector() -> ! {
    let mut expected = [0x5a5a_0001_u64, 2, 3, 4];
    let mut words = [ECHO, 0, 0, 0, 0, 0];
    loop {
        let mut found = [0_u64; 4];
        // SAFETY: both arrays are 32 bytes long; the monitor gives every domain AVX where the CPU has it,
        // and the register is declared as changed.
        unsafe {
            asm!(
                "vmovdqu ymm7, [{expected}]",
                "vmmcall",
                "vmovdqu [{found}], ymm7",
                expected = in(reg) expected.as_ptr(),
                found = in(reg) found.as_mut_ptr(),
                inout("rax") adyton_runtime::abi::call::Call::Exit as u64 => _,
                inout("rdi") words[0] => _,
                inout("rsi") words[1],
                inout("rdx") words[2] => _,
                inout("rcx") words[3] => _,
                inout("r8") words[4] => _,
                inout("r9") words[5] => _,
                out("r10") _,
                out("r11") _,
                in("r12") 0_u64,
                out("ymm7") _,
                options(nostack),
            );
        }
        // Word by word: a call to compare bytes would cost more than all the rest.
        let differences = (0..4).fold(0, |bits, index| bits | (found[index] ^ expected[index]));
        let intact = u64::from(differences == 0);
        expected = expected.map(|word| word.wrapping_mul(3));
        words = [ECHO, words[1].wrapping_add(1), 0, 0, 0, intact];
    }
}
