//! Random leaves on two cores: ENCLS in kernel mode on pages that the driver does not use, by a player that knows what it has built and spoils
//! operands now and then; ENCLU by a program and its enclave on the other core. Afterwards the EPCM must say what the player says, and everything
//! can be removed. The leaves by themselves are played with on the host (`sgx/tests/leaves/random`); this is the machine around them.
//!
//! `ADYTON_ROUNDS` plays more, `ADYTON_SEED` the same again.
#![allow(unsafe_code)]

mod inside;
mod kernel;

use std::sync::atomic::{AtomicBool, Ordering};

use adyton::Environment;
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::abuse::{Victim, epc_pages, put_physical};
use super::image::{Attributes, PAGE};
use super::{image, place, signature};
use crate::{kernel_mode, raw};
use kernel::{Game, LEAVES, PAGES, ROOMS};

pub(crate) const TESTS: &[crate::Test] = &[("enclave-random-leaves", random_leaves)];

/// Leaves of ENCLS that are played, unless `ADYTON_ROUNDS` says otherwise.
const ROUNDS: u64 = 20_000;
/// Of them in one visit to kernel mode, with interrupts off all the while.
const VISIT: u64 = 500;
/// Error codes that a player with one core and no threads inside its enclaves meets (Intel SDM volume 3D, table 38-4): all but those that
/// need a conflict, a thread inside, a token, or a state that no leaf of its leads to.
const CODES: [u64; 14] = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 18, 20, 21];

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A generator of numbers (SplitMix64).
pub(crate) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// MRENCLAVE of what the player creates, without pages or with the first, of which nothing but its place is measured (Intel SDM volume 3D,
/// section 37.4.1).
fn measurement(with_page: bool) -> [u8; 32] {
    let block = |name: &[u8; 8], fields: &[&[u8]]| {
        let mut block = [name, &fields.concat()[..]].concat();
        block.resize(64, 0);
        block
    };
    let size = kernel::SIZE.to_le_bytes();
    let mut hash = Sha256::new_with_prefix(block(b"ECREATE\0", &[&1_u32.to_le_bytes(), &size]));
    if with_page {
        let flags = kernel::FLAGS.to_le_bytes();
        hash.update(block(b"EADD\0\0\0\0", &[&[0; 8], &flags]));
    }
    hash.finalize().into()
}

/// The player's pages: the last of the EPC, which the driver gives out last.
fn game(seed: u64) -> Result<Box<Game>> {
    let all = epc_pages()?;
    let first = all.len().checked_sub(PAGES).context("an EPC")?;
    let mut windows = [0; PAGES];
    for (window, page) in windows.iter_mut().zip(&all[first..]) {
        *window = put_physical(*page, None)?;
    }
    let size = (kernel::memory::ROOMS + 2 * ROOMS as u64) * PAGE as u64;
    let memory = raw::anonymous(size)?;
    for at in (memory..memory + size).step_by(8) {
        raw::store(at, 0);
    }
    let mut debug = Attributes::PLAIN;
    debug.flags |= Attributes::DEBUG;
    let kinds = [false, true]
        .into_iter()
        .flat_map(|with_page| [Attributes::PLAIN, debug].map(|attributes| (with_page, attributes)));
    for ((with_page, attributes), page) in kinds.zip(kernel::memory::SIGNATURES..) {
        let signed = signature::sign(&measurement(with_page), attributes);
        for (word, number) in signed.chunks_exact(8).zip(0..) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            raw::store(memory + page * PAGE as u64 + 8 * number, word);
        }
    }
    Ok(Box::new(Game::new(Dice(seed), windows, memory)))
}

fn random_leaves() -> Result<()> {
    let rounds = setting("ADYTON_ROUNDS").unwrap_or(ROUNDS);
    let entropy = || adyton::Linux::without_memory().map(|place| place.entropy());
    let seed = setting("ADYTON_SEED").map_or_else(entropy, Ok)?;
    println!("ADYTON_SEED={seed:#x}");
    raw::stay_on(0)?;
    // The driver sets the registers of launch control of this core to the tests' signer.
    let witness = Victim::new()?;
    let data = witness.enclave.page(place::DATA);
    ensure!(witness.word(data)? == 1);
    let mut game = game(seed)?;
    let is_over = AtomicBool::new(false);
    let inside = std::thread::scope(|scope| -> Result<inside::Tally> {
        let thread = scope.spawn(|| inside::play(seed ^ 1, &is_over));
        let visits = (0..rounds.div_ceil(VISIT)).try_for_each(|_| {
            game.steps = VISIT;
            kernel_mode::run(kernel::visit, &raw mut *game as u64)
        });
        (game.steps, game.is_last) = (0, true);
        let last = kernel_mode::run(kernel::visit, &raw mut *game as u64);
        is_over.store(true, Ordering::SeqCst);
        let tally = thread.join().expect("no panic")?;
        visits.and(last).map(|()| tally)
    })?;
    for leaf in 0..LEAVES {
        println!(
            "ENCLS {leaf:#x}: {} of {}",
            game.done[leaf], game.tried[leaf]
        );
    }
    println!("codes {:?}, faults {:?}", game.codes, game.faults);
    println!("ENCLU {inside:?}");
    ensure!(
        game.wrong == 0,
        "the EPCM is not what was built: {:#x}",
        game.wrong
    );
    ensure!(witness.word(data)? == 1, "the driver's enclave has changed");
    image_loads()?;
    for leaf in 0..LEAVES {
        let least = game.tried[leaf] / 50;
        ensure!(game.done[leaf] > least, "leaf {leaf:#x} hardly succeeded");
    }
    let missing: Vec<_> = CODES
        .iter()
        .filter(|code| game.codes[**code as usize] == 0)
        .collect();
    ensure!(missing.is_empty(), "codes that never came: {missing:?}");
    ensure!(
        game.faults.iter().skip(1).all(|count| *count > 0),
        "faults that never came"
    );
    inside.is_complete()
}

/// The driver goes on.
fn image_loads() -> Result<()> {
    let victim = Victim::new()?;
    let last = image(Attributes::PLAIN).pages.len() as u64 - 1;
    let word = victim.word(victim.enclave.page(last))?;
    ensure!(word == place::DATA_PAGES, "a new enclave reads {word:#x}");
    Ok(())
}
