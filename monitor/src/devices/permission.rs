//! Who may write what in configuration space.
//!
//! Domain 0 programs its functions as on bare metal, with three exceptions: nothing at host bridges, whose registers say where
//! configuration space, memory and devices lie and are the firmware's matter; nothing that places what the monitor watches
//! ([`super::chipset`]); and, as long as a function is in a
//! domain's hands, nothing that decides who answers to which address: base addresses, windows and bus numbers of
//! bridges. So nothing moves over the function's registers, and no number of its accesses changes.
//!
//! Who drives a function may switch it on and let it send interrupts as messages; that is all that it needs. It cannot move its
//! registers, answer at ports, use its interrupt pin, which others share, or reset it, which would lose its base addresses.

use adyton_x86::pci::{capability, command, extended, register};

use super::configuration::{Configuration, is_ordinary};
use super::kept::Kept;

/// A write of `width` bytes at `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub offset: u16,
    /// Bytes: 1, 2 or 4.
    pub width: u8,
}

impl Write {
    pub(super) const fn overlaps(self, start: u16, end: u16) -> bool {
        self.offset < end && start < self.offset.saturating_add(self.width as u16)
    }

    /// Whether it can change who answers to which addresses, or which bus has which number. Bridges decide that in registers that
    /// other headers have for nothing of the kind, so that no header needs to be read.
    #[must_use]
    pub const fn moves_addresses(self) -> bool {
        self.overlaps(register::BASE_ADDRESS, register::INTERRUPT_LINE)
            || self.overlaps(register::BRIDGE_CONTROL, register::FIRST_OWN)
    }
}

/// Extended capabilities that decide about addresses: single-root virtualization, and sizes that can be changed (of a function,
/// and of virtual ones); and what a port lets through between devices.
const MOVING: [u16; 4] = [
    extended::VIRTUAL_FUNCTIONS,
    extended::SIZES,
    extended::VIRTUAL_SIZES,
    extended::ACCESS_CONTROL,
];

/// Whether the write lands in an extended capability that decides about addresses: in one that begins at most as far before it as
/// such a capability is long.
pub fn moves_extended(space: &impl Configuration, function: u16, write: Write) -> bool {
    const LONGEST: u16 = 0x40;
    const MOST: usize = 64;
    if !write.overlaps(register::EXTENDED, u16::MAX) {
        return false;
    }
    let mut capabilities = space.extended_capabilities(function);
    let reaches = |(offset, header): (u16, u32)| {
        MOVING.contains(&(header as u16)) && write.overlaps(offset, offset.saturating_add(LONGEST))
    };
    // A list that goes on for longer is not known well enough.
    capabilities.by_ref().take(MOST).any(reaches) || capabilities.next().is_some()
}

/// Whether the write moves nothing in the machine, or puts back what stood there when things were frozen. Without a `value`, whatever is
/// written counts.
pub(super) fn moves_nothing(
    space: &impl Configuration,
    kept: &Kept,
    function: u16,
    write: Write,
    value: Option<u32>,
) -> bool {
    if moves_extended(space, function, write) {
        return false;
    }
    !write.moves_addresses()
        || is_behind_a_bridge(space, function)
        || value.is_some_and(|value| kept.puts_back(function, write, value))
}

/// Whether the function is an ordinary one behind a bridge: whatever it answers to lies in what the bridge passes on.
fn is_behind_a_bridge(space: &impl Configuration, function: u16) -> bool {
    function > u16::from(u8::MAX) && is_ordinary(space, function)
}

/// What is written if who drives the function writes `value`; `None` if that is not allowed.
pub fn holder_writes(
    space: &impl Configuration,
    function: u16,
    write: Write,
    value: u32,
) -> Option<u32> {
    let Write { offset, width } = write;
    if offset == register::COMMAND && width == 2 {
        let allowed = command::MEMORY | command::MASTER | command::PARITY | command::SYSTEM_ERROR;
        return Some(u32::from(value as u16 & allowed | command::NO_PIN));
    }
    let inside =
        |start: u16, size: u16| start <= offset && offset + u16::from(width) <= start + size;
    if let Some(start) = space.capability(function, capability::MESSAGES)
        && inside(
            start + 2,
            messages_size(space.read16(function, start + 2)) - 2,
        )
    {
        return Some(value);
    }
    let start = space.capability(function, capability::MESSAGE_TABLE)?;
    (offset == start + 2 && width == 2).then_some(value)
}

/// Bytes of the capability for messages.
const fn messages_size(control: u16) -> u16 {
    let long = if control & capability::MESSAGES_LONG != 0 {
        4
    } else {
        0
    };
    let mask = if control & capability::MESSAGES_MASK != 0 {
        10
    } else {
        0
    };
    10 + long + mask
}
