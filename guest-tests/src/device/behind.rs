//! Functions behind bridges: one that stands alone behind a root port goes to a domain, and its port stays as it is meanwhile; others do not go.

use std::fs::File;

use adyton::abi::error::Error as Reason;
use adyton::{Error, Function, Refusal};
use anyhow::{Context, Result, bail, ensure};

use super::SECRET;
use super::assigned::{ask, drive, edu_function};
use super::configuration::{by_ports, file, read, window, write};
use crate::{machine, raw};

const CLASS: u64 = 8;
const BUSES: u64 = 0x18;
/// The bus behind a bridge, in its register of buses.
const BEHIND: usize = 1;
/// What would move something, by register: bus numbers, the window, the prefetchable window's beginning; and bridge control, with a bit that only tells
/// how errors are handled.
const MOVES: [(u64, u32); 4] = [
    (BUSES, 0x0010_1000),
    (0x20, 0x0100_0100),
    (0x28, 1),
    (0x3c, 1 << 16),
];
/// In the register with bridge control: the bus behind is reset.
const RESET: u32 = 1 << 22;
/// Access control services: what is on stands in the upper half of the register behind the header.
const ACCESS: u16 = 0x0d;
const SERVICES: u32 = 0x1d << 16;

/// Every register of the port's that could move the function, renumber it, or let others to it, in every way to write it, while a domain has the function.
/// Before and after, each write moves something.
pub(super) fn port_stays() -> Result<()> {
    let function = edu_function()?;
    ensure!(function.number > 0xff, "it is not behind a bridge");
    let port = bridge_to(function.number >> 8)?;
    let registers = file(&port)?;
    raw::allow_ports()?;
    control(&port, &registers)?;
    let services = services(&registers)?;
    let mut driven = drive("driver", &function)?;
    for (register, bits) in MOVES.into_iter().chain([(0x3c, RESET)]) {
        let before = read(&registers, register)?;
        for way in 0..WAYS {
            let after = tried(&port, &registers, way, register, before ^ bits)?;
            ensure!(after == before, "{register:#x} is {after:#x} by way {way}");
        }
    }
    let on = read(&registers, services)?;
    ensure!(on & SERVICES == SERVICES, "it lets through: {on:#x}");
    write(&registers, services, on & !SERVICES)?;
    ensure!(read(&registers, services)? == on, "and more than before");
    let [copied, _] = driven.ask([ask::COPY, SECRET, 0, 0])?;
    ensure!(copied == SECRET, "the function was reset");
    driven.end()?;
    control(&port, &registers)?;
    write(&registers, services, on & !SERVICES)?;
    ensure!(
        read(&registers, services)? != on,
        "the control, of services"
    );
    let mut driven = drive("driver", &function)?;
    ensure!(read(&registers, services)? == on, "not switched on again");
    let [copied, _] = driven.ask([ask::COPY, SECRET, 0, 0])?;
    ensure!(copied == SECRET);
    driven.end()
}

/// By the kernel's file, by ports, by memory.
const WAYS: usize = 3;

/// What stands in the register after `value` was written to it.
fn tried(port: &Function, registers: &File, way: usize, register: u64, value: u32) -> Result<u32> {
    match way {
        0 => write(registers, register, value)?,
        1 => by_ports(port, register as u32, value),
        _ => machine::store32(window(port)? + register, value),
    }
    read(registers, register)
}

fn control(port: &Function, registers: &File) -> Result<()> {
    for (register, bits) in MOVES {
        let before = read(registers, register)?;
        for way in 0..WAYS {
            let after = tried(port, registers, way, register, before ^ bits)?;
            write(registers, register, before)?;
            ensure!(after != before, "the control: {register:#x} by way {way}");
            ensure!(read(registers, register)? == before, "not put back");
        }
    }
    Ok(())
}

/// The bridge with this bus behind it.
fn bridge_to(bus: u16) -> Result<Function> {
    for function in Function::all() {
        let file = file(&function)?;
        let is_bridge = read(&file, CLASS)? >> 16 == 0x0604;
        if is_bridge && u16::from(read(&file, BUSES)?.to_le_bytes()[BEHIND]) == bus {
            return Ok(function);
        }
    }
    bail!("no bridge leads to bus {bus}")
}

fn services(registers: &File) -> Result<u64> {
    let mut place = 0x100;
    for _ in 0..64 {
        let header = read(registers, place)?;
        if header as u16 == ACCESS {
            return Ok(place + 4);
        }
        place = u64::from(header >> 20) & !3;
        ensure!(place >= 0x100, "the port keeps nothing apart");
    }
    bail!("a list without an end")
}

/// On this machine: two functions of root ports that QEMU's IOMMU takes for one another, and one behind a conventional bridge. Each is somebody's
/// in the control, another machine.
pub(super) fn bridges_refused() -> Result<()> {
    let behind = |function: &Function| function.number > 0xff;
    let mut looked_at = [0; 2];
    for function in Function::all().into_iter().filter(behind) {
        let bridge = bridge_to(function.number >> 8).context(function.name.clone())?;
        let Err(Error::Refused(refusal)) = function.facts() else {
            bail!("{} could be given away", function.name);
        };
        ensure!(
            refusal.reason() == Some(Reason::Unassignable),
            "{}, behind {}: {}",
            function.name,
            bridge.name,
            told(&refusal)
        );
        looked_at[usize::from(function.number & 0xff != 0)] += 1;
    }
    ensure!(looked_at == [2, 1], "{looked_at:?} were looked at");
    Ok(())
}

fn told(refusal: &Refusal) -> String {
    refusal
        .reason()
        .map_or_else(String::new, |reason| reason.message().into())
}
