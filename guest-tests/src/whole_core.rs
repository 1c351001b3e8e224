//! Whole cores: what runs on one alone, how it ends, and who tries to disturb it.
//!
//! The payload `beat` counts in a page that it shares with the test. Core 1 is the one that is given away.

mod composed;
mod hostile;
mod notice;
mod running;
mod told;

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Information;
use adyton::convention::OFFER_WINDOW;
use adyton::whole::Place;
use adyton::{Claim, Exit, Flags, Image, Linux, Loaded, Program, Refusal, RegionName, Vcpu, calls};
use anyhow::{Context, Result, ensure};

use crate::fixture::{ROOM, payload, pool};
use crate::raw;

/// The tests; core 1 is theirs.
pub(crate) fn tests() -> impl Iterator<Item = crate::Test> {
    let rooms = [
        running::TESTS,
        hostile::TESTS,
        composed::TESTS,
        notice::TESTS,
        told::TESTS,
    ];
    rooms.into_iter().flatten().copied()
}

const CORE: u64 = 1;

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

/// Has Linux start a core ("1"), or do without it ("0").
pub(crate) fn set_online(core: u64, online: &str) -> io::Result<()> {
    fs::write(format!("/sys/devices/system/cpu/cpu{core}/online"), online)
}

/// A core that is offline; it comes back at the end.
pub(crate) struct Offline(u64);

impl Offline {
    /// Core 1, which is these tests'.
    fn begin() -> Result<Self> {
        Self::of(CORE)
    }

    /// Takes this core offline.
    pub(crate) fn of(core: u64) -> Result<Self> {
        raw::stay_on(0)?;
        let offline = Self(core);
        set_online(core, "0").context("taking a core offline")?;
        Ok(offline)
    }

    /// Has Linux start it.
    fn start(&self) -> io::Result<()> {
        set_online(self.0, "1")
    }

    /// Takes it back, which must work.
    pub(crate) fn end(self) -> Result<()> {
        self.start().context("taking a core back")?;
        raw::stay_on(self.0 as usize)?;
        raw::stay_on(0)
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        // What a test leaves undone is undone; it has said what is wrong already.
        let _online_already = self.start();
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
        exit_of(&mut self.loaded.vcpus[0])
    }
}

/// The exit that a vCPU comes to.
fn exit_of(vcpu: &mut Vcpu) -> Result<Exit> {
    let mut found = None;
    wait("the domain to exit", || {
        found = vcpu.ended();
        found.is_some()
    })?;
    found.context("no exit")
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
