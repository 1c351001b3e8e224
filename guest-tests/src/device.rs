//! What must not work: a device that domain 0 commands reaching memory that is not domain 0's. Each attempt stands beside
//! the same one on memory that nobody protects.
//!
//! The device is QEMU's `edu`: it copies between memory and a buffer of its own at the command of whoever writes to its
//! registers, here a program of root's. On a machine without an IOMMU the same program reads and writes a
//! confidential domain (`device-unprotected`), which shows that it is the IOMMU that keeps it out.

pub mod assigned;
mod behind;
mod chipset;
mod configuration;
mod edu;
mod enclave;
mod hidden;
pub mod load;
mod tpm;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::abi::error::Error as Reason;
use adyton::{Flags, Monitor, Pages};
use anyhow::{Context, Result, ensure};

use crate::fixture::{Running, agent, failed};
use crate::{kernel_attack, raw};
use edu::Edu;

/// Tests that need the device, in boots of their own: they are not among [`crate::tests`].
pub const TESTS: &[crate::Test] = &[
    ("device-ordinary-memory", ordinary_memory),
    ("device-domain-memory", domain_memory),
    ("device-before-and-after", before_and_after),
    ("device-while-carved", while_carved),
    ("device-monitor-memory", monitor_memory),
    ("device-table-of-devices", table_of_devices),
    ("device-registers", registers),
    ("device-unprotected", unprotected),
    ("device-enclave-memory", enclave::memory),
    ("device-enclave-unprotected", enclave::unprotected),
    ("device-refused", refused_without_iommu),
    ("device-status", status),
    ("iommu-is-hidden", hidden::is_hidden),
    ("iommu-is-there", hidden::is_there),
    ("device-disk-while-carved", load::disk_while_carved),
    ("device-tpm-hidden", tpm::hidden),
    ("device-tpm-reached", tpm::reached),
    ("assigned-driven", assigned::driven),
    ("assigned-reach", assigned::reach),
    ("assigned-in-flight", assigned::in_flight),
    ("assigned-again", assigned::again),
    ("assigned-disk", assigned::disk),
    ("assigned-messages", assigned::messages),
    ("assigned-evidence", assigned::evidence),
    ("assigned-audited", assigned::audited),
    ("assigned-hidden", configuration::hidden),
    ("assigned-frozen", configuration::frozen),
    ("assigned-reset-meanwhile", configuration::reset_meanwhile),
    ("assigned-refused", configuration::refused),
    ("assigned-configuration", configuration::holder),
    ("assigned-port-stays", behind::port_stays),
    ("assigned-bridges-refused", behind::bridges_refused),
    ("configuration-moved", configuration::moved),
    ("host-bridge", configuration::host_bridge),
    ("chipset-stays", chipset::stays),
    ("end-elsewhere", chipset::ends_elsewhere),
];

const PAGE: u64 = 4096;
const SECRET: u64 = 0x5ec2_e75e_0dd5_ec2e;
const WRITTEN: u64 = 0x3333_3333_3333_3333;

/// A confidential domain with a secret in its heap, and a page beside it that nobody took.
struct Scene {
    running: Running,
    /// Where the secret is for the domain, and physically.
    place: u64,
    physical: u64,
    open: Pages,
    open_physical: u64,
}

fn scene() -> Result<Scene> {
    let mut running = agent(Flags::CONFIDENTIAL)?;
    let open = running.claim.pages(PAGE)?;
    open.zero();
    let start = kernel_attack::start(&running.pool)? - running.pool.environment().base();
    // The private memory was the first that the claim gave away, behind its first page.
    let plan = &running.loaded.plan;
    let place = plan.private.base + plan.private.size - PAGE;
    let physical = start + running.claim.address() + plan.private.size;
    running.ask([2, place, SECRET, 0, 0, 0])?;
    Ok(Scene {
        place,
        physical,
        open_physical: start + open.address(),
        open,
        running,
    })
}

impl Scene {
    /// What stands where the secret was.
    fn secret(&mut self) -> Result<u64> {
        Ok(self.running.ask([1, self.place, 0, 0, 0, 0])?[0])
    }
}

/// What the device reads at a physical address.
fn read(edu: &Edu, physical: u64) -> Result<u64> {
    let page = raw::anonymous_page()?;
    let here = edu::physical(page)?;
    // What it had before must not pass for what it reads now.
    edu.read(here, 64)?;
    edu.read(physical, 64)?;
    raw::store(page, !0);
    edu.write(here, 64)?;
    Ok(raw::load(page))
}

/// Has the device write a word over and over at a physical address.
fn write(edu: &Edu, physical: u64, word: u64) -> Result<()> {
    let page = raw::anonymous_page()?;
    (0..64)
        .step_by(8)
        .for_each(|at| raw::store(page + at, word));
    edu.read(edu::physical(page)?, 64)?;
    edu.write(physical, 64)
}

fn ordinary_memory() -> Result<()> {
    let edu = Edu::open()?;
    let page = raw::anonymous_page()?;
    let here = edu::physical(page)?;
    raw::store(page, SECRET);
    ensure!(read(&edu, here)? == SECRET, "the device does not read");
    write(&edu, here, WRITTEN)?;
    ensure!(raw::load(page) == WRITTEN, "the device does not write");
    Ok(())
}

fn domain_memory() -> Result<()> {
    let edu = Edu::open()?;
    let mut scene = scene()?;
    scene.open.store(0, SECRET);
    ensure!(
        read(&edu, scene.open_physical)? == SECRET,
        "the control does not read"
    );
    write(&edu, scene.open_physical, WRITTEN)?;
    ensure!(scene.open.load(0) == WRITTEN, "the control does not write");
    ensure!(
        read(&edu, scene.physical)? != SECRET,
        "the device has read the secret"
    );
    write(&edu, scene.physical, WRITTEN)?;
    ensure!(scene.secret()? == SECRET, "the device has written");
    Ok(())
}

/// The same page before it is carved, while it is, and after it is taken back.
fn before_and_after() -> Result<()> {
    let edu = Edu::open()?;
    for round in 0..3 {
        let mut scene = scene()?;
        write(&edu, scene.physical, WRITTEN)?;
        ensure!(
            scene.secret()? == SECRET,
            "round {round}: written while it was carved"
        );
        let physical = scene.physical;
        let claim = scene.running.claim.clone();
        scene.running.domain().destroy()?;
        let Running {
            loaded,
            claim: _first,
            pool: _pool,
        } = scene.running;
        drop((loaded, scene.open));
        let pages = claim.pages(claim.available())?;
        write(&edu, physical, WRITTEN)?;
        let found = (0..pages.size())
            .step_by(8)
            .any(|at| pages.load(at) == WRITTEN);
        ensure!(
            found,
            "round {round}: the device does not reach what came back"
        );
        ensure!(
            read(&edu, physical)? == WRITTEN,
            "round {round}: it does not read it"
        );
    }
    Ok(())
}

/// The device writes to the same page all the time while domains come and go in it.
fn while_carved() -> Result<()> {
    let edu = Edu::open()?;
    let physical = scene()?.physical;
    let (ends, writes) = (AtomicBool::new(false), AtomicU64::new(0));
    let page = raw::anonymous_page()?;
    (0..64)
        .step_by(8)
        .for_each(|at| raw::store(page + at, WRITTEN));
    edu.read(edu::physical(page)?, 64)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) && edu.write(physical, 64).is_ok() {
                writes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let outcome = come_and_go(physical, &writes);
        ends.store(true, Ordering::Relaxed);
        outcome
    })
}

fn come_and_go(physical: u64, writes: &AtomicU64) -> Result<()> {
    let begin = Instant::now();
    let mut rounds = 0;
    while begin.elapsed() < Duration::from_secs(12) {
        let mut scene = scene()?;
        ensure!(scene.physical == physical, "the domain lies elsewhere");
        // One write was on its way when the domain was made, one begins and ends now.
        let before = writes.load(Ordering::Relaxed);
        while writes.load(Ordering::Relaxed) < before + 2 {
            ensure!(
                scene.secret()? == SECRET,
                "round {rounds}: the device has written"
            );
        }
        ensure!(
            scene.secret()? == SECRET,
            "round {rounds}: the device has written"
        );
        rounds += 1;
    }
    ensure!(rounds > 5, "only {rounds} rounds");
    Ok(())
}

/// Where the monitor's own memory lies, from its log: its image and its reserve.
fn own_memory() -> Result<[u64; 2]> {
    let text = log()?;
    let start = |name: &str| {
        let (_, rest) = text.split_once(&format!("{name} Range {{ start: "))?;
        let (digits, _) = rest.split_once(',')?;
        u64::from_str_radix(digits, 16).ok()
    };
    let found = start("image").zip(start("reserve"));
    let (image, reserve) = found.context("the log does not say where the monitor lies")?;
    Ok([image, reserve])
}

fn log() -> Result<String> {
    let output = Command::new("adyton").arg("log").output()?;
    ensure!(output.status.success(), "adyton log: {output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// The ring of the log is the one part of the monitor that domain 0 may read: there it would see a write.
fn monitor_memory() -> Result<()> {
    let edu = Edu::open()?;
    let (ring, size) = Monitor::ask()?.log.context("no log")?;
    let before = log()?;
    ensure!(!before.is_empty());
    let word = u64::from_le_bytes(before.as_bytes()[..8].try_into()?);
    ensure!(read(&edu, ring + 16)? != word, "the device reads the log");
    for page in (ring..ring + size).step_by(PAGE as usize) {
        write(&edu, page + 16, WRITTEN)?;
    }
    ensure!(
        log()?.starts_with(&before),
        "the device has written to the log"
    );
    for base in own_memory()? {
        for number in 0..8 {
            write(&edu, base + number * 16 * PAGE, 0)?;
        }
    }
    // Code, tables and contexts are what they were.
    domain_memory()
}

/// An entry of zeros in the device table would let a device through.
fn table_of_devices() -> Result<()> {
    let edu = Edu::open()?;
    let text = log()?;
    let (_, rest) = text
        .split_once("device table at 0x")
        .context("the log does not say where the device table is")?;
    let (digits, _) = rest.split_once(':').context("no address")?;
    let entry = u64::from_str_radix(digits, 16)? + u64::from(edu.function) * 32;
    write(&edu, entry & !63, 0)?;
    domain_memory()
}

/// The registers of the IOMMU, by another device and by the processor.
fn registers() -> Result<()> {
    const REGISTERS: u64 = 0xfed8_0000;
    const CONTROL: u64 = 0x18;
    const TIMER: u64 = 0xfed0_0000;
    let edu = Edu::open()?;
    write(&edu, REGISTERS, 0)?;
    write(&edu, REGISTERS + CONTROL, 0)?;
    domain_memory().context("after the device wrote")?;
    let memory = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/mem")?;
    let timer = raw::map(&memory, TIMER, PAGE, true)?;
    ensure!(
        raw::load(timer) as u16 >> 13 == 5,
        "the control does not read"
    );
    let mapped = raw::map(&memory, REGISTERS, PAGE, true)?;
    let end = raw::in_copy(|| raw::load(mapped + CONTROL) as i32 & 1)?;
    ensure!(kernel_attack::faults(end), "a load ended with {end:?}");
    let end = raw::in_copy(|| {
        raw::store(mapped + CONTROL, 0);
        0
    })?;
    ensure!(kernel_attack::faults(end), "a store ended with {end:?}");
    domain_memory().context("after the processor wrote")
}

/// Without an IOMMU, and if the command line allows it, the same device reads and writes the domain.
fn unprotected() -> Result<()> {
    let edu = Edu::open()?;
    let mut scene = scene()?;
    ensure!(!Monitor::ask()?.device_protection);
    ensure!(
        read(&edu, scene.physical)? == SECRET,
        "the device does not read"
    );
    write(&edu, scene.physical, WRITTEN)?;
    ensure!(scene.secret()? == WRITTEN, "the device does not write");
    Ok(())
}

/// Without an IOMMU, and if the command line does not allow it, no domain is confidential; a sandbox is not promised that.
fn refused_without_iommu() -> Result<()> {
    ensure!(!Monitor::ask()?.device_protection);
    agent(Flags::NONE)?;
    let file = crate::fixture::payload("agent")?;
    let program = adyton::Program::new(adyton::Image::parse(&file)?, Flags::CONFIDENTIAL);
    let claim = crate::fixture::pool()?.claim(crate::fixture::ROOM)?;
    failed(program.build(&claim), Reason::Unprotected)
}

/// What the command says, and that taking and giving back flushes the units.
fn status() -> Result<()> {
    let before = Monitor::ask()?;
    ensure!(before.device_protection && before.iommus > 0);
    drop(scene()?);
    let after = Monitor::ask()?;
    ensure!(
        after.iommu_flushes > before.iommu_flushes,
        "nothing was flushed"
    );
    let output = Command::new("adyton").args(["status", "--json"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains("\"device_protection\": true"), "{text}");
    ensure!(!text.contains("devices reach all memory"), "{text}");
    Ok(())
}
