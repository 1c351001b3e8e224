//! Making a function be still, and forget.
//!
//! [`silence`] takes away its right to access memory and to interrupt; from then on the IOMMU blocks it as well. [`Reset`] then makes it
//! forget what its last holder told it, where it can be reset; where it cannot, what was begun gets time to run into the blocked
//! IOMMU. What such a function keeps inside, its next holder may find.

use adyton_x86::pci::{base_address, capability, command, register};

use super::configuration::Configuration;
use super::registers::BASE_ADDRESSES;

/// Milliseconds after which a function that was reset must answer (PCI Express, section 6.6.2).
const RESET_TIME: u64 = 100;
/// Milliseconds for which one that cannot be reset is kept blocked. No specification says how long a device may take to begin an access;
/// this is five times what QEMU's slowest does.
const DRAIN_TIME: u64 = 500;
/// Milliseconds after which one that is still not ready never will be.
const PATIENCE: u64 = 5000;

/// Takes the right to access memory, to answer at ports and to interrupt away from the function. What it had sent on its way before
/// arrives before the answer to the read at the end (PCI 3.0, section 3.2.5).
pub fn silence(space: &mut impl Configuration, function: u16) {
    if let Some(place) = space.capability(function, capability::MESSAGES) {
        let control = space.read16(function, place + 2) & !capability::MESSAGES_ENABLE;
        space.write(function, place + 2, 2, control.into());
    }
    if let Some(place) = space.capability(function, capability::MESSAGE_TABLE) {
        let control = space.read16(function, place + 2) & !capability::MESSAGE_TABLE_ENABLE;
        space.write(function, place + 2, 2, control.into());
    }
    let rom = space.read(function, register::ROM) & !base_address::ROM_ENABLE;
    space.write(function, register::ROM, 4, rom);
    space.write(
        function,
        register::COMMAND,
        2,
        u32::from(command::MEMORY | command::NO_PIN),
    );
    let _ = space.read(function, register::COMMAND);
}

/// How far a reset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It takes longer.
    Goes,
    /// Done: the function answers at its addresses, and does nothing by itself.
    Done,
    /// The function does not come to rest.
    Failed,
}

/// The base addresses as they stand, which a reset loses.
pub type Addresses = [u32; BASE_ADDRESSES];

/// Reads the base addresses.
pub fn addresses(space: &impl Configuration, function: u16) -> Addresses {
    core::array::from_fn(|index| space.read(function, register::BASE_ADDRESS + 4 * index as u16))
}

/// How a function can be reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Express(u16),
    Advanced(u16),
    None,
}

fn method(space: &impl Configuration, function: u16) -> Method {
    if let Some(place) = space.capability(function, capability::EXPRESS)
        && space.read(function, place + capability::DEVICE_CAPABILITIES)
            & capability::FUNCTION_RESET
            != 0
    {
        return Method::Express(place);
    }
    match space.capability(function, capability::ADVANCED) {
        Some(place)
            if u32::from(space.read8(function, place + capability::ADVANCED_FEATURES))
                & capability::ADVANCED_RESET
                != 0 =>
        {
            Method::Advanced(place)
        }
        _ => Method::None,
    }
}

/// Begins a reset of a function that is [silent](silence).
pub fn begin(space: &mut impl Configuration, function: u16) {
    match method(space, function) {
        Method::Express(place) => {
            let place = place + capability::DEVICE_CONTROL;
            let control = space.read16(function, place) | capability::RESET;
            space.write(function, place, 2, control.into());
        }
        Method::Advanced(place) => {
            space.write(function, place + capability::ADVANCED_CONTROL, 1, 1);
        }
        Method::None => {}
    }
}

/// Goes on with a reset that was begun `elapsed` milliseconds ago.
pub fn advance(
    space: &mut impl Configuration,
    function: u16,
    addresses: &Addresses,
    elapsed: u64,
) -> Reset {
    if elapsed < RESET_TIME {
        // Not even its configuration space is to be touched.
        return Reset::Goes;
    }
    if elapsed > PATIENCE {
        return Reset::Failed;
    }
    // A function that is not ready yet shows none of itself, or the number 1.
    if !space.is_present(function) || space.read(function, register::IDENTITY) as u16 == 1 {
        return Reset::Goes;
    }
    let drained = method(space, function) != Method::None || elapsed >= DRAIN_TIME;
    if !drained || is_pending(space, function) {
        return Reset::Goes;
    }
    for (index, address) in addresses.iter().enumerate() {
        space.write(
            function,
            register::BASE_ADDRESS + 4 * index as u16,
            4,
            *address,
        );
    }
    silence(space, function);
    Reset::Done
}

/// Whether accesses of the function's own are not answered yet, as far as it says.
fn is_pending(space: &impl Configuration, function: u16) -> bool {
    space
        .capability(function, capability::EXPRESS)
        .is_some_and(|place| {
            space.read(function, place + capability::DEVICE_CONTROL) & capability::PENDING != 0
        })
}
