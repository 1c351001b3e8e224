//! Registers of the chipset that place power management's ports, and the chipset's own registers in memory.
//!
//! The monitor watches the ports at which the firmware left power management. What leaves for elsewhere would switch the machine off
//! unwatched, with secrets in memory; so the attempt ends by trying just that (`tests/endings.toml`).

use std::fs;
use std::os::unix::fs::FileExt;

use adyton::Function;
use anyhow::{Result, bail, ensure};

use super::configuration::{by_ports, file, read, window};
use crate::{machine, raw};

/// A function with such registers: its identity, each register with what would move it, and one that anybody may write.
struct Chipset {
    identity: u32,
    moved: &'static [(u64, u32)],
    /// What switches power management's ports on.
    on: (u64, u32),
    free: u64,
}

/// The local bus of ICH9 (Q35), and power management of the PIIX4 (i440FX). First where the ports are.
const CHIPSETS: [Chipset; 2] = [
    Chipset {
        identity: 0x2918_8086,
        moved: &[(0x40, 0x801), (0x44, 0), (0xf0, 0xfe00_0001)],
        on: (0x44, 0x80),
        free: 0x84,
    },
    Chipset {
        identity: 0x7113_8086,
        moved: &[(0x40, 0x801), (0x80, 0)],
        on: (0x80, 1),
        free: 0x84,
    },
];

/// Where QEMU's firmware puts power management, and where it would be moved.
const PLACES: [u16; 2] = [0x600, 0x800];
/// Behind that place: the register that switches off (ACPI 6.5, section 4.8.3.2), and what does.
const CONTROL: u16 = 4;
const SWITCH_OFF: u32 = 1 << 13;

/// The machine's.
fn chipset() -> Result<(Function, &'static Chipset)> {
    for function in Function::all() {
        let identity = read(&file(&function)?, 0)?;
        if let Some(found) = CHIPSETS.iter().find(|chipset| chipset.identity == identity) {
            return Ok((function, found));
        }
    }
    bail!("the machine has no chipset that this test knows")
}

/// A way to store a word in a register.
type Way<'a> = Box<dyn Fn(u64, u32) -> Result<()> + 'a>;

/// By the kernel's file, by ports, by ports with a bit that some processors ignore, and by memory where that is mapped.
fn ways(function: &Function) -> Result<Vec<Way<'_>>> {
    const HIGHER_REGISTERS: u32 = 1 << 24;
    raw::allow_ports()?;
    let file = file(function)?;
    let mut ways: Vec<Way<'_>> = vec![
        Box::new(move |at, value| Ok(file.write_all_at(&value.to_le_bytes(), at)?)),
        Box::new(|at, value| {
            by_ports(function, at as u32, value);
            Ok(())
        }),
        Box::new(|at, value| {
            by_ports(function, HIGHER_REGISTERS | at as u32, value);
            Ok(())
        }),
    ];
    if fs::read_to_string("/proc/iomem")?.contains("PCI MMCONFIG") {
        let mapped = window(function)?;
        ways.push(Box::new(move |at, value| {
            machine::store32(mapped + at, value);
            Ok(())
        }));
    }
    Ok(ways)
}

/// Tries each register in each way. The control is a register beside them, which every way writes.
pub(super) fn stays() -> Result<()> {
    let (function, chipset) = chipset()?;
    let registers = file(&function)?;
    for (number, way) in ways(&function)?.iter().enumerate() {
        let before = read(&registers, chipset.free)?;
        way(chipset.free, before ^ 0x10)?;
        let written = read(&registers, chipset.free)?;
        way(chipset.free, before)?;
        ensure!(written == before ^ 0x10, "the control, in way {number}");
        for (register, value) in chipset.moved {
            let before = read(&registers, *register)?;
            ensure!(before != *value, "{register:#x} is there already");
            way(*register, *value)?;
            let after = read(&registers, *register)?;
            ensure!(
                after == before,
                "{register:#x} is {after:#x} in way {number}"
            );
        }
    }
    Ok(())
}

/// Moves power management in each way that there is and switches the machine off where it would be then; and at last where it was.
pub(super) fn ends_elsewhere() -> Result<()> {
    let (function, chipset) = chipset()?;
    for way in ways(&function)? {
        for (register, value) in [chipset.moved[0], chipset.on] {
            way(register, value)?;
        }
    }
    for place in PLACES.into_iter().rev() {
        machine::output(place + CONTROL, 2, SWITCH_OFF);
    }
    Ok(())
}
