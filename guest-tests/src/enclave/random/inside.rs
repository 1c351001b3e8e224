//! What a program and its enclave play on the other core: every leaf of ENCLU, with operands that are right, of another page, or nowhere.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

use super::Dice;
use crate::enclave::abuse::Victim;
use crate::enclave::code::{Command, enter};
use crate::enclave::image::{PAGE, secinfo};
use crate::enclave::place;
use crate::raw;

/// What came.
#[derive(Debug, Default)]
pub struct Tally {
    /// Leaves that ended, by number.
    done: [u64; 10],
    /// #GP and #PF.
    faults: [u64; 2],
}

impl Tally {
    /// Whether every leaf that can succeed here did, and every fault came.
    pub fn is_complete(&self) -> Result<()> {
        for leaf in LEAVES {
            ensure!(
                self.done[leaf as usize] > 0,
                "leaf {leaf} of ENCLU: {self:?}"
            );
        }
        ensure!(self.faults.iter().all(|count| *count > 0), "{self:?}");
        Ok(())
    }
}

/// EREPORT, EGETKEY, EACCEPT, EMODPE, EACCEPTCOPY. EEXIT leaves by every entry.
const LEAVES: [u64; 5] = [0, 1, 5, 6, 7];

/// Plays until it is over.
pub fn play(seed: u64, is_over: &AtomicBool) -> Result<Tally> {
    const GPRSGX: u64 = PAGE as u64 - 184;
    const ENCLU: u64 = 3;
    raw::stay_on(1)?;
    let victim = Victim::new()?;
    let tcs = victim.enclave.page(place::TCS);
    let registers = victim.enclave.page(place::FRAMES) + GPRSGX;
    let mut dice = Dice(seed);
    let mut tally = Tally::default();
    while !is_over.load(Ordering::SeqCst) {
        let leaf = LEAVES[dice.below(LEAVES.len() as u64) as usize];
        let mut operands = right(&victim, leaf);
        if dice.once_in(2) {
            let index = dice.below(3) as usize;
            operands[index] = wrong(&victim, operands[index], &mut dice);
        }
        let mut faults = 0;
        let ended =
            victim.ask_and_mend(Command::Leaf, [leaf, operands.as_ptr() as u64], |met| {
                match met.run.vector {
                    13 => tally.faults[0] += 1,
                    14 => tally.faults[1] += 1,
                    other => anyhow::bail!("vector {other} by leaf {leaf}"),
                }
                faults += 1;
                ensure!(faults < 3, "it faults for ever");
                enter(tcs, Command::StepOver, registers, ENCLU);
                Ok(true)
            })?;
        ensure!(ended.run.function == 4, "{ended:?}");
        if faults == 0 {
            tally.done[leaf as usize] += 1;
        }
        ensure!(
            enter(tcs, Command::Add, 20, 22) == 42,
            "it computes no more"
        );
    }
    Ok(tally)
}

/// Operands that do: pages of data, which hold what makes no structure invalid.
fn right(victim: &Victim, leaf: u64) -> [u64; 3] {
    const PENDING: u64 = 8;
    // The last frame of a thread that never enters.
    let zeros = victim.enclave.page(place::SECOND_TCS + 2);
    let [secinfo, output, source] =
        [10, 11, 12].map(|number| victim.enclave.page(place::DATA + number));
    let pending = if leaf == 6 { 0 } else { PENDING };
    if leaf >= 5 {
        let tcs = victim.enclave.page(place::TCS);
        for word in 0..8 {
            enter(tcs, Command::Store, secinfo + 8 * word, 0);
        }
        let flags = secinfo::REGULAR | secinfo::READ | secinfo::WRITE | pending;
        enter(tcs, Command::Store, secinfo, flags);
    }
    match leaf {
        0 => [zeros, zeros + 1024, output],
        1 => [zeros, output, 0],
        _ => [secinfo, output, source],
    }
}

fn wrong(victim: &Victim, operand: u64, dice: &mut Dice) -> u64 {
    // Any but frames, which are kept as they are: a TCS, the code, data, nothing.
    let page = victim
        .enclave
        .page([place::TCS, place::CODE, 31, place::DATA + dice.below(17)][dice.below(4) as usize]);
    match dice.below(6) {
        0 => page,
        1 => page + 8 * dice.below(512),
        2 => operand ^ 8,
        3 => operand | 1 << 63,
        4 => victim.enclave.base + victim.enclave.size,
        _ => 0x1000,
    }
}
