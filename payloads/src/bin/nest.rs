//! Builds a child out of its own pool, which builds a child, and so on, and carries words between the innermost and
//! its own owner.
//!
//! Arguments: how many levels are still to come, what each does (`pass` words on, or `bench`: time round
//! trips to its child and report the fewest ticks, or `limit`: the last but one bounds its child's running time
//! and reports 1 if that was what ended it), `confidential` or `sandbox` for the child. Window 1 holds this
//! program's own ELF file, its length in front. Without levels to come it echoes, or computes for a while first
//! where the mode is `spin`, or calls once and computes for ever where it is `forever`.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::arch::x86_64::_rdtsc;

use adyton_runtime::abi::policy::Flags;
use adyton_runtime::compose::claim::Failure;
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::image::Image;
use adyton_runtime::compose::program::{Loaded, Program};
use adyton_runtime::compose::vcpu::Exit;
use adyton_runtime::{Domain, Inside, call_parent, println};

adyton_runtime::entry!(main);

/// Window with the ELF file.
const FILE: usize = 1;
/// The child cannot be built, or ended otherwise than by a call: word 1 says more.
const BROKEN: u64 = PAYLOAD + 1;

fn main(domain: &mut Domain) -> u64 {
    match domain.number(0) {
        None | Some(0) => {
            if matches!(domain.words().nth(1), Some("spin" | "limit")) {
                compute();
            }
            if domain.words().nth(1) == Some("forever") {
                call_parent([PAYLOAD, 0, 0, 0, 0, 0]);
                loop {
                    compute();
                }
            }
            echo()
        }
        Some(levels) => match lead(domain, levels) {
            Ok(status) => status,
            Err(failure) => {
                println!("level {levels}: {failure}");
                call_parent([BROKEN, levels, 0, 0, 0, 0]);
                1
            }
        },
    }
}

/// About 200 million steps without an exit.
fn compute() {
    let mut state = 1_u64;
    for _ in 0..200_000_000 {
        state = core::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005) + 1);
    }
}

fn echo() -> ! {
    let mut words = [PAYLOAD, 0, 0, 0, 0, 0];
    loop {
        let [_, a, b, c, d, e] = call_parent(words);
        words = [PAYLOAD, a.wrapping_add(1), b, c, d, e];
    }
}

fn read_file(domain: &Domain) -> Vec<u8> {
    let Some(window) = domain.window(FILE) else {
        return Vec::new();
    };
    // The owner may change the length at any time: it is read once, and bounded.
    let length = window.load(0).min(window.size() - 8);
    let mut file = vec![0; length as usize];
    window.read(8, &mut file);
    file
}

fn lead(domain: &mut Domain, levels: u64) -> Result<u64, Failure> {
    let file = read_file(domain);
    let mode = domain.words().nth(1).unwrap_or("pass");
    let kind = domain.words().nth(2).unwrap_or("confidential");
    let claim = domain.claim_pool()?;
    let below = (levels - 1).to_string();
    let policy = if kind == "sandbox" {
        Flags::NONE
    } else {
        Flags::CONFIDENTIAL
    };
    let mut program = Program::new(Image::parse(&file)?, policy | Flags::MAY_COMPOSE);
    program.arguments = vec![&below, mode, kind];
    program.windows[FILE] = (file.len() as u64 + 8).next_multiple_of(4096);
    program.read_only[FILE] = true;
    if levels > 1 {
        program.heap = 1 << 20;
        // A share of what is left; the rest is this child's own.
        program.pool = domain.pool().size * (levels - 1) / levels / 4096 * 4096;
    }
    let child = program.build(&claim)?;
    if let Some(window) = child.window(FILE) {
        window.store(0, file.len() as u64);
        window.write(8, &file);
    }
    child.domain.seal()?;
    if mode == "limit" && levels == 1 {
        return bound(child);
    }
    carry(child, mode == "bench", levels)
}

/// Running time in ticks: some interrupts of domain 0 long, and far less than the child computes.
const LIMIT: u64 = 50_000_000;

/// The tightest limit is this domain's own, and this domain is told.
fn bound(mut child: Loaded<Inside>) -> Result<u64, Failure> {
    let [vcpu, ..] = child.vcpus.as_mut_slice() else {
        return Ok(2);
    };
    let exit = vcpu.enter(LIMIT)?;
    call_parent([PAYLOAD, u64::from(exit == Exit::Budget), 0, 0, 0, 0]);
    Ok(0)
}

/// The first exits of the child tell how it is; then words go up and down.
fn carry(mut child: Loaded<Inside>, bench: bool, levels: u64) -> Result<u64, Failure> {
    let [vcpu, ..] = child.vcpus.as_mut_slice() else {
        return Ok(2);
    };
    let mut exit = vcpu.enter(0)?;
    if bench && levels == 1 {
        return Ok(measure(&mut child));
    }
    loop {
        let words = match exit {
            Exit::Call(words) => words,
            other => {
                println!("level {levels}: the child ended: {other:?}");
                [BROKEN, levels, 0, 0, 0, 0]
            }
        };
        let reply = call_parent(words);
        exit = vcpu.answer(reply, 0)?;
    }
}

/// Fewest ticks of a round trip to the child and back.
fn measure(child: &mut Loaded<Inside>) -> u64 {
    let [vcpu, ..] = child.vcpus.as_mut_slice() else {
        return 0;
    };
    let mut fewest = u64::MAX;
    for _ in 0..200 {
        // SAFETY: RDTSC has no effect.
        let before = unsafe { _rdtsc() };
        let response = vcpu.enter_raw(0);
        // SAFETY: as above.
        let after = unsafe { _rdtsc() };
        if response.status == 0 {
            fewest = fewest.min(after - before);
        }
    }
    call_parent([PAYLOAD, fewest, 0, 0, 0, 0]);
    0
}
