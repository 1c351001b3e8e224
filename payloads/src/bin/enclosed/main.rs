//! A program for an enclave and for outside of it, the same bytes at the same addresses: what `adyton-bench programs` compares.
//!
//! It has no runtime but its [border](border), and works in memory that its host gives it.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "some of it is the host's")]
mod agreement;
mod border;
mod freestanding;
mod working;

use agreement::{Block, work};
use border::{Answers, Host};

/// Continues in Rust.
///
/// # Safety
/// Called by the border, with what the host has given.
unsafe extern "C" fn main(block: *mut Block, answers: Option<Answers>) {
    // SAFETY: by this function's own contract.
    let host = unsafe { Host::new(block, answers) };
    let memory = host.memory();
    let (work, operands) = host.wants();
    let [first, second, _] = operands;
    host.end(match work {
        work::MULTIPLY => working::multiply(memory, first),
        work::STREAM => working::stream(memory, first, second),
        work::SHUFFLE => working::shuffle(memory, first),
        work::CHASE => working::chase(memory, first),
        work::SERVE => working::serve(host, memory, operands),
        work::ASK => working::ask(host, first),
        work::INTERRUPTIONS => working::interruptions(host, memory, first),
        _ => 0,
    });
}
