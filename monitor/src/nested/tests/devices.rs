//! The same tables as an IOMMU walks them, by its own manual (48882, section 2.2.3): written apart from the code that makes
//! them, so that both have to be right.

use std::sync::atomic::Ordering;

use super::pages::Pages;
use super::*;
use crate::nested::Frames;

/// Where a device's access to `address` goes, and whether it may read and write there; `None` if it is blocked.
fn walk(root: HostPhysical, frames: &Pages, address: u64) -> Option<(u64, bool, bool)> {
    let (mut table, mut level) = (root, 4_u32);
    let (mut reads, mut writes) = (true, true);
    loop {
        let shift = 12 + 9 * (level - 1);
        let number = (address >> shift & 511) as usize;
        let entry = frames.table(table)[number].load(Ordering::Relaxed);
        if entry & 1 == 0 {
            // QEMU lets an access through if the other bits are not 0.
            assert_eq!(entry, 0, "an absent entry says something");
            return None;
        }
        assert_eq!(entry >> 52 & 0x7f, 0, "reserved bits");
        reads &= entry >> 61 & 1 != 0;
        writes &= entry >> 62 & 1 != 0;
        let next = entry & 0x000f_ffff_ffff_f000;
        match (entry >> 9 & 7) as u32 {
            0 => {
                let offset = address & ((1 << shift) - 1);
                assert_eq!(next & ((1 << shift) - 1), 0, "a page is aligned");
                return (reads || writes).then_some((next | offset, reads, writes));
            }
            below => {
                assert_eq!(below, level - 1, "no level is left out");
                (table, level) = (HostPhysical(next), below);
            }
        }
    }
}

/// Devices reach `place` if it is shown to them, at the same address and with the rights to read and write that the domain has.
pub(super) fn agree(tables: &NestedTables, frames: &Pages, place: GuestPhysical) {
    let wanted = tables
        .translate(frames, place)
        .filter(|found| found.rights.contains(Rights::DEVICE))
        .map(|found| {
            let writes = found.rights.contains(Rights::WRITE);
            (found.address.0, true, writes)
        });
    assert_eq!(walk(tables.root(), frames, place.0), wanted);
}

#[test]
fn devices_reach_what_is_shown_to_them_and_nothing_else() {
    let frames = Pages::new(16);
    let mut tables = fresh(&frames);
    let shown = Rights::ALL.union(Rights::DEVICE);
    map(
        &mut tables,
        &frames,
        mapping(0, 0, 8 * GIB, Rights::ALL),
        100,
    );
    map(&mut tables, &frames, mapping(GIB, GIB, 2 * GIB, shown), 100);
    let only_read = Rights::READ.union(Rights::DEVICE);
    map(
        &mut tables,
        &frames,
        mapping(GIB, GIB, PAGE_SIZE, only_read),
        100,
    );
    unmap(
        &mut tables,
        &frames,
        GIB + 4 * MIB,
        PAGE_SIZE,
        Emptied::Keep,
        100,
    );
    let root = tables.root();
    let reach = |address| walk(root, &frames, address);
    assert_eq!(reach(5), None);
    assert_eq!(reach(GIB + 5), Some((GIB + 5, true, false)));
    assert_eq!(reach(GIB + PAGE_SIZE), Some((GIB + PAGE_SIZE, true, true)));
    assert_eq!(reach(GIB + 4 * MIB), None);
    assert_eq!(reach(2 * GIB + 9), Some((2 * GIB + 9, true, true)));
    assert_eq!(reach(3 * GIB), None);
}
