//! Walks of small tables, whose notes must be what stands in the tables afterwards.

use adyton_x86::paging::{Entry, cr0, cr4, efer};

use super::*;
use crate::address::GuestVirtual;
use crate::guest::walk::{Access, ControlRegisters, Implemented, Kind, Regime};

/// Four tables of one entry each, the first at address 0.
pub(in crate::enclave) struct Tables(pub(in crate::enclave) Vec<AtomicU64>);

impl Tables {
    pub(in crate::enclave) fn new() -> Self {
        let rights = Entry::PRESENT | Entry::WRITABLE | Entry::USER;
        let words = (1..=4).map(|number| number << 12 | rights);
        Self(words.map(AtomicU64::new).collect())
    }
}

impl Entries for &Tables {
    fn entry(&self, place: GuestPhysical) -> Result<&AtomicU64, Denied> {
        let is_first = place.value().is_multiple_of(4096);
        let entry = self.0.get((place.value() >> 12) as usize);
        entry.filter(|_| is_first).ok_or(Denied)
    }
}

impl GuestMemory for &Tables {
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        Ok(self.entry(place)?.load(Ordering::Relaxed))
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let exchanged = self
            .entry(place)?
            .compare_exchange(old, new, success, failure);
        Ok(exchanged.is_ok())
    }
}

pub(in crate::enclave) fn regime() -> Regime {
    let registers = ControlRegisters {
        cr0: cr0::PAGING | cr0::PROTECTION,
        cr4: cr4::PHYSICAL_ADDRESS_EXTENSION,
        efer: efer::LONG_MODE_ACTIVE,
        ..ControlRegisters::default()
    };
    let implemented = Implemented {
        physical_address_bits: 40,
        gigabyte_pages: true,
    };
    Regime::new(&registers, implemented).unwrap()
}

#[test]
fn marks_of_the_walk_itself_are_noted() {
    for (kind, marks) in [
        (Kind::Read, Entry::ACCESSED),
        (Kind::Write, Entry::ACCESSED | Entry::DIRTY),
    ] {
        let tables = Tables::new();
        let notes = Notes::new(&tables);
        let access = Access {
            kind,
            user: true,
            alignment_check: false,
        };
        regime().translate(&notes, GuestVirtual(0), access).unwrap();
        let (upper, last) = notes.way().unwrap();
        let last = last.unwrap();
        assert!(Entry(last.word).has(marks));
        for (step, entry) in upper.iter().chain([&last]).zip(&tables.0) {
            assert!(core::ptr::eq(step.entry, entry));
            assert_eq!(step.word, entry.load(Ordering::Relaxed));
        }
    }
}
