//! What root tries to get a core out of the monitor, or to disturb how cores are kicked: the local APIC, the I/O APIC, model-specific
//! registers, NMIs.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::{Domain, Flags, Placement, READ_WRITE, policy};
use anyhow::{Context, Result, ensure};

use crate::fixture::{ROOM, audit, pool};
use crate::startup::startup;
use crate::{machine, raw};

pub(crate) const TESTS: &[crate::Test] = &[
    ("raw-startup", startup),
    ("io-apic-delivery", io_apic_delivery),
    ("odd-apic-stores", odd_apic_stores),
    ("refused-registers", refused_registers),
    ("nmis-during-revokes", nmis_during_revokes),
    ("nmi-flood", nmi_flood),
    ("nmis-from-outside", nmis_from_outside),
];

const IO_APIC: u64 = 0xfec0_0000;
const WINDOW: u64 = 0x10;
/// The low half of an entry that no device uses.
const ENTRY: u32 = 0x10 + 2 * 22;
const MASKED: u32 = 1 << 16;

/// An I/O APIC does not take an entry that delivers INIT or SMI unmasked, however it is written.
fn io_apic_delivery() -> Result<()> {
    let base = machine::map_physical(IO_APIC, 4096)?;
    let entry = |value: Option<(u64, u32)>| {
        machine::store32(base, ENTRY);
        if let Some((offset, value)) = value {
            machine::store32(base + WINDOW + offset, value);
        }
        machine::load32(base + WINDOW)
    };
    let before = entry(None);
    for offset in 0..4 {
        // Fixed delivery of a vector that nothing raises.
        let control = entry(Some((0, 0x20)));
        ensure!(control & MASKED == 0, "the control is masked: {control:#x}");
        entry(Some((0, MASKED)));
        for delivery in [2, 5] {
            let found = entry(Some((offset, delivery << 8 | 0x20)));
            ensure!(
                found & MASKED != 0,
                "delivery {delivery} written at {offset}: {found:#x}"
            );
            entry(Some((0, MASKED)));
        }
    }
    entry(Some((0, before)));
    Ok(())
}

/// Counts on core 1, in domain 0, until it is over.
fn beat_on_core_1(beats: &AtomicU64, is_over: &AtomicBool) -> Result<()> {
    raw::stay_on(1)?;
    while !is_over.load(Ordering::Relaxed) {
        beats.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// INIT, start-up, SMI and reserved deliveries in the shapes that a kernel would not use: the target goes on.
fn odd_apic_stores() -> Result<()> {
    raw::stay_on(0)?;
    let apic = machine::map_physical(machine::APIC, 4096)?;
    let (beats, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| beat_on_core_1(&beats, &is_over));
        // The high half says core 1 throughout.
        machine::store32(apic + machine::COMMAND_HIGH, 1 << 24);
        // By 64 bits at once, by the byte that holds the delivery, and off the register's beginning.
        raw::store(apic + machine::COMMAND, 1 << 56 | 0x4500);
        machine::store8(apic + machine::COMMAND + 1, 0x45);
        machine::store16(apic + machine::COMMAND, 0x4500);
        // SMI, and both reserved deliveries.
        for command in [0x4200, 0x4300, 0x4700] {
            machine::store32(apic + machine::COMMAND, command);
        }
        // Its own identifier, and local vectors that would deliver SMI and INIT.
        let identifier = machine::load32(apic + 0x20);
        machine::store32(apic + 0x20, 7 << 24);
        let same = machine::load32(apic + 0x20) == identifier;
        let vector = machine::load32(apic + 0x340);
        machine::store32(apic + 0x340, 0x500);
        let is_masked = machine::load32(apic + 0x340) & MASKED != 0;
        machine::store32(apic + 0x340, vector);
        let outcome = goes_on(&beats);
        is_over.store(true, Ordering::Relaxed);
        ensure!(same, "the APIC's identifier was changed");
        ensure!(is_masked, "a local vector delivers INIT");
        outcome
    })
}

/// Whether the other core still counts.
fn goes_on(beats: &AtomicU64) -> Result<()> {
    let before = beats.load(Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(5);
    while beats.load(Ordering::Relaxed) < before + 1000 {
        ensure!(Instant::now() < deadline, "core 1 stands still");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Registers by which the machine would be taken over: a write is refused, or accepted without effect.
const REGISTERS: [(u64, u64); 14] = [
    // The APIC off, moved, and without its bootstrap bit.
    (0x1b, 0xfee0_0000),
    (0x1b, 0xfed0_0900),
    (0x1b, 0x900),
    (0x3a, 5),
    (0x79, 0x10_0000),
    (0x9e, 0x3_0000),
    // EFER with SVME.
    (0xc000_0080, 0x1d01),
    (0x200, 6),
    (0x600, 0x10_0000),
    (0xc001_0010, 0),
    (0xc001_001a, 0),
    (0xc001_0111, 0x3_0000),
    (0xc001_0114, 0),
    (0xc001_0117, 0x10_0000),
];

fn refused_registers() -> Result<()> {
    const TSC_AUX: u64 = 0xc000_0103;
    let status = std::process::Command::new("modprobe").arg("msr").status()?;
    ensure!(status.success(), "modprobe msr failed");
    let registers = File::options()
        .read(true)
        .write(true)
        .open("/dev/cpu/0/msr")?;
    let read = |register: u64| {
        let mut bytes = [0; 8];
        let outcome = registers.read_exact_at(&mut bytes, register);
        outcome.map(|()| u64::from_le_bytes(bytes))
    };
    let old = read(TSC_AUX).context("the control")?;
    registers.write_all_at(&0x77_u64.to_le_bytes(), TSC_AUX)?;
    ensure!(read(TSC_AUX)? == 0x77, "the control was not written");
    registers.write_all_at(&old.to_le_bytes(), TSC_AUX)?;
    for (register, value) in REGISTERS {
        let before = read(register).ok();
        let written = registers.write_all_at(&value.to_le_bytes(), register);
        let after = read(register).ok();
        ensure!(
            before == after && (after.is_some() || written.is_err()),
            "{register:#x} was {before:x?} and is {after:x?} ({written:?})"
        );
    }
    Ok(())
}

/// NMIs that Linux has counted, by core.
fn nmis() -> Result<Vec<u64>> {
    let table = fs::read_to_string("/proc/interrupts")?;
    let line = table.lines().find(|line| line.trim().starts_with("NMI:"));
    let words = line.context("no NMI line")?.split_whitespace().skip(1);
    Ok(words.map_while(|word| word.parse().ok()).collect())
}

/// Carves and gives back on this core while another runs in domain 0, so that each flush kicks it; `between` comes in between.
fn while_kicking(rounds: u32, mut between: impl FnMut() -> Result<()>) -> Result<()> {
    raw::stay_on(0)?;
    let claim = pool()?.claim(ROOM)?;
    let pages = claim.pages(PAGE_SIZE)?;
    let (beats, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| beat_on_core_1(&beats, &is_over));
        let outcome = (0..rounds).try_for_each(|_| {
            let domain = Domain::create(&claim, policy(Flags::NONE), 16)?;
            domain.carve(Placement {
                from: pages.address(),
                size: PAGE_SIZE,
                place: 0x1000,
                attributes: READ_WRITE,
            })?;
            between()?;
            drop(domain);
            between()
        });
        let outcome = outcome.and_then(|()| goes_on(&beats));
        is_over.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Linux' own NMIs between kicks: each arrives once, and no kick looks like one.
fn nmis_during_revokes() -> Result<()> {
    const ROUNDS: u32 = 20;
    let before = nmis()?;
    while_kicking(200, || Ok(()))?;
    let after = nmis()?;
    ensure!(
        before == after,
        "kicks were taken for NMIs: {before:?}, then {after:?}"
    );
    // Asks every other core for a backtrace, by an NMI.
    while_kicking(ROUNDS, || Ok(fs::write("/proc/sysrq-trigger", "l")?))?;
    let last = nmis()?;
    let expected = [after[0], after[1] + u64::from(2 * ROUNDS)];
    ensure!(
        last[..2] == expected,
        "{after:?}, then {last:?} instead of {expected:?}"
    );
    Ok(())
}

/// More NMIs than anybody can take, to both cores, between kicks: nothing stands still, and kicks go on to work.
fn nmi_flood() -> Result<()> {
    const NMI: u32 = 0x4400;
    let apic = machine::map_physical(machine::APIC, 4096)?;
    let before = nmis()?;
    while_kicking(30, || {
        for _ in 0..10 {
            machine::send(apic, 1, NMI)?;
            machine::send(apic, 0, NMI)?;
        }
        Ok(())
    })?;
    let after = nmis()?;
    for core in 0..2 {
        let taken = after[core] - before[core];
        ensure!(
            (1..=600).contains(&taken),
            "core {core} took {taken} of 600"
        );
    }
    audit()?;
    Ok(())
}

/// NMIs by the machine's own button, which reach the first core: none is lost to a kick, none is made up.
fn nmis_from_outside() -> Result<()> {
    const NMIS: u64 = 20;
    let before = nmis()?;
    let mut sent = 0;
    while_kicking(200, || {
        if sent < NMIS {
            println!("ADYTON-NMI");
            std::thread::sleep(Duration::from_millis(30));
            sent += 1;
        }
        Ok(())
    })?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while nmis()?[0] < before[0] + NMIS && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let after = nmis()?;
    let taken = after[0] - before[0];
    ensure!(taken == NMIS, "{taken} of {NMIS} NMIs arrived");
    Ok(())
}
