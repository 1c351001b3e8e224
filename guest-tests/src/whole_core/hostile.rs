//! Who may not have a core, and what domain 0 may not do to one that a domain has.

use adyton::abi::PAGE_SIZE;
use adyton::abi::error::Error as Reason;
use adyton::whole::Place;
use adyton::{READ_WRITE, RegionName};
use anyhow::{Context, Result, ensure};
use nix::sys::wait::WaitStatus;

use super::{Beating, CORE, Offline, build, exits_of_core};
use crate::fixture::{ROOM, audit, payload, pool, refused};
use crate::{machine, raw};

pub(super) const TESTS: &[crate::Test] = &[
    ("whole-core-in-use", in_use),
    ("whole-core-of-another", of_another),
    ("whole-core-attacked", attacked),
    ("whole-core-elsewhere", elsewhere),
];

/// A core that domain 0 uses is not given away, be it idle or busy, nor the first one, nor one that there is not.
fn in_use() -> Result<()> {
    raw::stay_on(0)?;
    let claim = pool()?.claim(ROOM)?;
    let loaded = build(&claim, &payload("beat")?)?;
    for _ in 0..20 {
        refused(loaded.domain.carve_core(CORE), Reason::CoreBusy)?;
    }
    let busy = raw::start_copy(|| {
        let _stayed = raw::stay_on(1);
        loop {
            std::hint::spin_loop();
        }
    })?;
    for _ in 0..20 {
        refused(loaded.domain.carve_core(CORE), Reason::CoreBusy)?;
    }
    nix::sys::signal::kill(busy, nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::wait::waitpid(busy, None)?;
    refused(loaded.domain.carve_core(0), Reason::CoreBusy)?;
    for number in [2, 1 << 32 | 1, u64::MAX] {
        refused(loaded.domain.carve_core(number), Reason::Rights)?;
    }
    // Linux goes on with it, offline and online.
    let offline = Offline::begin()?;
    offline.end()?;
    refused(loaded.domain.carve_core(CORE), Reason::CoreBusy)?;
    let offline = Offline::begin()?;
    let core = loaded.domain.carve_core(CORE).context("the control")?;
    claim.revoke(core)?;
    let core = loaded.domain.carve_core(CORE).context("again")?;
    claim.revoke(core)?;
    offline.end()
}

/// Nobody else gets a core that somebody has, nor starts anything there.
fn of_another() -> Result<()> {
    let offline = Offline::begin()?;
    let mut beating = Beating::started()?;
    let file = payload("beat")?;
    let other = build(&beating.claim, &file)?;
    refused(other.domain.carve_core(CORE), Reason::Overlap)?;
    let core = beating.core;
    let end = raw::in_copy(move || {
        let attempt = || -> Result<()> {
            let claim = pool()?.claim(ROOM)?;
            let mut loaded = build(&claim, &file)?;
            refused(loaded.domain.carve_core(CORE), Reason::Overlap)?;
            loaded.domain.seal()?;
            refused(loaded.vcpus[0].start(Place::on(core)), Reason::NotFound)?;
            Ok(())
        };
        match attempt() {
            Ok(()) => 0,
            Err(error) => {
                println!("another process: {error:#}");
                1
            }
        }
    })?;
    ensure!(matches!(end, WaitStatus::Exited(_, 0)), "{end:?}");
    beating.goes_on()?;
    // The control: who has it can.
    beating.loaded.vcpus[0].abandon()?;
    beating.start()?;
    beating.goes_on()?;
    drop(other);
    drop(beating);
    offline.end()
}

/// What domain 0 sends to a core that is not its own: nothing arrives, and the core cannot be taken back by starting it.
fn attacked() -> Result<()> {
    const COMMANDS: [u32; 7] = [0x4500, 0x4609, 0x4500, 0x4400, 0x40fd, 0x41ec, 0x4020];
    let offline = Offline::begin()?;
    let beating = Beating::started()?;
    let apic = machine::map_physical(machine::APIC, 4096)?;
    let before = exits_of_core()?;
    for _ in 0..20 {
        for command in COMMANDS {
            machine::send(apic, CORE as u32, command)?;
        }
        // To all but the sender.
        machine::send(apic, 0, 0xc_4400)?;
    }
    beating.goes_on()?;
    ensure!(
        offline.start().is_err(),
        "Linux has started a core that it has not"
    );
    beating.goes_on()?;
    let after = exits_of_core()?;
    ensure!(before == after, "it was disturbed: {before:?}, {after:?}");
    beating.claim.revoke(beating.core)?;
    offline.end().context("the control")?;
    audit()?;
    Ok(())
}

/// A vCPU is in one place, and on a core is one vCPU.
fn elsewhere() -> Result<()> {
    let offline = Offline::begin()?;
    let mut beating = Beating::started()?;
    let core = beating.core;
    let [first, second] = &mut beating.loaded.vcpus[..] else {
        anyhow::bail!("not two vCPUs");
    };
    refused(first.duplicate().enter(0), Reason::Busy)?;
    refused(first.duplicate().start(Place::on(core)), Reason::Busy)?;
    refused(second.start(Place::on(core)), Reason::Busy)?;
    let thread = |thread| Place {
        thread,
        ..Place::on(core)
    };
    for number in [1, 2, u64::MAX] {
        refused(second.start(thread(number)), Reason::NotFound)?;
    }
    refused(second.start(Place::on(RegionName(0))), Reason::NotFound)?;
    let page = beating.claim.pages(PAGE_SIZE)?;
    let memory = beating
        .claim
        .carve_for_nobody(page.address(), PAGE_SIZE, READ_WRITE)?;
    let [first, second] = &mut beating.loaded.vcpus[..] else {
        anyhow::bail!("not two vCPUs");
    };
    refused(second.start(Place::on(memory)), Reason::NotFound)?;
    first.abandon()?;
    second.start(Place::on(core)).context("the control")?;
    beating.goes_on()?;
    drop(beating);
    offline.end()
}
