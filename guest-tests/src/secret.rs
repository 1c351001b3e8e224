//! What is in memory when the machine ends: a domain's secret, and beside it something that is nobody's secret.
//!
//! The harness searches the machine's memory afterwards (`tests/endings.toml`). No program holds the secret but the
//! domain itself: it makes it out of two words, so that what is found is the domain's memory and nothing else.

use std::hint::black_box;
use std::process::Command;

use adyton::{Flags, Pages};
use anyhow::{Context, Result, bail, ensure};

use crate::fixture::{Running, agent_with};

/// What the domain makes its secret of. The secret is in no file in this form, nor in domain 0's memory.
const HALVES: [u64; 2] = [0x1f83_d9ab_fb41_bd6b, 0x5be0_cd19_137e_2179];

/// What domain 0 makes its own pattern of.
const OPEN_HALVES: [u64; 2] = [0x510e_527f_ade6_82d1, 0x9b05_688c_2b3e_6c1f];

/// Bytes of the secret.
const SIZE: u64 = 1 << 20;
/// Bytes of the open pattern: more than a second kernel writes over, wherever it lies.
const OPEN_SIZE: u64 = 32 << 20;

/// Agent: fills memory with the secret, and keeps another form of it in a register.
const FILL: u64 = 8;
/// Agent: adds words up.
const SUM: u64 = 7;

/// Runs `command` while the secret is in memory; it must end the machine.
///
/// # Errors
/// If the machine is still there when the command has ended.
pub fn while_in_memory(command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command")?;
    let open = open_pattern();
    let secret = plant()?;
    let _beside = open_beside(&secret)?;
    let status = Command::new(program).args(arguments).status()?;
    // The machine may take a moment to end.
    std::thread::sleep(std::time::Duration::from_secs(10));
    black_box(open);
    bail!("{command:?} ended ({status}), the machine did not");
}

/// A confidential domain whose heap is full of its secret.
fn plant() -> Result<Running> {
    let mut running = agent_with(Flags::CONFIDENTIAL, |program| program.heap = SIZE)?;
    let heap = running.loaded.plan.heap.base;
    let pairs = SIZE / 16;
    // The sum says that every pair is there and not what it is: each is a word and its complement.
    let [sum, _] = running.ask([SUM, heap, SIZE / 8, 0, 0, 0])?;
    ensure!(sum == 0, "the heap was not clean: {sum:#x}");
    let [first, second] = HALVES;
    running.ask([FILL, heap, pairs, first, second, 0])?;
    let [sum, _] = running.ask([SUM, heap, SIZE / 8, 0, 0, 0])?;
    ensure!(sum == pairs.wrapping_neg(), "the sum is {sum:#x}");
    // Last of all, so that nothing came between that used the register.
    running.ask([FILL, heap, pairs, first, second, 0])?;
    Ok(running)
}

/// Ordinary memory, full of a pattern of the same kind.
fn open_pattern() -> Vec<[u64; 2]> {
    let word = open_word();
    vec![[word, !word]; (OPEN_SIZE / 16) as usize]
}

/// The same pattern in the domain's claim, in pages that are nobody's but domain 0's.
fn open_beside(secret: &Running) -> Result<Pages> {
    let pages = secret.claim.pages(64 << 10)?;
    let word = open_word();
    for place in (0..pages.size()).step_by(16) {
        pages.store(place, word);
        pages.store(place + 8, !word);
    }
    Ok(pages)
}

/// The first word of each pair of the open pattern; the other is its complement.
pub fn open_word() -> u64 {
    let [first, second] = black_box(OPEN_HALVES);
    first ^ second
}

/// How far words are turned that are compared with the secret: who searches for it must not have it in memory itself.
pub const TURN: u32 = 9;

/// The first word of each pair of the secret, turned left; the other is its complement.
pub fn turned_secret() -> u64 {
    let [first, second] = black_box(HALVES);
    first.rotate_left(TURN) ^ second.rotate_left(TURN)
}
