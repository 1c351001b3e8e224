use std::cell::RefCell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const P: u64 = Entry::PRESENT;
const W: u64 = Entry::WRITABLE;
const U: u64 = Entry::USER;
const A: u64 = Entry::ACCESSED;
const D: u64 = Entry::DIRTY;
const PS: u64 = Entry::LARGE;
const NX: u64 = Entry::NO_EXECUTE;

const IMPLEMENTED: Implemented = Implemented {
    physical_address_bits: 40,
    gigabyte_pages: true,
};

/// Table words by address; what is absent is not the guest's to touch.
#[derive(Default)]
struct Words {
    words: RefCell<BTreeMap<u64, u64>>,
    read_only: bool,
    moving: bool,
}

impl GuestMemory for Words {
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        self.words.borrow().get(&place.0).copied().ok_or(Denied)
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        let mut words = self.words.borrow_mut();
        let word = words.get_mut(&place.0).ok_or(Denied)?;
        if self.read_only {
            return Err(Denied);
        }
        let matches = *word == old && !self.moving;
        if matches {
            *word = new;
        }
        Ok(matches)
    }
}

fn registers() -> ControlRegisters {
    ControlRegisters {
        cr0: cr0::PAGING | cr0::PROTECTION | cr0::WRITE_PROTECT,
        cr3: 0x1000,
        cr4: cr4::PHYSICAL_ADDRESS_EXTENSION,
        efer: efer::LONG_MODE_ACTIVE | efer::NO_EXECUTE_ENABLE,
        pkru: 0,
    }
}

const ADDRESS: u64 = 0x0000_1234_5678_9abc;

/// Tables at 0x1000, 0x2000, … with `flags` per level from the top; the last leads to a page at 0x4000_0000.
fn tables(flags: &[u64]) -> Words {
    tables_at(ADDRESS, 3, flags)
}

fn tables_at(address: u64, top: u8, flags: &[u64]) -> Words {
    let words = Words::default();
    for (depth, flag) in flags.iter().enumerate() {
        let table = 0x1000 * (depth as u64 + 1);
        let last = depth + 1 == flags.len();
        let next = if last { 0x4000_0000 } else { table + 0x1000 };
        let place = table + 8 * index(address, top - depth as u8) as u64;
        words.words.borrow_mut().insert(place, next | flag);
    }
    words
}

fn access(kind: Kind, user: bool) -> Access {
    Access {
        kind,
        user,
        alignment_check: false,
    }
}

fn walk(
    registers: &ControlRegisters,
    memory: &Words,
    access: Access,
) -> Result<Translation, Fault> {
    let regime = Regime::new(registers, IMPLEMENTED).unwrap();
    regime.translate(memory, GuestVirtual(ADDRESS), access)
}

fn code(result: Result<Translation, Fault>) -> u32 {
    match result {
        Err(Fault::Page(fault)) => {
            assert_eq!(fault.address, GuestVirtual(ADDRESS));
            fault.error_code
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn page_sizes() {
    let all = P | W | U;
    for (flags, size) in [
        (&[all, all, all, all][..], 1 << 12),
        (&[all, all, all | PS], 1 << 21),
        (&[all, all | PS], 1 << 30),
    ] {
        let found = walk(&registers(), &tables(flags), access(Kind::Write, true)).unwrap();
        assert_eq!(found.page_size, size);
        assert_eq!(found.address.0, 0x4000_0000 | (ADDRESS & (size - 1)));
    }
}

#[test]
fn five_levels() {
    let mut registers = registers();
    registers.cr4 |= cr4::FIVE_LEVELS;
    let address = 0x0042_1234_5678_9abc;
    let memory = tables_at(address, 4, &[P | U; 5]);
    let regime = Regime::new(&registers, IMPLEMENTED).unwrap();
    let found = regime.translate(&memory, GuestVirtual(address), access(Kind::Read, true));
    assert_eq!(found.unwrap().address.0, 0x4000_0abc);
}

#[test]
fn no_regime_outside_long_mode() {
    for (cr0, efer) in [(0, efer::LONG_MODE_ACTIVE), (cr0::PAGING, 0)] {
        let registers = ControlRegisters {
            cr0,
            efer,
            ..registers()
        };
        assert!(Regime::new(&registers, IMPLEMENTED).is_none());
    }
}

#[test]
fn addresses_must_be_canonical() {
    let regime = Regime::new(&registers(), IMPLEMENTED).unwrap();
    let address = GuestVirtual(0x0000_8000_0000_0000);
    let found = regime.translate(&Words::default(), address, access(Kind::Read, true));
    assert_eq!(found, Err(Fault::NotCanonical));
}

#[test]
fn absent_entries() {
    for absent in 0..4 {
        let mut flags = [P | W | U; 4];
        flags[absent] = W | U;
        let result = walk(&registers(), &tables(&flags), access(Kind::Write, true));
        assert_eq!(code(result), fault::WRITE | fault::USER);
        let result = walk(&registers(), &tables(&flags), access(Kind::Execute, false));
        assert_eq!(code(result), fault::FETCH);
    }
}

#[test]
fn reserved_bits() {
    let all = P | W | U;
    let expected = fault::PRESENT | fault::RESERVED;
    for flags in [
        &[all | PS, all][..],
        &[all, all, all | PS | 1 << 13],
        &[all, all | PS | 1 << 29],
        &[all, all, all, all | 1 << 40],
        &[all | 1 << 51, all, all, all],
    ] {
        let result = walk(&registers(), &tables(flags), access(Kind::Read, false));
        assert_eq!(code(result), expected, "{flags:x?}");
    }
    let mut without = registers();
    without.efer = efer::LONG_MODE_ACTIVE;
    let memory = tables(&[all, all, all, all | NX]);
    assert_eq!(
        code(walk(&without, &memory, access(Kind::Read, false))),
        expected
    );
    let memory = tables(&[all, all | PS]);
    let small = Implemented {
        gigabyte_pages: false,
        ..IMPLEMENTED
    };
    let regime = Regime::new(&registers(), small).unwrap();
    let result = regime.translate(&memory, GuestVirtual(ADDRESS), access(Kind::Read, false));
    assert_eq!(code(result), expected);
}

#[test]
fn the_pat_bit_of_a_large_page_is_no_address() {
    let memory = tables(&[P, P, P | PS | 1 << 12]);
    let found = walk(&registers(), &memory, access(Kind::Read, false)).unwrap();
    assert_eq!(found.address.0, 0x4000_0000 | (ADDRESS & 0x1f_ffff));
}

#[test]
fn marks_are_set_where_the_walk_went() {
    let memory = tables(&[P | W | U; 4]);
    walk(&registers(), &memory, access(Kind::Read, true)).unwrap();
    let marks = |memory: &Words| -> Vec<u64> {
        memory
            .words
            .borrow()
            .values()
            .map(|word| word & (A | D))
            .collect()
    };
    assert_eq!(marks(&memory), [A; 4]);
    walk(&registers(), &memory, access(Kind::Write, true)).unwrap();
    assert_eq!(marks(&memory), [A, A, A, A | D]);
    let memory = tables(&[P | W | U, P | W | U, P | W | U, P | U]);
    code(walk(&registers(), &memory, access(Kind::Write, true)));
    assert_eq!(marks(&memory), [A, A, A, 0]);
}

#[test]
fn tables_beyond_the_nested_rights() {
    let memory = tables(&[P | W | U; 4]);
    let first = *memory.words.borrow().keys().next().unwrap();
    let read_only = Words {
        read_only: true,
        ..tables(&[P | W | U; 4])
    };
    assert_eq!(
        walk(&registers(), &read_only, access(Kind::Read, true)),
        Err(Fault::Table {
            place: GuestPhysical(first),
            write: true
        })
    );
    memory.words.borrow_mut().clear();
    assert_eq!(
        walk(&registers(), &memory, access(Kind::Read, true)),
        Err(Fault::Table {
            place: GuestPhysical(first),
            write: false
        })
    );
}

#[test]
fn an_entry_that_keeps_moving_does_not_hold_the_core() {
    let memory = Words {
        moving: true,
        ..tables(&[P | W | U; 4])
    };
    assert_eq!(
        walk(&registers(), &memory, access(Kind::Read, true)),
        Err(Fault::Contended)
    );
}

/// The manual's rules once more, in its own order and words (SDM volume 3, section 4.6.1 and 4.6.2).
fn manual(registers: &ControlRegisters, flags: &[u64; 4], access: Access) -> Option<u32> {
    let every = |bit| flags.iter().all(|flag| flag & bit != 0);
    let some = |bit| flags.iter().any(|flag| flag & bit != 0);
    let on = |register: u64, bit: u64| register & bit != 0;
    let write_protect = on(registers.cr0, cr0::WRITE_PROTECT);
    let supervisor_address = !every(U);
    let smap = on(registers.cr4, cr4::SUPERVISOR_ACCESS_PREVENTION);
    let smep = on(registers.cr4, cr4::SUPERVISOR_EXECUTION_PREVENTION);
    let key = (flags[3] >> 59 & 15) as u32;
    let keys = on(registers.cr4, cr4::PROTECTION_KEYS) && !supervisor_address;
    let ad = keys && registers.pkru >> (2 * key) & 1 == 1;
    let wd = keys && registers.pkru >> (2 * key + 1) & 1 == 1;
    let key_denies = match access.kind {
        Kind::Execute => false,
        Kind::Read => ad,
        Kind::Write => ad || (wd && (access.user || write_protect)),
    };
    let allowed = match (access.user, access.kind) {
        (false, Kind::Read) => supervisor_address || !smap || access.alignment_check,
        (false, Kind::Write) => {
            (supervisor_address || !smap || access.alignment_check) && (!write_protect || every(W))
        }
        (false, Kind::Execute) => (supervisor_address || !smep) && !some(NX),
        (true, Kind::Read) => !supervisor_address,
        (true, Kind::Write) => !supervisor_address && every(W),
        (true, Kind::Execute) => !supervisor_address && !some(NX),
    };
    if allowed && !key_denies {
        return None;
    }
    let mut code = fault::PRESENT;
    code |= if key_denies { fault::PROTECTION_KEY } else { 0 };
    code |= if access.user { fault::USER } else { 0 };
    code |= match access.kind {
        Kind::Read => 0,
        Kind::Write => fault::WRITE,
        Kind::Execute => fault::FETCH,
    };
    Some(code)
}

fn flags() -> impl Strategy<Value = u64> {
    (prop::bits::u64::masked(W | U | A | D | NX), 0u64..16)
        .prop_map(|(bits, key)| bits | P | key << 59)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]
    #[test]
    fn agrees_with_the_manual(
        flags in [flags(), flags(), flags(), flags()],
        kind in prop::sample::select(vec![Kind::Read, Kind::Write, Kind::Execute]),
        user: bool,
        alignment_check: bool,
        write_protect: bool,
        cr4 in prop::bits::u64::masked(
            cr4::SUPERVISOR_ACCESS_PREVENTION
                | cr4::SUPERVISOR_EXECUTION_PREVENTION
                | cr4::PROTECTION_KEYS,
        ),
        pkru: u32,
    ) {
        let mut registers = ControlRegisters { cr4, pkru, ..registers() };
        if !write_protect {
            registers.cr0 &= !cr0::WRITE_PROTECT;
        }
        let access = Access { kind, user, alignment_check };
        let result = walk(&registers, &tables(&flags), access);
        match manual(&registers, &flags, access) {
            None => prop_assert!(result.is_ok()),
            Some(expected) => prop_assert_eq!(code(result), expected),
        }
    }

    #[test]
    fn protection_keys_are_those_of_the_moment(
        flags in [flags(), flags(), flags(), flags()],
        kind in prop::sample::select(vec![Kind::Read, Kind::Write, Kind::Execute]),
        cr4 in prop::bits::u64::masked(cr4::PROTECTION_KEYS),
        before: u32,
        pkru: u32,
    ) {
        let now = ControlRegisters { cr4, pkru, ..registers() };
        let earlier = ControlRegisters { pkru: before, ..now };
        let regime = Regime::new(&earlier, IMPLEMENTED).unwrap().with_protection_keys(pkru);
        let access = access(kind, true);
        let result = regime.translate(&tables(&flags), GuestVirtual(ADDRESS), access);
        prop_assert_eq!(result, walk(&now, &tables(&flags), access));
    }

    #[test]
    fn random_entries_never_panic(words in proptest::collection::vec(any::<u64>(), 4), five: bool, address: u64) {
        let memory = Words::default();
        for table in 0..4u64 {
            for number in 0..4 {
                memory.words.borrow_mut().insert(table * 4096 + number * 8, words[table as usize] & 0x8fff_0000_0000_3fff);
            }
        }
        let mut registers = registers();
        registers.cr4 |= if five { cr4::FIVE_LEVELS } else { 0 };
        let regime = Regime::new(&registers, IMPLEMENTED).unwrap();
        let _ = regime.translate(&memory, GuestVirtual(address & 0x0180_c060_3fff), access(Kind::Write, true));
    }
}
