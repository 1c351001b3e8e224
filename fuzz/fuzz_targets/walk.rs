//! Walks through page tables that a guest wrote, while another of its cores may write them.
#![no_main]

use std::cell::RefCell;

use adyton_monitor::address::{GuestPhysical, GuestVirtual};
use adyton_monitor::guest::walk::{
    Access, ControlRegisters, Denied, GuestMemory, Implemented, Kind, Regime,
};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    registers: [u64; 4],
    keys: u32,
    bits: u8,
    gigabyte_pages: bool,
    address: u64,
    access: u8,
    /// Words of tables; every table that is asked for is among them.
    words: Vec<u64>,
    /// Changes of other cores: how many reads until one happens.
    races: Vec<u8>,
}

struct Tables {
    words: RefCell<Vec<u64>>,
    races: RefCell<Vec<u8>>,
    looks: RefCell<u32>,
}

impl Tables {
    /// Where the word is kept: the guest has as much memory as the input has words.
    fn index(&self, place: GuestPhysical) -> Result<usize, Denied> {
        assert!(place.0.is_multiple_of(8), "an entry is aligned");
        let count = self.words.borrow().len() as u64;
        if count == 0 {
            return Err(Denied);
        }
        Ok(((place.0 / 8) % count) as usize)
    }

    fn look(&self, index: usize) {
        *self.looks.borrow_mut() += 1;
        assert!(*self.looks.borrow() < 400, "a walk does not end");
        if let Some(race) = self.races.borrow_mut().pop() {
            self.words.borrow_mut()[index] ^= 1 << (race % 64);
        }
    }
}

impl GuestMemory for Tables {
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        let index = self.index(place)?;
        let word = self.words.borrow()[index];
        self.look(index);
        Ok(word)
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        let index = self.index(place)?;
        let mut words = self.words.borrow_mut();
        let same = words[index] == old;
        if same {
            words[index] = new;
        }
        drop(words);
        self.look(index);
        Ok(same)
    }
}

fuzz_target!(|input: Input| {
    let [cr0, cr3, cr4, efer] = input.registers;
    let registers = ControlRegisters {
        cr0,
        cr3,
        cr4,
        efer,
        pkru: input.keys,
    };
    let bits = 32 + u32::from(input.bits % 21);
    let implemented = Implemented {
        physical_address_bits: bits,
        gigabyte_pages: input.gigabyte_pages,
    };
    let Some(regime) = Regime::new(&registers, implemented) else {
        return;
    };
    let tables = Tables {
        words: RefCell::new(input.words),
        races: RefCell::new(input.races),
        looks: RefCell::new(0),
    };
    let access = Access {
        kind: match input.access % 3 {
            0 => Kind::Read,
            1 => Kind::Write,
            _ => Kind::Execute,
        },
        user: input.access & 4 != 0,
        alignment_check: input.access & 8 != 0,
    };
    let address = GuestVirtual(input.address);
    if let Ok(translation) = regime.translate(&tables, address, access) {
        assert_eq!(translation.address.0 & 4095, input.address & 4095);
        assert_eq!(translation.address.0 >> bits, 0, "behind the end of memory");
        assert!([1 << 12, 1 << 21, 1 << 30].contains(&translation.page_size));
    }
});
