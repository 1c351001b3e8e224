//! A domain's page tables: four levels, virtual address = guest-physical address.
//!
//! The tables are built page by page into memory that the domain will own. AMD64 Architecture
//! Programmer's Manual volume 2, section 5.3.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use adyton_abi::PAGE_SIZE;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ENTRIES: usize = 512;

/// Bytes that one entry of the second lowest level maps.
pub const LARGE_PAGE: u64 = 2 << 20;

/// What the domain's own tables allow at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Stores.
    pub write: bool,
    /// Instruction fetches.
    pub execute: bool,
}

/// A range that is mapped to itself; page-aligned.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Rights.
    pub access: Access,
}

impl Mapping {
    fn flags(&self) -> u64 {
        let write = if self.access.write { WRITABLE } else { 0 };
        let execute = if self.access.execute { 0 } else { NO_EXECUTE };
        PRESENT | write | execute
    }

    /// The pages that map this range: (address, whether it is a large one).
    fn pages(&self) -> impl Iterator<Item = (u64, bool)> {
        let end = self.base + self.size;
        let mut next = self.base;
        core::iter::from_fn(move || {
            let address = (next < end).then_some(next)?;
            let large = address.is_multiple_of(LARGE_PAGE) && end - address >= LARGE_PAGE;
            next += if large { LARGE_PAGE } else { PAGE_SIZE };
            Some((address, large))
        })
    }
}

/// How many table pages `mappings` need.
#[must_use]
pub fn count(mappings: &[Mapping]) -> u64 {
    let mut slots = BTreeSet::new();
    for (address, large) in mappings.iter().flat_map(Mapping::pages) {
        let lowest = if large { 2 } else { 1 };
        slots.extend((lowest..=4).map(|level| (level, slot(address, level))));
    }
    slots.len() as u64
}

/// Which table of `level` (1 lowest) an address needs: unique together with the level.
fn slot(address: u64, level: u32) -> u64 {
    address >> (12 + 9 * level)
}

fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * (level - 1))) as usize % ENTRIES
}

/// The tables of `mappings`, the root first, to be placed at `base` one after another.
#[must_use]
pub fn build(mappings: &[Mapping], base: u64) -> Vec<[u64; ENTRIES]> {
    let mut builder = Builder {
        base,
        tables: Vec::new(),
        places: BTreeMap::new(),
    };
    builder.table(0, 4);
    for mapping in mappings {
        for (address, large) in mapping.pages() {
            builder.map(address, large, mapping.flags());
        }
    }
    builder.tables
}

struct Builder {
    base: u64,
    tables: Vec<[u64; ENTRIES]>,
    places: BTreeMap<(u32, u64), usize>,
}

impl Builder {
    /// The number of the table of `level` for `address`, new where there was none.
    fn table(&mut self, address: u64, level: u32) -> usize {
        if let Some(&number) = self.places.get(&(level, slot(address, level))) {
            return number;
        }
        let number = self.tables.len();
        self.tables.push([0; ENTRIES]);
        self.places.insert((level, slot(address, level)), number);
        number
    }

    fn map(&mut self, address: u64, large: bool, flags: u64) {
        let lowest = if large { 2 } else { 1 };
        let mut table = self.table(0, 4);
        for level in (lowest + 1..=4).rev() {
            let below = self.table(address, level - 1);
            let entry = self.base + below as u64 * PAGE_SIZE;
            self.tables[table][index(address, level)] = entry | PRESENT | WRITABLE;
            table = below;
        }
        let size = if large { LARGE } else { 0 };
        self.tables[table][index(address, lowest)] = address | flags | size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x70_0000;

    fn walk(tables: &[[u64; ENTRIES]], address: u64) -> Option<(u64, u64)> {
        let mut table = 0;
        for level in (1..=4).rev() {
            let entry = tables[table][index(address, level)];
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 1 || entry & LARGE != 0 {
                return Some((entry & 0xf_ffff_ffff_f000, entry));
            }
            table = ((entry & 0xf_ffff_ffff_f000) - BASE) as usize / 4096;
        }
        None
    }

    fn mapping(base: u64, size: u64, write: bool, execute: bool) -> Mapping {
        Mapping {
            base,
            size,
            access: Access { write, execute },
        }
    }

    #[test]
    fn every_page_leads_to_itself_with_its_rights() {
        let mappings = [
            mapping(0x40_0000, 0x3000, false, true),
            mapping(0x40_3000, 0x1000, true, false),
            mapping(0x80_0000, 0x40_1000, true, false),
            mapping(0x100_0000_0000, 0x1000, true, false),
        ];
        let tables = build(&mappings, BASE);
        assert_eq!(tables.len() as u64, count(&mappings));
        let (page, entry) = walk(&tables, 0x40_2000).expect("mapped");
        assert_eq!((page, entry & (WRITABLE | NO_EXECUTE)), (0x40_2000, 0));
        let (page, entry) = walk(&tables, 0x40_3000).expect("mapped");
        assert_eq!(page, 0x40_3000);
        assert_eq!(entry & (WRITABLE | NO_EXECUTE), WRITABLE | NO_EXECUTE);
        assert_eq!(
            walk(&tables, 0xa0_0000).map(|(page, _)| page),
            Some(0xa0_0000)
        );
        assert_eq!(
            walk(&tables, 0xc0_0000).map(|(page, _)| page),
            Some(0xc0_0000)
        );
        assert_eq!(walk(&tables, 0xc0_1000), None);
        assert_eq!(walk(&tables, 0x3f_f000), None);
        assert!(walk(&tables, 0x100_0000_0000).is_some());
    }
}
