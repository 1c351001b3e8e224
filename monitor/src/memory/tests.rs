//! How memory is divided.

use super::*;

const MIB: u64 = 1 << 20;
const IMAGE: Range = Range {
    start: 128 * MIB,
    end: 130 * MIB,
};

/// What QEMU's firmware reports for so much memory, with the hole that `pc` (3 GiB) and `q35` (2 GiB) have.
fn machine(size: u64, hole: u64) -> Vec<MemoryEntry> {
    let ram = |start, end| MemoryEntry {
        range: Range { start, end },
        kind: Kind::Ram,
    };
    let below = size.min(hole);
    let mut map = vec![
        ram(0, 0x9_fc00),
        MemoryEntry {
            range: Range {
                start: 0x9_fc00,
                end: MIB,
            },
            kind: Kind::Reserved,
        },
        ram(MIB, below - 0x2_1000),
        MemoryEntry {
            range: Range {
                start: below - 0x2_1000,
                end: below,
            },
            kind: Kind::Reserved,
        },
    ];
    if size > hole {
        map.push(ram(FOUR_GIB, FOUR_GIB + size - hole));
    }
    map
}

fn check(map: &[MemoryEntry], occupied: &[Range], layout: &Layout) {
    let mut parts: Vec<Range> = layout.hidden().into_iter().collect();
    parts.push(layout.pool);
    for (index, part) in parts.iter().enumerate() {
        assert!(part.start % LARGE_PAGE == 0 && part.end % LARGE_PAGE == 0 && part.size() > 0);
        assert!(
            map.iter()
                .any(|entry| entry.kind == Kind::Ram && entry.range.holds(*part))
        );
        assert!(
            !parts
                .iter()
                .skip(index + 1)
                .any(|other| other.overlaps(*part))
        );
        assert!(index == 0 || !occupied.iter().any(|other| other.overlaps(*part)));
    }
    let bytes = |map: &[MemoryEntry], kind| -> u64 {
        map.iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| entry.range.size())
            .sum()
    };
    let own: u64 = layout.hidden().iter().map(|range| range.size()).sum();
    assert_eq!(
        bytes(&layout.domain0, Kind::SoftReserved),
        layout.pool.size()
    );
    assert_eq!(
        bytes(&layout.domain0, Kind::Ram),
        bytes(map, Kind::Ram) - own - layout.pool.size()
    );
    assert_eq!(
        bytes(&layout.domain0, Kind::Reserved),
        bytes(map, Kind::Reserved) + own
    );
    for pair in layout.domain0.windows(2) {
        assert!(pair[0].range.end <= pair[1].range.start);
    }
}

#[test]
fn machines_of_many_sizes() {
    for size in [512, 768, 1024, 2048, 3072, 4096, 6144, 8192] {
        for hole in [2048 * MIB, 3072 * MIB] {
            let map = machine(size * MIB, hole);
            let top = (size * MIB).min(hole) - 0x2_1000;
            let bundle = Range {
                start: (top - 40 * MIB) & !0xfff,
                end: top,
            };
            for place in [Place::Anywhere, Place::Below4G, Place::Above4G] {
                let wishes = Wishes {
                    pool_place: place,
                    ..Wishes::default()
                };
                let layout = Layout::plan(&map, IMAGE, &[bundle], &wishes);
                if place == Place::Above4G && size * MIB < hole + 2 * size * MIB / 8 {
                    continue;
                }
                let layout = layout.unwrap();
                check(&map, &[bundle], &layout);
                assert!(place != Place::Below4G || layout.pool.end <= FOUR_GIB);
                assert!(place != Place::Above4G || layout.pool.start >= FOUR_GIB);
            }
        }
    }
}

#[test]
fn an_address_is_taken_or_refused() {
    let map = machine(1024 * MIB, 2048 * MIB);
    let at = |address| {
        let wishes = Wishes {
            pool_size: Some(64 * MIB),
            pool_place: Place::At(address),
            ..Wishes::default()
        };
        Layout::plan(&map, IMAGE, &[], &wishes)
    };
    let layout = at(256 * MIB).unwrap();
    check(&map, &[], &layout);
    assert_eq!(layout.pool.start, 256 * MIB);
    for bad in [
        127 * MIB,
        129 * MIB,
        256 * MIB + 4096,
        1000 * MIB,
        u64::MAX - 1,
    ] {
        assert_eq!(at(bad).unwrap_err(), LayoutError::NoRoomForPool(64 * MIB));
    }
}

#[test]
fn too_much_is_refused() {
    let map = machine(512 * MIB, 2048 * MIB);
    let wishes = Wishes {
        pool_size: Some(512 * MIB),
        ..Wishes::default()
    };
    let error = Layout::plan(&map, IMAGE, &[], &wishes).unwrap_err();
    assert_eq!(error, LayoutError::NoRoomForPool(512 * MIB));
    let wishes = Wishes {
        reserve: Reserve::Size(400 * MIB),
        ..Wishes::default()
    };
    let error = Layout::plan(&map, IMAGE, &[], &wishes).unwrap_err();
    assert_eq!(error, LayoutError::NoRoomForReserve(400 * MIB));
}

#[test]
fn enclaves_get_their_memory_in_a_few_sections() {
    let epc_reserve = EpcReserve {
        per_page: 192,
        besides: MIB,
    };
    let plan = |memory, epc_size| {
        let wishes = Wishes {
            epc_size,
            epc_reserve,
            pool_size: Some(64 * MIB),
            ..Wishes::default()
        };
        let map = machine(memory, 2048 * MIB);
        let layout = Layout::plan(&map, IMAGE, &[], &wishes)?;
        check(&map, &[], &layout);
        Ok::<_, LayoutError>(layout)
    };
    let layout = plan(1024 * MIB, 32 * MIB).unwrap();
    assert_eq!(layout.epc.len(), 1);
    assert_eq!(layout.epc[0].size(), 32 * MIB);
    assert!(layout.epc_reserve.size() >= 32 * MIB / 4096 * 192 + MIB);
    // Neither the memory below the hole nor that above it is large enough alone.
    let layout = plan(4096 * MIB, 2000 * MIB).unwrap();
    assert!(layout.epc.len() > 1);
    let total: u64 = layout.epc.iter().map(|section| section.size()).sum();
    assert_eq!(total, 2000 * MIB);
    assert!(plan(1024 * MIB, 0).unwrap().epc.is_empty());
    for bad in [4 * MIB, 600 * MIB] {
        assert_eq!(
            plan(1024 * MIB, bad).unwrap_err(),
            LayoutError::NoRoomForEpc(bad)
        );
    }
}
