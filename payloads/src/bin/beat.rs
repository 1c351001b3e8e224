//! Counts in the memory that it shares with its owner, and looks there for what else to do: what runs on a core of its own, where
//! nobody enters it.
//!
//! | word of window 1 | what |
//! | --- | --- |
//! | 0 | how far it has counted |
//! | 1 | what to do once: 1 call the owner with the count, 2 halt, 3 load from the address in word 3, 4 fail for good, 5 ask the processor what it is, 6 ask the monitor for its version |
//! | 2 | how often it has done 5 or 6 |

#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::__cpuid;

use adyton_runtime::abi::call::Information;
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::{Domain, call_parent};

adyton_runtime::entry!(main);

const WINDOW: usize = 1;
const COUNT: u64 = 0;
const COMMAND: u64 = 8;
const DONE: u64 = 16;
const ADDRESS: u64 = 24;

fn main(domain: &mut Domain) -> u64 {
    let Some(window) = domain.window(WINDOW) else {
        return 1;
    };
    let mut done = 0;
    set_fs(0);
    for count in 1.. {
        window.store(COUNT, count);
        assert!(fs() == 0, "FS has changed");
        if window.load(COMMAND) == 0 {
            continue;
        }
        let command = take(window.address() + COMMAND);
        match command {
            1 => drop(call_parent([PAYLOAD, count, 0, 0, 0, 0])),
            2 => halt(),
            3 => reach(window.load(ADDRESS)),
            4 => fail(),
            5 => drop(core::hint::black_box(__cpuid(0))),
            6 => drop(domain.information(Information::Version)),
            _ => {}
        }
        if command >= 5 {
            done += 1;
            window.store(DONE, done);
        }
    }
    0
}

/// The command, which is one vCPU's alone, though several look for it.
fn take(place: u64) -> u64 {
    let command: u64;
    // SAFETY: the place is the window's, to which no reference points.
    unsafe {
        asm!("xchg [{0}], {1}", in(reg) place, inout(reg) 0_u64 => command, options(nostack))
    };
    command
}

/// Nothing here uses FS. It is one of the registers that neither an entry nor an exit moves.
fn set_fs(selector: u16) {
    // SAFETY: nothing is addressed by it.
    unsafe { asm!("mov fs, {0:x}", in(reg) selector, options(nomem, nostack)) };
}

fn fs() -> u16 {
    let selector: u16;
    // SAFETY: has no effect.
    unsafe { asm!("mov {0:x}, fs", out(reg) selector, options(nomem, nostack)) };
    selector
}

fn halt() {
    // SAFETY: it exits to the owner, and goes on behind it.
    unsafe { asm!("hlt", options(nomem, nostack)) };
}

fn reach(address: u64) {
    // SAFETY: a load changes nothing; where nothing is it exits or faults, as intended.
    unsafe { asm!("mov {0}, [{1}]", out(reg) _, in(reg) address, options(nostack)) };
}

/// An exception without a table to handle it, and so on.
fn fail() {
    let empty = [0_u64; 2];
    // SAFETY: nothing runs here any more.
    unsafe { asm!("lidt [{0}]", "ud2", in(reg) empty.as_ptr()) };
}
