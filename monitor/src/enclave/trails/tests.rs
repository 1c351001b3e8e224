//! Trails against walks: after any change of an entry or a register they lead where a walk leads.

use core::sync::atomic::Ordering;

use super::*;
use crate::enclave::notes::tests::{Tables, regime};

fn trails() -> Trails {
    let mut trails = Trails::default();
    let now = Circumstances {
        generation: 1,
        ..Circumstances::default()
    };
    trails.renew(now, Some(regime()));
    trails
}

fn walk(tables: &Tables, address: u64, kind: Kind) -> Result<GuestPhysical, Fault> {
    let access = Access {
        kind,
        user: true,
        alignment_check: false,
    };
    let found = regime().translate(&tables, GuestVirtual(address), access);
    found.map(|found| found.address)
}

#[test]
fn a_trail_ends_where_a_walk_would_whatever_changes() {
    const ADDRESS: u64 = 0x123;
    for kind in [Kind::Read, Kind::Write, Kind::Execute] {
        for level in 0..4 {
            for bit in 0..64 {
                let (tables, same) = (Tables::new(), Tables::new());
                let trails = trails();
                for _ in 0..2 {
                    let found = trails.walk(&tables, ADDRESS, kind);
                    assert_eq!(found, walk(&same, ADDRESS, kind));
                }
                for tables in [&tables, &same] {
                    tables.0[level].fetch_xor(1 << bit, Ordering::Relaxed);
                }
                assert_eq!(
                    trails.walk(&tables, ADDRESS, kind),
                    walk(&same, ADDRESS, kind),
                    "bit {bit} of entry {level}, {kind:?}"
                );
                for (one, other) in tables.0.iter().zip(&same.0) {
                    let words = [one, other].map(|word| word.load(Ordering::Relaxed));
                    assert_eq!(words[0], words[1], "what is marked");
                }
            }
        }
    }
}

#[test]
fn a_page_is_taken_for_no_other_page_and_no_other_access() {
    let trails = trails();
    let tables = Tables::new();
    tables.0[3].fetch_and(!adyton_x86::paging::Entry::WRITABLE, Ordering::Relaxed);
    assert!(trails.walk(&tables, 0x10, Kind::Read).is_ok());
    assert!(trails.walk(&tables, 0x10, Kind::Write).is_err());
    // The same slot, and an entry that no table has.
    let other = PAGE_SIZE * TRAILS as u64;
    assert!(trails.walk(&tables, 0x10, Kind::Read).is_ok());
    assert!(trails.walk(&tables, other, Kind::Read).is_err());
    assert_eq!(
        trails.walk(&tables, 0x20, Kind::Read),
        walk(&tables, 0x20, Kind::Read)
    );
}

#[test]
fn an_instruction_is_in_the_way_of_no_data() {
    let trails = trails();
    let tables = Tables::new();
    for kind in [Kind::Read, Kind::Execute] {
        assert!(trails.walk(&tables, 0x10, kind).is_ok());
    }
    let kept = |page: u64| trails.trails.iter().any(|trail| trail.page.get() == page);
    assert!(kept(Kind::Read as u64) && kept(Kind::Execute as u64));
}

#[test]
fn other_circumstances_end_all_trails() {
    let mut trails = trails();
    let tables = Tables::new();
    assert!(trails.walk(&tables, 0, Kind::Read).is_ok());
    trails.renew(Circumstances::default(), None);
    assert!(trails.walk(&tables, 0, Kind::Read).is_err());
}
