//! Whether a function can be given to a domain, judged by what configuration space says at that moment.
//!
//! What must hold of one that is given: its accesses carry its own number, so that the IOMMU tells them from others' (it stands on
//! bus 0, behind no bridge); no other function of its device could reach it without passing the IOMMU (it has no
//! others); and its registers are nobody else's addresses, neither memory's nor another function's.

use adyton_abi::error::Error;
use adyton_x86::pci::{BRIDGES, header, register};

use super::configuration::Configuration;
use super::registers::{self, AllRegisters, FUNCTIONS, Sizes};
use crate::memory::Range;

/// What a function is, and where its registers lie.
#[derive(Clone, Debug)]
pub struct Findings {
    /// Vendor, device << 16, class << 32 (24 bits).
    pub identity: u64,
    /// Its registers.
    pub registers: AllRegisters,
}

/// Looks at the function. `forbidden` says of a range whether it is anything but free for devices.
///
/// # Errors
/// `NotDevice` (none of bus 0 that was there when the machine booted), `Unassignable` (a bridge, one of several functions, without registers in memory),
/// `Entangled` (its registers lie where something else lies, or nowhere).
pub fn inspect(
    space: &impl Configuration,
    sizes: &[Sizes; FUNCTIONS],
    function: u16,
    forbidden: impl Fn(Range) -> bool,
) -> Result<Findings, Error> {
    let known = sizes.get(usize::from(function)).ok_or(Error::NotDevice)?;
    if !known.known || !space.is_present(function) {
        return Err(Error::NotDevice);
    }
    let class = space.read(function, register::CLASS) >> 8;
    let single = registers::header(space, function) == header::ORDINARY && function & 7 == 0;
    if (class >> 16) as u8 == BRIDGES || !single {
        return Err(Error::Unassignable);
    }
    let registers = known.locate(space, function).ok_or(Error::Entangled)?;
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
        || !others.all(|other| is_apart(space, sizes, other, &registers))
    {
        return Err(Error::Entangled);
    }
    let identity = u64::from(space.read(function, register::IDENTITY)) | u64::from(class) << 32;
    Ok(Findings {
        identity,
        registers,
    })
}

/// Whether nothing that the other function answers to, or passes on, lies in these ranges. One that has come since the machine booted is
/// not known well enough.
fn is_apart(
    space: &impl Configuration,
    sizes: &[Sizes; FUNCTIONS],
    other: u16,
    registers: &AllRegisters,
) -> bool {
    let Some(known) = sizes.get(usize::from(other)) else {
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
    let is_bridge = registers::header(space, other) & !header::MORE_FUNCTIONS == header::BRIDGE;
    let passes = is_bridge && registers::bridged(space, other).into_iter().any(overlaps);
    !passes && !known.possible(space, other).any(overlaps)
}
