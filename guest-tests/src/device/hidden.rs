//! Whether domain 0 finds the IOMMU: by the firmware's tables, by the kernel's list of functions, by configuration space through
//! ports and through memory.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::PAGE;
use crate::raw;

/// Class code of an IOMMU: system peripheral, IOMMU.
const CLASS: u32 = 0x0806;
const CLASS_REGISTER: u32 = 8;
const NOBODY: u32 = !0;

/// How often each way finds one, the host bridge first as a control.
struct Found {
    bridge: [bool; 2],
    listed: usize,
    ports: usize,
    memory: usize,
    table: bool,
}

fn look() -> Result<Found> {
    let mut found = Found {
        bridge: [false; 2],
        listed: 0,
        ports: 0,
        memory: 0,
        table: Path::new("/sys/firmware/acpi/tables/IVRS").exists(),
    };
    for entry in fs::read_dir("/sys/bus/pci/devices")? {
        let class = fs::read_to_string(entry?.path().join("class"))?;
        found.listed += usize::from(class.starts_with("0x0806"));
    }
    raw::allow_ports()?;
    let memory = File::options().read(true).write(true).open("/dev/mem")?;
    let start = configuration_space()?;
    for function in (0..0x100_u32).step_by(8) {
        let by_port = raw::configuration(function << 8 | CLASS_REGISTER);
        let place = start + u64::from(function) * PAGE;
        let mapped = raw::map(&memory, place, PAGE, false)?;
        let by_memory = load(mapped + u64::from(CLASS_REGISTER))?;
        if function == 0 {
            found.bridge = [by_port, by_memory].map(|word| word != NOBODY && word != 0);
        }
        found.ports += usize::from(by_port >> 16 == CLASS);
        found.memory += usize::from(by_memory >> 16 == CLASS);
    }
    Ok(found)
}

/// A load that may end the process: then nothing is there.
fn load(address: u64) -> Result<u32> {
    let end = raw::in_copy(|| {
        let word = raw::load(address & !7);
        // The class is in the upper half of the word, and an exit status has eight bits.
        let class = if address & 4 == 0 {
            word as u32
        } else {
            (word >> 32) as u32
        } >> 16;
        match class {
            0xffff => 0,
            CLASS => 1,
            _ => 2,
        }
    })?;
    Ok(match end {
        nix::sys::wait::WaitStatus::Exited(_, 1) => CLASS << 16,
        nix::sys::wait::WaitStatus::Exited(_, 2) => 1,
        _ => NOBODY,
    })
}

/// Where configuration space is mapped, as the kernel lists it.
fn configuration_space() -> Result<u64> {
    let map = fs::read_to_string("/proc/iomem")?;
    let line = map
        .lines()
        .find(|line| line.contains("PCI MMCONFIG"))
        .context("configuration space is not mapped")?;
    let (start, _) = line.trim().split_once('-').context("no range")?;
    Ok(u64::from_str_radix(start, 16)?)
}

pub fn is_hidden() -> Result<()> {
    let found = look()?;
    ensure!(found.bridge == [true; 2], "the control: {:?}", found.bridge);
    ensure!(!found.table, "its table is there");
    ensure!(found.listed == 0, "the kernel lists it");
    ensure!(found.ports == 0, "ports show it");
    ensure!(found.memory == 0, "mapped configuration space shows it");
    Ok(())
}

/// The control: without the monitor every way finds it.
pub fn is_there() -> Result<()> {
    let found = look()?;
    ensure!(found.bridge == [true; 2] && found.table);
    let ways = [found.listed, found.ports, found.memory];
    ensure!(ways == [1; 3], "found {ways:?} times");
    Ok(())
}
