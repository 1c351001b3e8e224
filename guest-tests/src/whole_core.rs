//! Whole cores: what runs on one alone, how it ends, and who tries to disturb it.
//!
//! The payload `beat` counts in a page that it shares with the test. Core 1 is the one that is given away.

use std::fs;
use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Information;
use adyton::abi::error::Error as Reason;
use adyton::convention::{OFFER_WINDOW, PAYLOAD};
use adyton::whole::Place;
use adyton::{
    Claim, Exit, Flags, Image, Linux, Loaded, Placement, Program, READ_WRITE, Refusal, RegionName,
    calls,
};
use anyhow::{Context, Result, ensure};
use nix::sys::wait::WaitStatus;

use crate::fixture::{ROOM, Running, Selfcheck, audit, payload, pool, refused, selfcheck};
use crate::{kernel_mode, machine, raw};

pub(crate) const TESTS: &[crate::Test] = &[
    ("whole-core-runs-alone", runs_alone),
    ("whole-core-exits", exits),
    ("whole-core-stopped", stopped),
    ("whole-core-not-entered", not_entered),
    ("whole-core-revoked", revoked),
    ("whole-core-destroyed", destroyed),
    ("whole-core-loses-memory", loses_memory),
    ("whole-core-in-use", in_use),
    ("whole-core-of-another", of_another),
    ("whole-core-attacked", attacked),
    ("whole-core-elsewhere", elsewhere),
    ("whole-core-notice", notice),
    ("whole-core-nested", nested),
    ("whole-core-threads", threads),
];

const CORE: u64 = 1;
const ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// The payload's window and what is where in it.
const WINDOW: usize = 1;
const COUNT: u64 = 0;
const COMMAND: u64 = 8;
const DONE: u64 = 16;
const ADDRESS: u64 = 24;

/// What it can be told.
const CALL: u64 = 1;
const HALT: u64 = 2;
const REACH: u64 = 3;
const FAIL: u64 = 4;
const CPUID: u64 = 5;
const VERSION: u64 = 6;

/// Running time in ticks, some interrupts long.
const LIMIT: u64 = 50_000_000;

/// For how long it is waited for what must happen, and for what must not.
const PATIENCE: Duration = Duration::from_secs(10);
const WHILE: Duration = Duration::from_millis(500);

/// Core 1 offline; it comes back at the end.
struct Offline;

impl Offline {
    fn begin() -> Result<Self> {
        raw::stay_on(0)?;
        fs::write(ONLINE, "0").context("taking core 1 offline")?;
        Ok(Self)
    }

    /// Takes it back, which must work.
    fn end(self) -> Result<()> {
        fs::write(ONLINE, "1").context("taking core 1 back")?;
        raw::stay_on(1)?;
        raw::stay_on(0)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        // What a test leaves undone is undone; it has said what is wrong already.
        let _online_already = fs::write(ONLINE, "1");
    }
}

/// A domain of `beat` with core 1, and what keeps it alive.
struct Beating {
    loaded: Loaded,
    core: RegionName,
    claim: Claim,
}

fn build(claim: &Claim, file: &[u8]) -> Result<Loaded> {
    Ok(program(file)?.build(claim)?)
}

fn program(file: &[u8]) -> Result<Program<'_>> {
    let mut program = Program::new(Image::parse(file)?, Flags::CONFIDENTIAL);
    program.windows[WINDOW] = PAGE_SIZE;
    program.windows[OFFER_WINDOW] = PAGE_SIZE;
    program.vcpus = 2;
    Ok(program)
}

impl Beating {
    /// Sealed and not started.
    fn new() -> Result<Self> {
        let claim = pool()?.claim(ROOM)?;
        let loaded = build(&claim, &payload("beat")?)?;
        let core = loaded.domain.carve_core(CORE)?;
        loaded.domain.seal()?;
        Ok(Self {
            loaded,
            core,
            claim,
        })
    }

    fn started() -> Result<Self> {
        let mut beating = Self::new()?;
        beating.start()?;
        beating.goes_on()?;
        Ok(beating)
    }

    fn start(&mut self) -> Result<(), Refusal> {
        self.loaded.vcpus[0].start(Place::on(self.core))
    }

    fn word(&self, offset: u64) -> u64 {
        self.loaded.window(WINDOW).map_or(0, |it| it.load(offset))
    }

    fn tell(&self, command: u64, address: u64) {
        if let Some(window) = self.loaded.window(WINDOW) {
            window.store(ADDRESS, address);
            window.store(COMMAND, command);
        }
    }

    /// It counts.
    fn goes_on(&self) -> Result<()> {
        let before = self.word(COUNT);
        wait("the domain to count", || self.word(COUNT) > before + 100)
    }

    fn stands_still(&self) -> Result<()> {
        let before = self.word(COUNT);
        std::thread::sleep(WHILE);
        ensure!(self.word(COUNT) == before, "the domain goes on");
        Ok(())
    }

    /// Has it do something that it does in passing.
    fn has_done(&self, command: u64) -> Result<()> {
        let before = self.word(DONE);
        self.tell(command, 0);
        wait("the domain to do it", || self.word(DONE) > before)
    }

    /// The exit that it comes to.
    fn exit(&mut self) -> Result<Exit> {
        let mut found = None;
        wait("the domain to exit", || {
            found = self.loaded.vcpus[0].ended();
            found.is_some()
        })?;
        found.context("no exit")
    }
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Exits of core 1 so far, by reason.
fn exits_of_core() -> Result<[u64; 9]> {
    let place = Linux::without_memory()?;
    let mut counters = [0; 9];
    for (reason, counter) in counters.iter_mut().enumerate() {
        let selector = (CORE + 1) << 32 | reason as u64;
        *counter = calls::information(&place, Information::Counter, selector)?[0];
    }
    Ok(counters)
}

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
    let came_up = fs::write(ONLINE, "1");
    ensure!(came_up.is_err(), "Linux has started a core that it has not");
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

/// A domain on a whole core has children there: they run, and are taken out of the way with it.
fn nested() -> Result<()> {
    let offline = Offline::begin()?;
    let (mut running, core) = nest("pass")?;
    let at = Place::on(core);
    let mut round_trip = |words: [u64; 6]| -> Result<Exit> {
        let vcpu = running.vcpu();
        vcpu.reply(words);
        vcpu.start(at)?;
        let mut found = None;
        wait("the nest to exit", || {
            found = vcpu.ended();
            found.is_some()
        })?;
        found.context("no exit")
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
    let online = |core: u64| format!("/sys/devices/system/cpu/cpu{core}/online");
    let set = |core: u64, value: &str| {
        fs::write(online(core), value).with_context(|| format!("core {core}"))
    };
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
