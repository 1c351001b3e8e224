//! The interrupt that tells a kernel of an exit.

use std::fs;

use adyton::Refusal;
use adyton::abi::error::Error as Reason;
use adyton::whole::Place;
use anyhow::{Context, Result, ensure};

use super::{Beating, CALL, Offline, wait};
use crate::fixture::refused;
use crate::{kernel_mode, raw};

pub(super) const TESTS: &[crate::Test] = &[("whole-core-notice", notice)];

/// A start in kernel mode.
struct Start<'a> {
    beating: &'a mut Beating,
    at: Place,
    outcome: Option<Result<(), Refusal>>,
}

extern "C" fn start(argument: u64) {
    let it: &mut Start<'_> = raw::borrowed(argument);
    it.outcome = Some(it.beating.loaded.vcpus[0].start(it.at));
}

/// Rescheduling interrupts of core 0: with one core there are none.
fn interrupts() -> Result<u64> {
    let table = fs::read_to_string("/proc/interrupts")?;
    let line = table.lines().find(|line| line.trim().starts_with("RES:"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(word.context("no RES line")?.parse()?)
}

/// An exit interrupts who started it, if a kernel asked for that; a program cannot.
fn notice() -> Result<()> {
    const RESCHEDULE: u8 = 0xfd;
    let offline = Offline::begin()?;
    let mut beating = Beating::new()?;
    let at = |notice| Place {
        notice,
        ..Place::on(beating.core)
    };
    let (wrong, right) = (at(31), at(RESCHEDULE));
    refused(beating.loaded.vcpus[0].start(wrong), Reason::Invalid)?;
    refused(beating.loaded.vcpus[0].start(right), Reason::Policy)?;
    let mut it = Start {
        beating: &mut beating,
        at: right,
        outcome: None,
    };
    kernel_mode::run(start, &raw mut it as u64)?;
    it.outcome.context("it was not called")??;
    let before = interrupts()?;
    beating.goes_on()?;
    let running = interrupts()?;
    beating.tell(CALL, 0);
    beating.exit()?;
    wait("the interrupt", || {
        interrupts().is_ok_and(|now| now > running)
    })?;
    let after = interrupts()?;
    ensure!(
        (before, running + 1) == (running, after),
        "interrupts: {before}, {running} while it ran, then {after}"
    );
    // Asked for once.
    beating.start()?;
    beating.tell(CALL, 0);
    beating.exit()?;
    ensure!(interrupts()? == after, "an interrupt that nobody asked for");
    drop(beating);
    offline.end()
}
