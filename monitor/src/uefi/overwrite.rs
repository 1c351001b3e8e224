//! Asking the firmware to clear memory before anything else runs, should the machine be reset in a way that the monitor does not see.
//!
//! TCG Platform Reset Attack Mitigation Specification, version 1.10: a variable that firmware makes if it does so, and another one by which it is locked
//! until the reset, so that domain 0, which can write variables, cannot take the request back. Firmware without a lock leaves it in domain 0's hand: the threat model says so.

use super::firmware::Firmware;
use super::tables::Guid;
use crate::log;

/// A variable that is one byte.
struct Variable {
    name: &'static str,
    vendor: Guid,
}

const REQUEST: Variable = Variable {
    name: "MemoryOverwriteRequestControl",
    vendor: Guid(
        0xe209_39be,
        0x32d4,
        0x41be,
        [0xa1, 0x50, 0x89, 0x7f, 0x85, 0xd4, 0x98, 0x29],
    ),
};
const LOCK: Variable = Variable {
    name: "MemoryOverwriteRequestControlLock",
    vendor: Guid(
        0xbb98_3ccf,
        0x151d,
        0x40e1,
        [0xa0, 0x7b, 0x4a, 0x17, 0xbe, 0x16, 0x82, 0x92],
    ),
};

/// Of the request: clear the memory. Its other bit lets a clean shut-down withdraw it, which only we could vouch for, and we scrub.
const CLEAR: u8 = 1;
/// Of the lock: without a key.
const LOCKED: u8 = 1;

/// Asks, as far as this firmware knows how.
pub fn request(firmware: &Firmware) {
    if !set(firmware, &REQUEST, CLEAR) {
        log!("the firmware does not clear memory at a reset");
    } else if !set(firmware, &LOCK, LOCKED) {
        log!("the firmware clears memory at a reset, unless domain 0 tells it not to");
    } else {
        log!("the firmware clears memory at a reset");
    }
}

/// Sets a variable, if the firmware has it.
fn set(firmware: &Firmware, variable: &Variable, value: u8) -> bool {
    let Variable { name, vendor } = variable;
    firmware.has_variable(name, vendor) && firmware.set_variable(name, vendor, value).is_ok()
}
