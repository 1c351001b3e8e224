//! Whether a function can be given to a domain, judged by what configuration space says at that moment.
//!
//! What must hold of one that is given: its accesses carry its own number, so that the IOMMU tells them from others' (it stands on
//! bus 0, or alone behind a root port); no other function of its device could reach it without passing the IOMMU (it has no
//! others, virtual ones included); and its registers are nobody else's addresses, neither memory's nor another function's, and its port's alone.

use adyton_abi::error::Error;
use adyton_x86::pci::{BRIDGES, extended, header, register};

use super::configuration::{self, Configuration, is_bridge};
use super::known::Known;
use super::registers::{self, AllRegisters, FUNCTIONS};
use super::root_port;
use crate::memory::Range;

/// What a function is, and where its registers lie.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Vendor, device << 16, class << 32 (24 bits).
    pub identity: u64,
    /// Its registers.
    pub registers: AllRegisters,
    /// The root port behind which it stands.
    pub port: Option<u16>,
}

/// Looks at the function. `forbidden` says of a range whether it is anything but free for devices.
///
/// # Errors
/// `NotDevice` (none that was there when the machine booted), `Unassignable` (a bridge, one of several functions, behind anything but a root port, without
/// registers in memory), `Entangled` (its registers lie where something else lies, or nowhere).
pub fn inspect(
    space: &impl Configuration,
    known: &Known,
    function: u16,
    forbidden: impl Fn(Range) -> bool,
) -> Result<Findings, Error> {
    let (sizes, port) = known.of(space, function)?;
    if !space.is_present(function) {
        return Err(Error::NotDevice);
    }
    let class = space.read(function, register::CLASS) >> 8;
    let single = configuration::header(space, function) == header::ORDINARY && function & 7 == 0;
    if (class >> 16) as u8 == BRIDGES || !single || has_virtual_functions(space, function) {
        return Err(Error::Unassignable);
    }
    let registers = sizes.locate(space, function).ok_or(Error::Entangled)?;
    if registers.is_empty() {
        return Err(Error::Unassignable);
    }
    let overlaps_itself = (1..).zip(&registers).any(|(next, found)| {
        let mut others = registers.iter().skip(next);
        others.any(|other| other.range.overlaps(found.range))
    });
    let mut others = (0..FUNCTIONS as u16).filter(|other| *other != function);
    if overlaps_itself
        || registers.iter().any(|found| forbidden(found.range))
        || port.is_some_and(|port| !is_passed_on(space, port, &registers))
        || !others.all(|other| is_apart(space, known, (other, port), &registers))
    {
        return Err(Error::Entangled);
    }
    let identity = u64::from(space.read(function, register::IDENTITY)) | u64::from(class) << 32;
    Ok(Findings {
        identity,
        registers,
        port,
    })
}

/// Whether there are functions of its that are not in its header.
fn has_virtual_functions(space: &impl Configuration, function: u16) -> bool {
    let place = space.extended_capability(function, extended::VIRTUAL_FUNCTIONS);
    place.is_some_and(|place| {
        let control = space.read16(function, place + extended::VIRTUAL_CONTROL);
        control & extended::VIRTUAL_ENABLE != 0
    })
}

/// Whether all of it lies in what its port passes on.
fn is_passed_on(space: &impl Configuration, port: u16, registers: &AllRegisters) -> bool {
    let windows = root_port::windows(registers::bridged(space, port));
    let is_inside = |range| windows.iter().any(|window| window.holds(range));
    registers.iter().all(|found| is_inside(found.range))
}

/// Whether nothing that the other function answers to, or passes on, lies in these ranges, if it is not the port of their own. One that has come since
/// the machine booted is not known well enough.
fn is_apart(
    space: &impl Configuration,
    known: &Known,
    (other, port): (u16, Option<u16>),
    registers: &AllRegisters,
) -> bool {
    let Some(known) = known.on_first_bus(other) else {
        return true;
    };
    if !known.known {
        return !space.is_present(other);
    }
    let overlaps = |range: Range| {
        registers
            .iter()
            .any(|registers| registers.range.overlaps(range))
    };
    if registers::rom(space, other).is_some_and(overlaps) {
        return false;
    }
    let passes = port != Some(other)
        && is_bridge(space, other)
        && registers::bridged(space, other).into_iter().any(overlaps);
    !passes && !known.possible(space, other).any(overlaps)
}
