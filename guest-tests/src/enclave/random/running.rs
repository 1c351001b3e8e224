//! An enclave that runs, as a player in kernel mode sees it: its SECS, and pages that its thread does not need.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, ensure};

use super::gates::{self, Gates};
use super::tally::Ended;
use crate::{kernel_mode, raw};
use adyton_player::Dice;

/// Whether a thread is inside for long, on the other core.
pub static IS_INSIDE: AtomicBool = AtomicBool::new(false);
/// How often a player has met it.
pub static MET: AtomicU64 = AtomicU64::new(0);

/// Pages that it does not need.
pub const SPARES: usize = 4;

/// Where it is seen.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    pub secs: u64,
    /// 0 once one is gone.
    pub spares: [u64; SPARES],
    /// Whether the player is on another core than the thread.
    pub is_elsewhere: bool,
}

impl Running {
    pub fn is_inside(&self) -> bool {
        self.is_elsewhere && IS_INSIDE.load(Ordering::Relaxed)
    }

    /// A leaf, and the page for it: EREMOVE and ERDINFO of a page, ETRACK and ETRACKC.
    pub fn choose(&self, dice: &mut Dice) -> (u64, u64) {
        MET.fetch_add(1, Ordering::Relaxed);
        let first = dice.below(SPARES as u64) as usize;
        let all = (first..first + SPARES).map(|number| self.spares[number % SPARES]);
        let spare = all.max_by_key(|page| *page != 0).unwrap_or(0);
        match dice.below(4) {
            0 if spare != 0 => (0x03, spare),
            1 if spare != 0 => (0x10, spare),
            2 => (0x11, self.secs),
            _ => (0x0c, self.secs),
        }
    }

    /// EREMOVE has found no thread inside: the page is gone.
    pub fn lose(&mut self, page: u64) {
        for spare in &mut self.spares {
            if *spare == page {
                *spare = 0;
            }
        }
    }
}

/// What ERDINFO says of a page.
struct Look {
    page: u64,
    /// A page for the answer.
    memory: u64,
    is_done: bool,
    gates: Gates,
}

extern "C" fn look(argument: u64) {
    let it: &mut Look = raw::borrowed(argument);
    gates::with(&mut it.gates, || {
        let ended = gates::encls(0x10, [it.memory, it.page, 0]);
        it.is_done = ended == Ended::Success;
    });
}

/// Where the SECS of an enclave's page is: RDINFO.ENCLAVECONTEXT.
pub fn secs(page: u64, memory: u64) -> Result<u64> {
    let mut it = Box::new(Look {
        page,
        memory,
        is_done: false,
        gates: [[0; 2]; 256],
    });
    kernel_mode::run(look, &raw mut *it as u64)?;
    ensure!(it.is_done, "ERDINFO of a page that is there");
    Ok(raw::load(memory + 16))
}
