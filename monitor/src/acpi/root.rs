//! Finding the root pointer where no loader tells it (ACPI 6.5, section 5.2.5.1).

use super::PhysicalMemory;
use super::table::Root;

const BOUNDARY: usize = 16;
/// Where the PC's BIOS keeps the segment of its extended data area.
const EXTENDED_DATA_SEGMENT: u64 = 0x40e;
const EXTENDED_DATA_SIZE: u64 = 1024;
/// The BIOS's read-only memory.
const BIOS: (u64, u64) = (0xe_0000, 0x10_0000);

/// The physical address of the first valid root pointer: in the first KiB of the extended BIOS data area, then in the BIOS's
/// own memory, on boundaries of 16 bytes.
pub fn find_root_pointer(memory: &impl PhysicalMemory) -> Option<u64> {
    let mut segment = [0; 2];
    let known = memory.read(EXTENDED_DATA_SEGMENT, &mut segment);
    let extended = u64::from(u16::from_le_bytes(segment)) << 4;
    let extended = (known && extended != 0).then_some((extended, extended + EXTENDED_DATA_SIZE));
    let places = extended.into_iter().chain([BIOS]);
    places
        .flat_map(|(start, end)| (start..end).step_by(BOUNDARY))
        .find(|&address| Root::find(address, memory).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Bytes, set_checksum, table};
    use super::*;

    #[test]
    fn it_is_found_where_the_specification_says() {
        for place in [0xe_0000, 0xf_5b10, 0xf_ffe0, 0x9_fc00] {
            let mut memory = Bytes(vec![0; 0x10_0000]);
            memory.0[0x40e..0x410].copy_from_slice(&0x9fc0_u16.to_le_bytes());
            let list = table(b"RSDT", &[]);
            memory.0[0x1000..0x1000 + list.len()].copy_from_slice(&list);
            assert_eq!(find_root_pointer(&memory), None);
            let mut root = b"RSD PTR \0ADYTON\0\0\x10\0\0".to_vec();
            set_checksum(&mut root, 8);
            memory.0[place..place + root.len()].copy_from_slice(&root);
            assert_eq!(find_root_pointer(&memory), Some(place as u64));
            memory.0[place + 9] ^= 1;
            assert_eq!(find_root_pointer(&memory), None);
        }
    }
}
