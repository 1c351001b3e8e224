//! What keeping devices out costs: a carve, and a disk's work.

use std::time::Instant;

use adyton::Monitor;
use adyton::abi::region::Attributes;
use adyton_guest_tests::device::{assigned, load};
use adyton_guest_tests::fixture::{ROOM, pool};
use anyhow::{Context, Result, ensure};

use super::entering::{ROUNDS, fewest};
use super::exits::Exits;
use super::meter::report_instructions as report;

/// Transfers of one measurement, and how often it is repeated.
const TRANSFERS: u64 = 400;
const REPETITIONS: u32 = 5;

/// Taking a page from domain 0 and giving it back.
pub fn carve() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let pages = claim.pages(4096)?;
    let before = Monitor::ask()?.iommu_flushes;
    let mut failed = None;
    let ticks = fewest(|| {
        let region = claim.carve_for_nobody(pages.address(), pages.size(), Attributes::RIGHTS);
        if let Err(error) = region.and_then(|region| claim.revoke(region)) {
            failed = Some(error);
        }
    });
    if let Some(error) = failed {
        return Err(error).context("carve and revoke");
    }
    report("carve-and-revoke", ticks);
    let flushes = (Monitor::ask()?.iommu_flushes - before) / u64::from(ROUNDS);
    println!("ADYTON-BENCH flushes-per-carve-and-revoke {flushes} flushes");
    Ok(())
}

/// A device's interrupt that comes to its domain as a message in memory, and the round trip of an exit and an entry, which is the least that one
/// would cost that its domain's owner is told of first.
pub fn message() -> Result<()> {
    let function = assigned::edu_function()?;
    let mut driven = assigned::drive("driver", &function)?;
    let (mut ticks, mut failed) = (u64::MAX, None);
    for _ in 0..ROUNDS {
        let [message, took] = driven.ask([assigned::ask::INTERRUPT, 1, 0, 0])?;
        ensure!(message != 0, "no message came");
        ticks = ticks.min(took);
    }
    report("message-in-memory", ticks);
    let round_trip = fewest(|| {
        if let Err(error) = driven.ask([assigned::ask::PAGES, 0, 0, 0]) {
            failed = Some(error);
        }
    });
    if let Some(error) = failed {
        return Err(error);
    }
    report("round-trip-to-the-owner", round_trip);
    driven.end()
}

/// Reading a disk, without a copy; how often domain 0 left for the monitor meanwhile, if there is one.
pub fn disk() -> Result<()> {
    let disk = load::disk()?;
    let buffer = load::buffer()?;
    let mut fastest = u128::MAX;
    let exits = Exits::so_far();
    for _ in 0..REPETITIONS {
        let begin = Instant::now();
        for number in 0..TRANSFERS {
            load::read_into(&disk, buffer, number * load::CHUNK as u64)?;
        }
        fastest = fastest.min(begin.elapsed().as_nanos());
    }
    println!("ADYTON-BENCH disk-read-25-mib {fastest} ns");
    if let Some(exits) = exits {
        exits.report_per_thousand("transfers", TRANSFERS * u64::from(REPETITIONS));
    }
    Ok(())
}
