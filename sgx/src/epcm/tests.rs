extern crate std;

use super::{Attributes, EpcPage, EpcmEntry, PageType, Part};
use core::sync::atomic::{AtomicU32, Ordering};

#[test]
fn attributes_are_what_was_written() {
    let entry = EpcmEntry::default();
    assert_eq!(entry.attributes(), Attributes::FREE);
    for bits in 0..128_u32 {
        let flag = |bit: u32| bits >> bit & 1 != 0;
        let attributes = Attributes {
            valid: true,
            read: flag(0),
            write: flag(1),
            execute: flag(2),
            pending: flag(3),
            modified: flag(4),
            restricted: flag(5),
            blocked: flag(6),
            kind: PageType::Reg,
            secs: EpcPage(u32::MAX - bits),
        };
        entry.occupy(attributes, 0x1000);
        assert_eq!(entry.attributes(), attributes);
        let flags = u64::from(bits & 0x3f) | (PageType::Reg as u64) << 8;
        assert_eq!(attributes.secinfo_flags(), flags);
        let usable = !(attributes.pending || attributes.modified || attributes.blocked);
        let found = entry.access(attributes.secs, 0x1000);
        assert_eq!(found, usable.then_some(attributes));
        assert_eq!(entry.access(EpcPage(0), 0x1000), None);
        assert_eq!(entry.access(attributes.secs, 0x2000), None);
    }
    entry.vacate();
    assert_eq!((entry.attributes(), entry.address()), (Attributes::FREE, 0));
}

#[test]
fn claims_exclude_each_other_as_they_should() {
    let entry = EpcmEntry::default();
    let parts = [Part::Modification, Part::Measurement, Part::Tracking];
    let whole = entry.claim();
    assert!(whole.is_some() && entry.claim().is_none() && entry.share().is_none());
    assert!(parts.iter().all(|part| entry.part(*part).is_none()));
    drop(whole);
    for part in parts {
        let held = entry.part(part);
        assert!(held.is_some() && entry.part(part).is_none() && entry.claim().is_none());
        assert!(entry.share().is_some());
        let others = parts.iter().filter(|other| **other != part);
        assert!(
            others
                .map(|other| entry.part(*other))
                .all(|other| other.is_some())
        );
    }
    let shares = [entry.share(), entry.share()];
    assert!(shares.iter().all(Option::is_some) && entry.claim().is_none());
    drop(shares);
    assert!(entry.is_unclaimed() && entry.claim().is_some());
}

#[test]
fn two_threads_never_hold_what_only_one_may() {
    let entry = EpcmEntry::default();
    let inside = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (entry, inside) = (&entry, &inside);
            scope.spawn(move || {
                for turn in 0..20_000 {
                    let alone = (turn + number) % 2 == 0;
                    let claim = if alone { entry.claim() } else { entry.share() };
                    if claim.is_some() {
                        let weight = if alone { 0x100 } else { 1 };
                        let before = inside.fetch_add(weight, Ordering::SeqCst);
                        assert!(before < 0x100 && (!alone || before == 0));
                        inside.fetch_sub(weight, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(entry.is_unclaimed());
}
