//! What runs on a whole core: it goes on alone, comes to an exit, and is stopped.

use std::time::Duration;

use adyton::abi::PAGE_SIZE;
use adyton::abi::error::Error as Reason;
use adyton::convention::{OFFER_WINDOW, PAYLOAD};
use adyton::whole::Place;
use adyton::{Exit, Placement, READ_WRITE};
use anyhow::{Result, ensure};

use super::{
    Beating, CALL, COMMAND, CORE, COUNT, CPUID, FAIL, HALT, Offline, REACH, VERSION, WHILE, build,
    exits_of_core, program, wait,
};
use crate::fixture::{ROOM, Selfcheck, audit, payload, pool, refused, selfcheck};

pub(super) const TESTS: &[crate::Test] = &[
    ("whole-core-runs-alone", runs_alone),
    ("whole-core-exits", exits),
    ("whole-core-stopped", stopped),
    ("whole-core-not-entered", not_entered),
    ("whole-core-revoked", revoked),
    ("whole-core-destroyed", destroyed),
    ("whole-core-loses-memory", loses_memory),
];

/// No exit but those that it asks for itself.
fn runs_alone() -> Result<()> {
    let offline = Offline::begin()?;
    let beating = Beating::started()?;
    let before = exits_of_core()?;
    let counted = beating.word(COUNT);
    std::thread::sleep(2 * WHILE);
    beating.goes_on()?;
    let after = exits_of_core()?;
    ensure!(before == after, "it exited: {before:?}, then {after:?}");
    println!("counted {} without an exit", beating.word(COUNT) - counted);
    beating.has_done(CPUID)?;
    let control = exits_of_core()?;
    ensure!(
        control[0] == before[0] + 1 && control[1..] == before[1..],
        "the control, one CPUID: {before:?}, then {control:?}"
    );
    beating.has_done(VERSION)?;
    beating.goes_on()?;
    drop(beating);
    offline.end()
}

/// Each exit stops it and says why; a start with the next number goes on, with any other does not.
fn exits() -> Result<()> {
    let offline = Offline::begin()?;
    let mut beating = Beating::started()?;
    beating.tell(CALL, 0);
    let exit = beating.exit()?;
    let Exit::Call([PAYLOAD, count, ..]) = exit else {
        anyhow::bail!("a call: {exit:?}");
    };
    ensure!(count == beating.word(COUNT), "{count} is not the count");
    beating.stands_still()?;
    let mut late = beating.loaded.vcpus[0].duplicate();
    late.resume_after(0);
    refused(late.start(Place::on(beating.core)), Reason::Stale)?;
    beating.start()?;
    beating.goes_on()?;
    beating.tell(HALT, 0);
    let exit = beating.exit()?;
    ensure!(exit == Exit::Halt, "a halt: {exit:?}");
    beating.start()?;
    beating.goes_on()?;
    beating.tell(REACH, beating.loaded.plan.windows[OFFER_WINDOW].base);
    let exit = beating.exit()?;
    ensure!(matches!(exit, Exit::Memory { .. }), "outside: {exit:?}");
    // It stands at the access, and comes to the same again.
    beating.start()?;
    let exit = beating.exit()?;
    ensure!(matches!(exit, Exit::Memory { .. }), "again: {exit:?}");
    drop(beating);
    let mut beating = Beating::started()?;
    beating.tell(FAIL, 0);
    let exit = beating.exit()?;
    ensure!(exit == Exit::Shutdown, "the end: {exit:?}");
    refused(beating.start(), Reason::WrongState)?;
    drop(beating);
    offline.end()
}

/// Its owner stops it, and has it go on: there, or where it is entered.
fn stopped() -> Result<()> {
    let offline = Offline::begin()?;
    let mut beating = Beating::started()?;
    beating.loaded.vcpus[0].abandon()?;
    beating.stands_still()?;
    beating.start()?;
    beating.goes_on()?;
    // Before it has begun, and at any moment after.
    for round in 0..40 {
        beating.loaded.vcpus[0].abandon()?;
        beating.start()?;
        std::thread::sleep(Duration::from_micros(round * 50));
    }
    beating.goes_on()?;
    beating.loaded.vcpus[0].abandon()?;
    beating.tell(CALL, 0);
    let exit = beating.loaded.vcpus[0].enter(0)?;
    ensure!(matches!(exit, Exit::Call([PAYLOAD, ..])), "{exit:?}");
    beating.start()?;
    beating.goes_on()?;
    drop(beating);
    offline.end()
}

/// What runs on a whole core needs no right to be entered there, and does not lose its core with that.
fn not_entered() -> Result<()> {
    let offline = Offline::begin()?;
    let claim = pool()?.claim(ROOM)?;
    let file = payload("beat")?;
    let mut program = program(&file)?;
    program.cores = Some((0, 1));
    let loaded = program.build(&claim)?;
    let right = loaded.domain.cores(CORE, 1)?;
    let core = loaded.domain.carve_core(CORE)?;
    loaded.domain.seal()?;
    let mut beating = Beating {
        loaded,
        core,
        claim,
    };
    beating.start()?;
    beating.goes_on()?;
    beating.claim.revoke(right)?;
    beating.goes_on()?;
    beating.loaded.vcpus[0].abandon()?;
    beating.start()?;
    beating.goes_on()?;
    drop(beating);
    offline.end()
}

/// A revocation ends it, though it never exits by itself, and domain 0 has its core again.
fn revoked() -> Result<()> {
    let offline = Offline::begin()?;
    let mut beating = Beating::started()?;
    beating.claim.revoke(beating.core)?;
    beating.stands_still()?;
    let exit = beating.exit()?;
    ensure!(exit == Exit::Abandoned, "{exit:?}");
    refused(beating.start(), Reason::NotFound)?;
    offline.end()?;
    beating.tell(CALL, 0);
    let exit = beating.loaded.vcpus[0].enter(0)?;
    ensure!(matches!(exit, Exit::Call([PAYLOAD, ..])), "{exit:?}");
    audit()?;
    Ok(())
}

fn destroyed() -> Result<()> {
    for _ in 0..5 {
        let offline = Offline::begin()?;
        let beating = Beating::started()?;
        beating.loaded.domain.destroy()?;
        offline.end()?;
    }
    audit()?;
    Ok(())
}

/// Memory is taken from a domain that runs on a whole core: the core answers, and cannot reach it any more. The control is a monitor that
/// forgets flushes.
fn loses_memory() -> Result<()> {
    let offline = Offline::begin()?;
    for _ in 0..5 {
        ensure!(!reaches_what_it_lost()?, "a stale translation was used");
    }
    selfcheck(Selfcheck::ForgetFlushes, 1)?;
    let control = reaches_what_it_lost();
    selfcheck(Selfcheck::ForgetFlushes, 0)?;
    ensure!(control?, "the control never succeeded");
    offline.end()
}

fn reaches_what_it_lost() -> Result<bool> {
    let claim = pool()?.claim(ROOM)?;
    let loaded = build(&claim, &payload("beat")?)?;
    let core = loaded.domain.carve_core(CORE)?;
    let pages = claim.pages(PAGE_SIZE)?;
    let place = loaded.plan.windows[OFFER_WINDOW].base;
    let region = loaded.domain.carve(Placement {
        from: pages.address(),
        size: PAGE_SIZE,
        place,
        attributes: READ_WRITE,
    })?;
    loaded.domain.seal()?;
    let mut beating = Beating {
        loaded,
        core,
        claim,
    };
    beating.start()?;
    beating.tell(REACH, place);
    wait("the domain to reach it", || beating.word(COMMAND) == 0)?;
    beating.goes_on()?;
    beating.claim.revoke(region)?;
    beating.goes_on()?;
    beating.tell(REACH, place);
    wait("the domain to try", || beating.word(COMMAND) == 0)?;
    std::thread::sleep(WHILE / 5);
    match beating.loaded.vcpus[0].ended() {
        None => beating.goes_on().map(|()| true),
        Some(Exit::Memory { .. }) => Ok(false),
        other => anyhow::bail!("{other:?}"),
    }
}
