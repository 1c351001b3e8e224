//! More than one: domains inside a domain that has a core, and a core with two threads.

use adyton::abi::PAGE_SIZE;
use adyton::abi::error::Error as Reason;
use adyton::convention::PAYLOAD;
use adyton::whole::Place;
use adyton::{Exit, Flags, Image, Program, RegionName};
use anyhow::{Context, Result, ensure};

use super::{Beating, CALL, CORE, LIMIT, Offline, WHILE, build, exit_of, set_online, wait};
use crate::fixture::{ROOM, Running, audit, payload, pool, refused};
use crate::raw;

pub(super) const TESTS: &[crate::Test] = &[
    ("whole-core-nested", nested),
    ("whole-core-threads", threads),
];

/// A domain on a whole core has children there: they run, and are taken out of the way with it.
fn nested() -> Result<()> {
    let offline = Offline::begin()?;
    let (mut running, core) = nest("pass")?;
    let at = Place::on(core);
    let mut round_trip = |words: [u64; 6]| -> Result<Exit> {
        let vcpu = running.vcpu();
        vcpu.reply(words);
        vcpu.start(at)?;
        exit_of(vcpu)
    };
    let first = round_trip([0; 6])?;
    ensure!(matches!(first, Exit::Call([PAYLOAD, ..])), "{first:?}");
    for round in 0..20 {
        let words = round_trip([0, round, 1, 2, 3, 4])?;
        ensure!(
            words == Exit::Call([PAYLOAD, round + 1, 1, 2, 3, 4]),
            "{words:?}"
        );
    }
    drop(running);
    let (mut running, core) = nest("forever")?;
    let at = Place::on(core);
    running.vcpu().start(at)?;
    wait("the innermost to begin", || {
        running.vcpu().ended().is_some()
    })?;
    running.vcpu().start(at)?;
    std::thread::sleep(WHILE);
    running.claim.revoke(core)?;
    let exit = running.vcpu().ended();
    ensure!(exit == Some(Exit::Abandoned), "{exit:?}");
    let exit = running.vcpu().enter(LIMIT)?;
    ensure!(exit == Exit::Budget, "elsewhere: {exit:?}");
    offline.end()?;
    audit()?;
    Ok(())
}

/// Three levels of `nest`, of which the outermost has core 1, sealed.
fn nest(mode: &str) -> Result<(Running, RegionName)> {
    const FILE: usize = 1;
    let file = payload("nest")?;
    let flags = Flags::CONFIDENTIAL | Flags::MAY_COMPOSE;
    let mut program = Program::new(Image::parse(&file)?, flags);
    program.arguments = vec!["2", mode, "confidential"];
    program.windows[FILE] = (file.len() as u64 + 8).next_multiple_of(PAGE_SIZE);
    program.heap = 1 << 20;
    program.pool = 6 << 20;
    let pool = pool()?;
    let claim = pool.claim(program.claim_size() + (2 << 20))?;
    let loaded = program.build(&claim)?;
    let window = loaded.window(FILE).context("a window")?;
    window.store(0, file.len() as u64);
    window.write(8, &file);
    let core = loaded.domain.carve_core(CORE)?;
    loaded.domain.seal()?;
    let running = Running {
        loaded,
        claim,
        pool,
    };
    Ok((running, core))
}

/// On a machine whose cores have two threads each, though Linux, for want of an AMD leaf of the emulator's, takes them for cores: both must
/// be offline, both go, and each runs a vCPU.
fn threads() -> Result<()> {
    let set = |core, online| set_online(core, online).with_context(|| format!("core {core}"));
    raw::stay_on(0)?;
    let claim = pool()?.claim(ROOM)?;
    let loaded = build(&claim, &payload("beat")?)?;
    set(3, "0")?;
    for thread in [2, 3] {
        refused(loaded.domain.carve_core(thread), Reason::CoreBusy)?;
    }
    // Neither is the first core's other thread given away, offline as it is.
    set(1, "0")?;
    refused(loaded.domain.carve_core(1), Reason::CoreBusy)?;
    set(1, "1")?;
    set(2, "0")?;
    let core = loaded.domain.carve_core(3)?;
    for thread in [2, 3] {
        refused(loaded.domain.carve_core(thread), Reason::Overlap)?;
        ensure!(set(thread, "1").is_err(), "Linux has started {thread}");
    }
    loaded.domain.seal()?;
    let mut beating = Beating {
        loaded,
        core,
        claim,
    };
    for (number, thread) in [(0, 1), (1, 0)] {
        let at = Place {
            thread,
            ..Place::on(core)
        };
        beating.loaded.vcpus[number].start(at)?;
    }
    // Whichever comes first takes a command.
    for vcpus in [[0, 1], [1, 0]] {
        beating.goes_on()?;
        beating.tell(CALL, 0);
        let mut ended = None;
        wait("a vCPU to exit", || {
            let mut found = vcpus.into_iter();
            ended = found.find(|number| beating.loaded.vcpus[*number].ended().is_some());
            ended.is_some()
        })?;
    }
    beating.stands_still()?;
    beating.claim.revoke(core)?;
    for thread in [2, 3] {
        set(thread, "1")?;
        raw::stay_on(thread as usize)?;
    }
    raw::stay_on(0)?;
    audit()?;
    Ok(())
}
