//! Does what its owner's replies say, one thing for each entry, and reports the result: how the guest tests see
//! the world from inside a domain.
//!
//! | word 0 of the reply | does | words 1 and 2 of the next exit |
//! | --- | --- | --- |
//! | 1 `address` | loads a word | the word |
//! | 2 `address word` | stores it | |
//! | 3 `offer place size attributes` | accepts the offer | status |
//! | 4 | looks for offers | name of the first, how many |
//! | 5 `number a b c d` | makes any call, with a random token | status, result 0 |
//! | 6 `core` | reads its time stamp | time |
//! | 7 `address count` | adds up `count` words | sum |
//! | 9 `flag address` | loads the word again and again until the flag, looked at before, was set | the word |
//! | 8 `address count a b` | stores `count` times the word `a ^ b` and its complement; a register keeps its halves swapped | |

#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::_rdtsc;

use adyton_runtime::abi::call::Call;
use adyton_runtime::abi::region::RegionName;
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::environment::{Environment, Request};
use adyton_runtime::compose::listing;
use adyton_runtime::{Domain, Inside, call_parent};

adyton_runtime::entry!(main);

fn main(_domain: &mut Domain) -> u64 {
    let mut answer = [0, 0];
    loop {
        let [operation, rest @ ..] = call_parent([PAYLOAD, answer[0], answer[1], 0, 0, 0]);
        answer = perform(operation, rest);
        if operation == 0 {
            return 0;
        }
    }
}

fn perform(operation: u64, words: [u64; 5]) -> [u64; 2] {
    let [a, b, c, d, e] = words;
    match operation {
        1 => [load(a), 0],
        2 => [store(a, b), 0],
        3 => accept(words),
        4 => offers(),
        5 => call(a, [b, c, d, e]),
        // SAFETY: RDTSC has no effect.
        6 => [unsafe { _rdtsc() }, 0],
        7 => [
            (0..b).fold(0_u64, |sum, index| sum.wrapping_add(load(a + 8 * index))),
            0,
        ],
        8 => [fill(a, b, c ^ d), 0],
        9 => [watch(a, b), 0],
        _ => [u64::MAX, 0],
    }
}

/// A load that began after the flag was set: the word that it found.
fn watch(flag: u64, address: u64) -> u64 {
    loop {
        let is_set = load(flag) != 0;
        let word = load(address);
        if is_set {
            return word;
        }
    }
}

/// Fills memory with a secret, and leaves another form of it in a register that no code here uses.
fn fill(address: u64, count: u64, secret: u64) -> u64 {
    for place in (0..count).map(|index| address + 16 * index) {
        store(place, secret);
        store(place + 8, !secret);
    }
    let swapped = secret.rotate_left(32);
    // SAFETY: the register is free to use; that nothing uses it until the next exit is checked by a test.
    unsafe {
        asm!("movq xmm15, {0}", "punpcklqdq xmm15, xmm15", in(reg) swapped, out("xmm15") _, options(nomem, nostack));
    }
    0
}

/// An assembly load: the address may be anything, and a fault is an answer too.
fn load(address: u64) -> u64 {
    let word: u64;
    // SAFETY: loads change nothing; a fault is reported to the owner.
    unsafe { asm!("mov {0}, [{1}]", out(reg) word, in(reg) address, options(nostack)) };
    word
}

fn store(address: u64, word: u64) -> u64 {
    // SAFETY: the owner's tests store only to windows, and to what must fault.
    unsafe { asm!("mov [{0}], {1}", in(reg) address, in(reg) word, options(nostack)) };
    0
}

fn accept([offer, place, size, attributes, _]: [u64; 5]) -> [u64; 2] {
    let arguments = [0, 0, 0, RegionName(offer).0, place, size, attributes, 0];
    [execute(Call::Accept, arguments)[0], 0]
}

fn offers() -> [u64; 2] {
    let found = listing::offers(&Inside).unwrap_or_default();
    [
        found.first().map_or(0, |offer| offer.region.0),
        found.len() as u64,
    ]
}

fn call(number: u64, [a, b, c, d]: [u64; 4]) -> [u64; 2] {
    Call::from_number(number).map_or([u64::MAX, 0], |call| {
        execute(call, [a, b, c, d, 0, 0, 0, 0])
    })
}

fn execute(call: Call, arguments: [u64; 8]) -> [u64; 2] {
    let response = Inside.call(&Request {
        call,
        arguments,
        token: Inside.entropy(),
    });
    [response.status, response.results[0]]
}
