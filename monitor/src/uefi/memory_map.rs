//! The firmware's memory map: as the planner wants it, and as domain 0 does. Pure.
//!
//! Memory of boot services is RAM by the specification, but firmware that touches it once more when an operating system
//! announces its virtual addresses is common, and Linux holds it back until then. So it is *held*: domain 0's, and for no
//! other use.

use core::mem::size_of;

use arrayvec::ArrayVec;

use crate::address::PAGE_SIZE;
use crate::memory::{Kind, MAXIMUM_ENTRIES, MemoryEntry, Range};

/// `EFI_MEMORY_DESCRIPTOR` (UEFI 2.10, section 7.2.3), version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Descriptor {
    kind: u32,
    reserved: u32,
    physical: u64,
    virtual_start: u64,
    pages: u64,
    attributes: u64,
}

const _: () = assert!(size_of::<Descriptor>() == 40);

const RESERVED: u32 = 0;
const LOADER_CODE: u32 = 1;
const LOADER_DATA: u32 = 2;
const BOOT_SERVICES_CODE: u32 = 3;
const BOOT_SERVICES_DATA: u32 = 4;
const CONVENTIONAL: u32 = 7;
const UNUSABLE: u32 = 8;
const ACPI_RECLAIM: u32 = 9;
const ACPI_STORAGE: u32 = 10;
const PERSISTENT: u32 = 14;
/// `EFI_MEMORY_SP`: for a use of its own.
const SPECIFIC_PURPOSE: u64 = 1 << 18;

/// The most stretches of memory that may be held.
pub const MOST_HELD: usize = 112;

/// The map does not fit where it should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Descriptor {
    fn range(&self) -> Range {
        let size = self.pages.saturating_mul(PAGE_SIZE);
        Range {
            start: self.physical,
            end: self.physical.saturating_add(size),
        }
    }

    /// What it is in an e820 map, as Linux's own loader sees it.
    fn as_kind(&self) -> Kind {
        match self.kind {
            CONVENTIONAL if self.attributes & SPECIFIC_PURPOSE != 0 => Kind::SoftReserved,
            LOADER_CODE | LOADER_DATA | BOOT_SERVICES_CODE | BOOT_SERVICES_DATA | CONVENTIONAL => {
                Kind::Ram
            }
            ACPI_RECLAIM => Kind::Other(3),
            ACPI_STORAGE => Kind::Other(4),
            UNUSABLE => Kind::Other(5),
            PERSISTENT => Kind::Other(7),
            _ => Kind::Reserved,
        }
    }

    fn is_held(&self) -> bool {
        matches!(self.kind, BOOT_SERVICES_CODE | BOOT_SERVICES_DATA)
    }

    fn part(&self, range: Range) -> Self {
        Self {
            physical: range.start,
            pages: range.size() / PAGE_SIZE,
            ..*self
        }
    }
}

/// The descriptors in the firmware's bytes, each `descriptor_size` long, of which the first 40 are known here.
pub fn descriptors(
    bytes: &[u8],
    descriptor_size: usize,
) -> impl Iterator<Item = Descriptor> + Clone + '_ {
    let chunks = bytes.chunks_exact(descriptor_size.max(size_of::<Descriptor>()));
    chunks.map(|bytes| {
        let word = |index: usize| {
            let words = bytes.as_chunks::<8>().0;
            words.get(index).map_or(0, |word| u64::from_le_bytes(*word))
        };
        Descriptor {
            kind: word(0) as u32,
            reserved: 0,
            physical: word(1),
            virtual_start: word(2),
            pages: word(3),
            attributes: word(4),
        }
    })
}

/// The map for the planner: by address, neighbours of one kind joined.
///
/// # Errors
/// If it has more entries than the boot protocol takes.
pub fn entries(
    descriptors: impl Iterator<Item = Descriptor>,
) -> Result<ArrayVec<MemoryEntry, MAXIMUM_ENTRIES>, TooLong> {
    let mut map = ArrayVec::new();
    for descriptor in descriptors {
        let entry = MemoryEntry {
            range: descriptor.range(),
            kind: descriptor.as_kind(),
        };
        insert(&mut map, entry)?;
    }
    Ok(map)
}

/// What is held, see the module's text.
///
/// # Errors
/// If there are more stretches than [`MOST_HELD`].
pub fn held(
    descriptors: impl Iterator<Item = Descriptor>,
) -> Result<ArrayVec<Range, MOST_HELD>, TooLong> {
    let mut held: ArrayVec<MemoryEntry, MOST_HELD> = ArrayVec::new();
    for descriptor in descriptors.filter(Descriptor::is_held) {
        let entry = MemoryEntry {
            range: descriptor.range(),
            kind: Kind::Ram,
        };
        insert(&mut held, entry)?;
    }
    Ok(held.iter().map(|entry| entry.range).collect())
}

/// Puts an entry where it belongs by its address, and joins it with neighbours of its kind.
fn insert<const N: usize>(
    map: &mut ArrayVec<MemoryEntry, N>,
    mut entry: MemoryEntry,
) -> Result<(), TooLong> {
    let mut place = map.partition_point(|other| other.range.start < entry.range.start);
    let next = map.get(place).copied();
    if let Some(next) = next.filter(|next| next.kind == entry.kind)
        && next.range.start == entry.range.end
    {
        entry.range.end = next.range.end;
        map.remove(place);
    }
    let before = place
        .checked_sub(1)
        .and_then(|index| map.get(index).copied());
    if let Some(before) = before.filter(|before| before.kind == entry.kind)
        && before.range.end == entry.range.start
    {
        entry.range.start = before.range.start;
        place -= 1;
        map.remove(place);
    }
    map.try_insert(place, entry).map_err(|_| TooLong)
}

/// The map for domain 0, written to `places`: the firmware's, but `hidden` is reserved and `pool` has a purpose of its own.
/// Returns how many descriptors there are.
///
/// # Errors
/// If `places` are too few.
pub fn for_domain0(
    descriptors: impl Iterator<Item = Descriptor>,
    hidden: &[Range],
    pool: Range,
    places: &mut [Descriptor],
) -> Result<usize, TooLong> {
    let mut places = places.iter_mut();
    let mut count = 0;
    let mut write = |descriptor| -> Result<(), TooLong> {
        *places.next().ok_or(TooLong)? = descriptor;
        count += 1;
        Ok(())
    };
    for whole in descriptors {
        let mut rest = whole.range();
        while rest.size() > 0 {
            let cut = hidden.iter().copied().chain([pool]);
            let next = cut
                .filter(|cut| cut.overlaps(rest))
                .min_by_key(|cut| cut.start);
            let Some(cut) = next else {
                write(whole.part(rest))?;
                break;
            };
            if rest.start < cut.start {
                let end = cut.start;
                write(whole.part(Range { end, ..rest }))?;
                rest.start = end;
                continue;
            }
            let end = cut.end.min(rest.end);
            let mut inside = whole.part(Range { end, ..rest });
            if cut == pool {
                inside.kind = CONVENTIONAL;
                inside.attributes |= SPECIFIC_PURPOSE;
            } else {
                inside.kind = RESERVED;
            }
            write(inside)?;
            rest.start = end;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(kind: u32, start: u64, end: u64) -> Descriptor {
        Descriptor {
            kind,
            reserved: 0,
            physical: start * PAGE_SIZE,
            virtual_start: 0,
            pages: end - start,
            attributes: 0xf,
        }
    }

    fn range(start: u64, end: u64) -> Range {
        Range {
            start: start * PAGE_SIZE,
            end: end * PAGE_SIZE,
        }
    }

    #[test]
    fn bytes_are_understood() {
        let mut bytes = vec![0; 96];
        bytes[0] = 7;
        bytes[8..16].copy_from_slice(&0x1000_u64.to_le_bytes());
        bytes[24] = 3;
        bytes[48] = 4;
        let found: Vec<Descriptor> = descriptors(&bytes, 48).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].kind, found[0].physical, found[0].pages),
            (7, 0x1000, 3)
        );
        assert_eq!(found[1].kind, 4);
    }

    #[test]
    fn neighbours_of_one_kind_are_joined_in_any_order() {
        let parts = [
            descriptor(CONVENTIONAL, 10, 20),
            descriptor(ACPI_RECLAIM, 30, 31),
            descriptor(LOADER_CODE, 0, 5),
            descriptor(BOOT_SERVICES_DATA, 5, 10),
            descriptor(5, 20, 30),
        ];
        let entry = |start, end, kind| MemoryEntry {
            range: range(start, end),
            kind,
        };
        let map = entries(parts.into_iter()).unwrap();
        let expected = [
            entry(0, 20, Kind::Ram),
            entry(20, 30, Kind::Reserved),
            entry(30, 31, Kind::Other(3)),
        ];
        assert_eq!(map.as_slice(), expected);
        assert_eq!(held(parts.into_iter()).unwrap().as_slice(), [range(5, 10)]);
        let scattered = (0..).map(|index| descriptor(BOOT_SERVICES_DATA, 2 * index, 2 * index + 1));
        assert!(held(scattered.clone().take(MOST_HELD)).is_ok());
        assert_eq!(held(scattered.clone().take(MOST_HELD + 1)), Err(TooLong));
        assert_eq!(entries(scattered.take(MAXIMUM_ENTRIES + 1)), Err(TooLong));
    }

    #[test]
    fn the_monitors_memory_is_cut_out() {
        let parts = [descriptor(CONVENTIONAL, 0, 100), descriptor(5, 100, 110)];
        let mut places = [descriptor(0, 0, 0); 8];
        let hidden = [range(10, 20), range(30, 40)];
        let pool = range(40, 60);
        let count = for_domain0(parts.into_iter(), &hidden, pool, &mut places).unwrap();
        let kinds: Vec<(u32, Range)> = places[..count]
            .iter()
            .map(|part| (part.kind, part.range()))
            .collect();
        let expected = [
            (CONVENTIONAL, range(0, 10)),
            (RESERVED, range(10, 20)),
            (CONVENTIONAL, range(20, 30)),
            (RESERVED, range(30, 40)),
            (CONVENTIONAL, range(40, 60)),
            (CONVENTIONAL, range(60, 100)),
            (5, range(100, 110)),
        ];
        assert_eq!(kinds, expected);
        let special: Vec<bool> = places[..count]
            .iter()
            .map(|part| part.attributes & SPECIFIC_PURPOSE != 0)
            .collect();
        assert_eq!(special.iter().position(|is| *is), Some(4));
        assert_eq!(special.iter().filter(|is| **is).count(), 1);
        let few = for_domain0(parts.into_iter(), &hidden, pool, &mut places[..6]);
        assert_eq!(few, Err(TooLong));
    }
}
