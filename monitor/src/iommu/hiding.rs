//! Hides the IOMMUs from domain 0, which would otherwise drive them: the firmware's table that describes them, their
//! registers, and the PCI functions as which they show themselves.
//!
//! The registers, and the functions' configuration space where it is mapped to memory, are absent from domain 0's nested tables
//! ([`ranges`]). Through ports a function is chosen by one register and accessed by another; who chooses a hidden one
//! chooses none ([`configuration_address`]).

use adyton_x86::iommu::{REGISTERS_SIZE, REGISTERS_SIZE_WITH_COUNTERS, feature, register};

use crate::acpi::{IommuUnit, Segment};
use crate::address::PAGE_SIZE;
use crate::memory::Range;

/// Where a table's checksum stands.
const CHECKSUM: usize = 9;
/// What the table is called from now on: no table has this name, which sorts among firmware's own.
const NAME: &[u8; 4] = b"XVRS";

/// Gives the IVRS, header included, a name that no system looks for.
pub fn rename(table: &mut [u8]) {
    let Some((old, sum)) = table.get(..4).map(sum).zip(table.get(CHECKSUM).copied()) else {
        return;
    };
    table[..4].copy_from_slice(NAME);
    table[CHECKSUM] = sum.wrapping_add(old).wrapping_sub(self::sum(NAME));
}

fn sum(bytes: &[u8]) -> u8 {
    bytes
        .iter()
        .fold(0, |total, byte| total.wrapping_add(*byte))
}

/// Whether this unit has performance counters, and registers for them.
///
/// # Safety
/// The description is true, and the registers are mapped one to one.
#[must_use]
pub unsafe fn has_counters(unit: &IommuUnit) -> bool {
    let place = (unit.base + register::EXTENDED_FEATURES) as *const u64;
    // SAFETY: as the caller warrants; reading has no effect.
    unsafe { place.read_volatile() & feature::COUNTERS != 0 }
}

/// The addresses at which domain 0 would find the unit.
pub fn ranges(
    unit: &IommuUnit,
    has_counters: bool,
    segments: &[Segment],
) -> impl Iterator<Item = Range> {
    let size = if has_counters {
        REGISTERS_SIZE_WITH_COUNTERS
    } else {
        REGISTERS_SIZE
    };
    let configuration = segments.iter().filter_map(|segment| {
        let bus = (unit.function >> 8) as u8;
        let described =
            segment.group == unit.group && (segment.first_bus..=segment.last_bus).contains(&bus);
        let offset = u64::from(unit.function) * PAGE_SIZE;
        described.then_some((segment.base.checked_add(offset)?, PAGE_SIZE))
    });
    let registers = core::iter::once((unit.base, size));
    registers.chain(configuration).filter_map(|(start, size)| {
        let start = start & !(PAGE_SIZE - 1);
        let end = start.checked_add(size)?;
        Some(Range { start, end })
    })
}

/// What is written to the register that chooses a function (PCI Local Bus Specification 3.0, section 3.2.2.3.2), if domain 0
/// writes `value`.
#[must_use]
pub fn configuration_address(units: &[IommuUnit], value: u32) -> u32 {
    const ENABLE: u32 = 1 << 31;
    let function = (value >> 8) as u16;
    let is_hidden = units
        .iter()
        .any(|unit| unit.group == 0 && unit.function == function);
    if is_hidden { value & !ENABLE } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: IommuUnit = IommuUnit {
        base: 0xfed8_0000,
        function: 0x0110,
        group: 0,
        flags: 0,
    };

    #[test]
    fn the_table_gets_another_name_and_keeps_its_sum() {
        let mut table = b"IVRS\x30\0\0\0\x02\x5cBOCHS more".to_vec();
        let before = sum(&table);
        rename(&mut table);
        assert_eq!(sum(&table), before);
        assert!(table.starts_with(NAME));
        rename(&mut table[..5]);
        rename(&mut []);
    }

    #[test]
    fn registers_and_configuration_space_are_found() {
        let segment = |group, first_bus| Segment {
            base: 0xb000_0000,
            group,
            first_bus,
            last_bus: 255,
        };
        let all = |segments: &[Segment], counters| {
            ranges(&UNIT, counters, segments)
                .map(|range| (range.start, range.size()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            all(&[segment(0, 0), segment(1, 0), segment(0, 2)], false),
            [(0xfed8_0000, 0x4000), (0xb011_0000, 0x1000)]
        );
        assert_eq!(all(&[], true), [(0xfed8_0000, 0x8_0000)]);
    }

    #[test]
    fn a_hidden_function_cannot_be_chosen() {
        assert_eq!(configuration_address(&[UNIT], 0x8001_1004), 0x0001_1004);
        assert_eq!(configuration_address(&[UNIT], 0x8001_1104), 0x8001_1104);
        assert_eq!(configuration_address(&[], 0x8001_1004), 0x8001_1004);
    }
}
