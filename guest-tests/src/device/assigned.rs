//! A function that a confidential domain drives: that it works, that it reaches the domain's memory and nothing else, and that
//! neither side finds it doing what the other began.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton::{Flags, Function, Image, Program, READ_WRITE, RegionName, devices::Holder, listing};
use adyton_evidence::verdict::Code;
use anyhow::{Context, Result, ensure};
use std::process::Command;

use super::edu::{self, Edu};
use super::{SECRET, WRITTEN, load, ordinary_memory};
use crate::evidence;
use crate::fixture::{self, ROOM, Running};
use crate::raw;

/// What the `driver` payload is asked.
pub mod ask {
    /// A factorial.
    pub const FACTORIAL: u64 = 1;
    /// A copy from one page to another.
    pub const COPY: u64 = 2;
    /// An interrupt, as a message in memory.
    pub const INTERRUPT: u64 = 3;
    /// A register.
    pub const READ: u64 = 4;
    /// A register, written.
    pub const WRITE: u64 = 5;
    /// Configuration space.
    pub const CONFIGURE: u64 = 6;
    /// A copy that is begun and not waited for.
    pub const BEGIN: u64 = 7;
    /// Where its pages are.
    pub const PAGES: u64 = 8;
    /// The first word of the second page.
    pub const WORD: u64 = 9;
    /// Where messages go.
    pub const SEND_TO: u64 = 10;
}

const TO_MEMORY: u64 = 2;
const EDU: [u16; 2] = [0x1234, 0x11e8];
/// What its identification register says (`docs/specs/edu`).
const IDENTIFICATION: u64 = 0x0100_00ed;
/// More than what the device takes for a copy.
const LONG: Duration = Duration::from_millis(400);

/// All functions of this kind.
#[must_use]
pub fn functions([vendor, device]: [u16; 2]) -> Vec<Function> {
    let is_wanted = |function: &Function| {
        let facts = function.facts();
        facts.is_ok_and(|facts| (facts.vendor, facts.device) == (vendor, device))
    };
    Function::all().into_iter().filter(is_wanted).collect()
}

/// The first `edu`, which nobody uses.
///
/// # Errors
/// If there is none, or a domain has it.
pub fn edu_function() -> Result<Function> {
    let all = functions(EDU);
    let found = all
        .into_iter()
        .next()
        .context("the machine has no edu device")?;
    ensure!(found.facts()?.holder == Holder::System, "somebody has it");
    Ok(found)
}

/// The NVMe disk.
///
/// # Errors
/// If there is none.
pub fn nvme_function() -> Result<Function> {
    const NVME: [u16; 2] = [0x1b36, 0x0010];
    let found = functions(NVME).into_iter().next();
    found.context("the machine has no NVMe disk")
}

/// The kernel's files about the function.
#[must_use]
pub fn folder(function: &Function) -> PathBuf {
    Path::new("/sys/bus/pci/devices").join(&function.name)
}

/// A domain of this payload that drives the function.
pub struct Driven {
    /// The domain.
    pub running: Running,
    /// The function, in its claim.
    pub region: RegionName,
}

impl Driven {
    /// Has the payload do one thing.
    ///
    /// # Errors
    /// If it left otherwise.
    pub fn ask(&mut self, request: [u64; 4]) -> Result<[u64; 2]> {
        let [a, b, c, d] = request;
        self.running.ask([a, b, c, d, 0, 0])
    }

    /// Destroys the domain; what it had comes back.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn end(self) -> Result<()> {
        Ok(self.running.domain().destroy()?)
    }
}

/// Builds it, with `before` at the last moment before the function is given.
///
/// # Errors
/// What the monitor or the kernel refuses.
pub fn drive_with(
    payload: &str,
    function: &Function,
    before: impl FnOnce(&adyton::Loaded) -> Result<()>,
) -> Result<Driven> {
    let file = fixture::payload(payload)?;
    let mut program = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
    program.heap = 256 << 10;
    program.device = Some(function.facts()?.kind());
    let pool = fixture::pool()?;
    let claim = pool.claim(ROOM)?;
    let loaded = program.build(&claim)?;
    before(&loaded)?;
    let room = loaded.plan.device();
    let (region, size) = function.assign(&loaded.domain, room.base, READ_WRITE)?;
    ensure!(size == room.size);
    loaded.domain.seal()?;
    let (address, id) = (claim.address(), loaded.domain.id());
    let measured = listing::measurement(pool.environment(), address, id)?;
    ensure!(
        measured == Some(adyton::measurement(&program)?),
        "measured otherwise"
    );
    let mut running = Running {
        loaded,
        claim,
        pool,
    };
    running.words()?;
    Ok(Driven { running, region })
}

/// Builds a domain of this payload that drives the function.
///
/// # Errors
/// As [`drive_with`].
pub fn drive(payload: &str, function: &Function) -> Result<Driven> {
    drive_with(payload, function, |_| Ok(()))
}

/// Everything that the device can: registers, copies, interrupts. Then domain 0 drives it as before.
pub(super) fn driven() -> Result<()> {
    ordinary_memory().context("before")?;
    let function = edu_function()?;
    let mut driven = drive("driver", &function)?;
    let [identification, _] = driven.ask([ask::READ, 0, 0, 0])?;
    ensure!(identification == IDENTIFICATION, "{identification:#x}");
    let [factorial, _] = driven.ask([ask::FACTORIAL, 10, 0, 0])?;
    ensure!(factorial == 3_628_800, "the factorial is {factorial}");
    let [copied, _] = driven.ask([ask::COPY, SECRET, 0, 0])?;
    ensure!(copied == SECRET, "{copied:#x} was copied");
    let [message, _] = driven.ask([ask::INTERRUPT, 1, 0, 0])?;
    ensure!(message & 0xffff == 0x5a5a, "the message is {message:#x}");
    let holder = function.facts()?.holder;
    ensure!(
        holder == Holder::Other(driven.running.domain().id()),
        "{holder:?}"
    );
    let shown = Command::new("adyton").args(["device", "ls"]).output()?;
    let shown = String::from_utf8(shown.stdout)?;
    let id = format!("domain {:x}", driven.running.domain().id());
    let line = shown.lines().find(|line| line.contains(&function.name));
    ensure!(line.is_some_and(|line| line.contains(&id)), "{shown}");
    driven.end()?;
    ensure!(function.facts()?.holder == Holder::System);
    ordinary_memory().context("after")
}

/// Evidence about a domain names the device that it drives, and a relying party that does not allow it refuses.
pub(super) fn evidence() -> Result<()> {
    let function = edu_function()?;
    let driven = drive("driver", &function)?;
    let evidence = driven.running.domain().evidence(evidence::NONCE)?;
    let measurement = evidence::measured(&driven.running)?;
    let policy = evidence::policy(&measurement);
    let policy = evidence::for_owner(&policy);
    let allowing = |device: &str| {
        format!("{policy}\n[[device]]\ndevice = \"{device}\"\ndomain = \"witness\"\n")
    };
    evidence::accepted(&evidence::judged(&evidence, &allowing("1234:11e8"))?)?;
    for policy in [allowing("1b36:0010"), policy.clone()] {
        let verdict = evidence::judged(&evidence, &policy)?;
        evidence::refused_for(&verdict, Code::ForbiddenDevice)?;
    }
    driven.end()
}

/// A monitor under test compares its records and everybody's tables, while a domain has the device and after it came back.
pub(super) fn audited() -> Result<()> {
    let function = edu_function()?;
    fixture::audit().context("before")?;
    let mut driven = drive("driver", &function)?;
    ensure!(driven.ask([ask::COPY, SECRET, 0, 0])?[0] == SECRET);
    fixture::audit().context("while it is away")?;
    driven.end()?;
    fixture::audit().context("after")?;
    Ok(())
}

/// Given and taken back several times, by revoking the region too.
pub(super) fn again() -> Result<()> {
    let function = edu_function()?;
    for _ in 0..3 {
        let mut driven = drive("driver", &function)?;
        let [copied, _] = driven.ask([ask::COPY, SECRET, 0, 0])?;
        ensure!(copied == SECRET);
        driven.running.claim.revoke(driven.region)?;
        ensure!(function.facts()?.holder == Holder::System);
        let answer = driven.ask([ask::CONFIGURE, 0, 4, 0]).ok();
        ensure!(
            answer.is_none_or(|[status, _]| status != 0),
            "it still has it"
        );
    }
    ordinary_memory()
}

/// The device reads and writes the domain's memory, and none of domain 0's, the monitor's or its own registers.
pub(super) fn reach() -> Result<()> {
    let function = edu_function()?;
    let page = raw::anonymous_page()?;
    let here = edu::physical(page)?;
    raw::store(page, SECRET);
    let mut driven = drive("driver", &function)?;
    let [from, to] = driven.ask([ask::PAGES, 0, 0, 0])?;
    // What the device's buffer holds now is `WRITTEN`.
    ensure!(driven.ask([ask::COPY, WRITTEN, 0, 0])?[0] == WRITTEN);
    let write = |driven: &mut Driven, address| -> Result<()> {
        driven.ask([ask::BEGIN, TO_MEMORY, address, 0])?;
        std::thread::sleep(LONG);
        Ok(())
    };
    driven.ask([ask::WORD, SECRET, 0, 0])?;
    write(&mut driven, to)?;
    ensure!(
        driven.ask([ask::WORD, 0, 0, 0])?[0] == WRITTEN,
        "the control does not write"
    );
    let plan = &driven.running.loaded.plan;
    let own_end = plan
        .windows
        .iter()
        .map(|range| range.base + range.size)
        .max();
    let [image, reserve] = super::own_memory()?;
    ensure!(own_end.is_some_and(|end| end <= here && end <= reserve));
    for address in [here, reserve, image | 0xffff_0000] {
        write(&mut driven, address)?;
    }
    ensure!(
        raw::load(page) == SECRET,
        "it has written domain 0's memory"
    );
    // And reading: what it finds there goes through its buffer to a page of the domain's.
    let read = |driven: &mut Driven, address| -> Result<u64> {
        ensure!(driven.ask([ask::COPY, WRITTEN, 0, 0])?[0] == WRITTEN);
        driven.ask([ask::BEGIN, 0, address, 0])?;
        std::thread::sleep(LONG);
        driven.ask([ask::BEGIN, TO_MEMORY, to, 0])?;
        std::thread::sleep(LONG);
        Ok(driven.ask([ask::WORD, 0, 0, 0])?[0])
    };
    ensure!(
        read(&mut driven, from)? == WRITTEN,
        "the control does not read"
    );
    let found = read(&mut driven, here)?;
    ensure!(found != SECRET, "it has read domain 0's memory");
    driven.end()
}

/// What one side has begun does not go on with the other side's memory.
pub(super) fn in_flight() -> Result<()> {
    let function = edu_function()?;
    into_the_domain(&function)?;
    out_of_the_domain(&function)
}

/// Domain 0 begins a copy to an address where the domain has a page, and gives the device away before it is done.
fn into_the_domain(function: &Function) -> Result<()> {
    let edu = Edu::at(&folder(function))?;
    let source = raw::anonymous_page()?;
    raw::store(source, WRITTEN);
    edu.read(edu::physical(source)?, 64)?;
    // The control: not given away, the same copy arrives.
    let canary = raw::anonymous_page()?;
    edu.begin_write(edu::physical(canary)?);
    std::thread::sleep(LONG);
    ensure!(raw::load(canary) == WRITTEN, "the control does not arrive");
    // Where the page lies is the same for every domain of this payload.
    let mut first = drive("driver", function)?;
    let [_, to] = first.ask([ask::PAGES, 0, 0, 0])?;
    first.end()?;
    let edu = Edu::at(&folder(function))?;
    edu.read(edu::physical(source)?, 64)?;
    let mut driven = drive_with("driver", function, |_| {
        edu.begin_write(to);
        Ok(())
    })?;
    ensure!(driven.ask([ask::PAGES, 0, 0, 0])?[1] == to);
    std::thread::sleep(LONG);
    let [found, _] = driven.ask([ask::WORD, 0, 0, 0])?;
    ensure!(
        found == 0,
        "domain 0's copy arrived in the domain: {found:#x}"
    );
    driven.end()
}

/// The domain begins a copy to an address where domain 0 has a page, and the device is taken back before it is done.
fn out_of_the_domain(function: &Function) -> Result<()> {
    let canary = raw::anonymous_page()?;
    raw::store(canary, SECRET);
    let mut driven = drive("driver", function)?;
    ensure!(driven.ask([ask::COPY, WRITTEN, 0, 0])?[0] == WRITTEN);
    driven.ask([ask::BEGIN, TO_MEMORY, edu::physical(canary)?, 0])?;
    driven.running.claim.revoke(driven.region)?;
    // At once domain 0 lets it access memory again.
    let _edu = Edu::at(&folder(function))?;
    std::thread::sleep(LONG);
    ensure!(
        raw::load(canary) == SECRET,
        "the domain's copy arrived in domain 0"
    );
    Ok(())
}

/// Messages that the function sends as interrupts: domain 0's arrive, a domain's do not.
pub(super) fn messages() -> Result<()> {
    const INTERRUPTS: u64 = 0xfee0_0000;
    let function = edu_function()?;
    let before = unknown_interrupts()?;
    let mut driven = drive("driver", &function)?;
    let [refused, _] = driven.ask([ask::SEND_TO, INTERRUPTS, 0, 0])?;
    ensure!(refused == 0, "it may not even say where to");
    driven.ask([ask::WRITE, 0x60, 1, 0])?;
    std::thread::sleep(LONG);
    ensure!(
        unknown_interrupts()? == before,
        "the domain's message arrived"
    );
    driven.end()?;
    // The control: the same message from domain 0.
    let edu = Edu::at(&folder(&function))?;
    let file = File::options()
        .read(true)
        .write(true)
        .open(folder(&function).join("config"))?;
    let place = super::configuration::messages(&file)?;
    file.write_all_at(&(INTERRUPTS as u32).to_le_bytes(), place + 4)?;
    file.write_all_at(&0_u32.to_le_bytes(), place + 8)?;
    // Fixed, to a vector that no driver has.
    file.write_all_at(&0x5a_u16.to_le_bytes(), place + 12)?;
    file.write_all_at(&1_u16.to_le_bytes(), place + 2)?;
    crate::machine::store32(edu.registers + 0x60, 1);
    std::thread::sleep(LONG);
    file.write_all_at(&0_u16.to_le_bytes(), place + 2)?;
    ensure!(
        unknown_interrupts()? > before,
        "the control does not arrive"
    );
    Ok(())
}

/// Interrupts of which the kernel says that it knows no handler.
pub(super) fn unknown_interrupts() -> Result<usize> {
    let output = Command::new("dmesg").output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text
        .lines()
        .filter(|line| line.contains("No irq handler for vector"))
        .count())
}

/// An NVMe disk that domain 0 has written, read by a domain that drives it; then by domain 0 again.
pub(super) fn disk() -> Result<()> {
    const BLOCK: u64 = 5;
    let function = nvme_function()?;
    let device = load::until(|| fs::exists("/dev/nvme0n1").unwrap_or(false));
    ensure!(device, "domain 0 does not find the disk");
    let pattern: Vec<u8> = (0..512_u64 / 8)
        .flat_map(|word| (SECRET ^ word).to_le_bytes())
        .collect();
    let disk = File::options()
        .read(true)
        .write(true)
        .open("/dev/nvme0n1")?;
    disk.write_all_at(&pattern, BLOCK * 512)?;
    disk.sync_all()?;
    drop(disk);
    let bound = drive("disk", &function);
    let is_bound = |error: &anyhow::Error| error.to_string().contains("driver nvme");
    ensure!(
        bound.is_err_and(|error| is_bound(&error)),
        "given away while it is bound"
    );
    let status = Command::new("adyton")
        .args(["device", "assign", &function.name])
        .status()?;
    ensure!(status.success(), "adyton device assign");
    let mut driven = drive("disk", &function)?;
    let sum = |block: u64| (0..64).fold(0_u64, |sum, word| sum.wrapping_add(block ^ word));
    let found = driven.ask([BLOCK, 0, 0, 0])?;
    ensure!(found == [SECRET, sum(SECRET)], "read {found:x?}");
    let found = driven.ask([BLOCK + 1, 0, 0, 0])?;
    ensure!(found == [0, 0], "the block behind it: {found:x?}");
    driven.end()?;
    let status = Command::new("adyton")
        .args(["device", "release", &function.name])
        .status()?;
    ensure!(status.success(), "adyton device release");
    let device = load::until(|| fs::exists("/dev/nvme0n1").unwrap_or(false));
    ensure!(device, "domain 0 does not find the disk again");
    let mut found = [0; 512];
    File::open("/dev/nvme0n1")?.read_exact_at(&mut found, BLOCK * 512)?;
    ensure!(found[..] == pattern[..], "domain 0 reads something else");
    function.unbind()?;
    Ok(())
}
