//! Registers of chipsets that lead away what the monitor watches, and are the firmware's matter as host bridges' are.
//!
//! Power management answers at ports that a register places, and the monitor watches the ports that the firmware's tables name: moved
//! elsewhere, the same register would switch the machine off with secrets in memory. And some chipsets' own registers in memory
//! answer in front of it wherever they are placed.

use core::ops::Range;

use arrayvec::ArrayVec;

use super::permission::Write;
use crate::once::Once;

/// Registers of one function, from the first byte to behind the last.
type Registers = &'static [Range<u16>];

/// The bridge to the local bus in Intel's I/O controller hubs (ICH9's data sheet, sections 13.1.12, 13.1.13 and 13.1.35): where power
/// management's ports are and whether they answer, and where the hub's own registers are.
const HUB: Registers = &[0x40..0x48, 0xf0..0xf4];
/// The device of that bridge, on bus 0.
const HUB_FUNCTION: u16 = 0x1f << 3;
const INTEL: u16 = 0x8086;
const BRIDGE_TO_ISA: u16 = 0x0601;

/// Power management in the PIIX4 (its data sheet, sections 7.1.16 and 7.1.30): where its ports are, and whether they answer.
const PIIX4_POWER: Registers = &[0x40..0x44, 0x80..0x81];
const PIIX4: u32 = 0x7113_8086;

/// The most functions with such registers that a machine may have: real ones have one.
const MOST: usize = 8;

/// The machine's functions with such registers.
pub(super) type Functions = ArrayVec<(u16, Registers), MOST>;

pub(super) static FUNCTIONS: Once<Functions> = Once::new();

/// The registers of a function of bus 0 that domain 0 is not to write.
pub(super) fn registers(function: u16, identity: u32, class: u16) -> Option<Registers> {
    if identity == PIIX4 {
        return Some(PIIX4_POWER);
    }
    let is_hub = function == HUB_FUNCTION && identity as u16 == INTEL && class == BRIDGE_TO_ISA;
    is_hub.then_some(HUB)
}

/// Whether the write changes one of them.
pub(super) fn keeps(functions: &Functions, function: u16, write: Write) -> bool {
    let mut found = functions.iter().filter(|(of, _)| *of == function);
    found.any(|(_, registers)| {
        let mut registers = registers.iter();
        registers.any(|register| write.overlaps(register.start, register.end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ICH9: u32 = 0x2918_8086;

    fn kept(function: u16, identity: u32, class: u16) -> impl Fn(u16, u8) -> bool {
        let found = registers(function, identity, class);
        let functions: Functions = found
            .map(|registers| (function, registers))
            .into_iter()
            .collect();
        move |offset, width| keeps(&functions, function, Write { offset, width })
    }

    #[test]
    fn the_hub_stays_where_it_is() {
        let kept = kept(HUB_FUNCTION, ICH9, BRIDGE_TO_ISA);
        for (offset, width) in [
            (0x40, 4),
            (0x41, 1),
            (0x44, 1),
            (0x3e, 4),
            (0xf0, 4),
            (0xf3, 1),
        ] {
            assert!(kept(offset, width), "{offset:#x}");
        }
        for (offset, width) in [
            (0x04, 2),
            (0x3c, 4),
            (0x48, 4),
            (0x60, 1),
            (0x84, 4),
            (0xec, 4),
            (0xf4, 4),
            (0x140, 4),
        ] {
            assert!(!kept(offset, width), "{offset:#x}");
        }
    }

    #[test]
    fn power_management_of_the_piix4_stays_where_it_is() {
        let kept = kept(0x0b, PIIX4, 0x0680);
        for (offset, width) in [(0x40, 4), (0x42, 2), (0x80, 1), (0x80, 4)] {
            assert!(kept(offset, width), "{offset:#x}");
        }
        for (offset, width) in [(0x3c, 1), (0x44, 4), (0x7c, 4), (0x84, 4), (0xd2, 1)] {
            assert!(!kept(offset, width), "{offset:#x}");
        }
    }

    #[test]
    fn others_registers_are_domain_0_s() {
        for (function, identity, class) in [
            (HUB_FUNCTION + 8, ICH9, BRIDGE_TO_ISA),
            (HUB_FUNCTION, 0x790e_1022, BRIDGE_TO_ISA),
            (HUB_FUNCTION, ICH9, 0x0600),
            (0x0b, 0x7110_8086, 0x0680),
        ] {
            assert!(registers(function, identity, class).is_none());
        }
        let hub: Functions = [(HUB_FUNCTION, HUB)].into_iter().collect();
        assert!(!keeps(
            &hub,
            HUB_FUNCTION + 1,
            Write {
                offset: 0x40,
                width: 4
            }
        ));
    }
}
