//! A guest's memory as far as its own nested rights reach, for walks and instruction fetches on its behalf.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::address::{GuestPhysical, GuestVirtual};
use crate::frames::FRAMES;
use crate::guest::instruction::{Instruction, LONGEST, Mode};
use crate::guest::walk::{
    Access, ControlRegisters, Denied, Fault, GuestMemory, Implemented, Kind, Regime,
};
use crate::machine;
use crate::nested::{Rights, View};
use crate::vcpu::Vcpu;

/// The memory that these nested tables show.
#[derive(Clone, Copy, Debug)]
pub struct NestedMemory(pub View);

impl NestedMemory {
    /// The host's address of the 8-byte word at `place`, if the guest has `rights` there and it is memory.
    #[inline]
    fn word(&self, place: GuestPhysical, rights: Rights) -> Result<&AtomicU64, Denied> {
        let translation = self
            .0
            .translate(&FRAMES, place.align_down(8))
            .ok_or(Denied)?;
        let address = translation.address.value();
        // Devices are not read on a guest's behalf: that could have effects. They lie outside of what is RAM.
        if !translation.rights.contains(rights) || !machine::get().layout.is_memory(address) {
            return Err(Denied);
        }
        // SAFETY: RAM, mapped one to one, aligned; the guest may change it at any time, hence atomic.
        Ok(unsafe { &*(address as *const AtomicU64) })
    }
}

impl GuestMemory for NestedMemory {
    #[inline]
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        self.word(place, Rights::READ)
            .map(|word| word.load(Ordering::Relaxed))
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        let word = self.word(place, Rights::READ_WRITE)?;
        Ok(word
            .compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok())
    }
}

impl Vcpu {
    /// The rules of its address space; `None` if it does not page in long mode.
    #[inline]
    #[must_use]
    pub fn regime(&self) -> Option<Regime> {
        let machine = machine::get();
        let registers = ControlRegisters {
            cr0: self.cr0(),
            cr3: self.cr3(),
            cr4: self.cr4(),
            efer: self.efer(),
            pkru: self.protection_keys(),
        };
        let implemented = Implemented {
            physical_address_bits: machine.physical_bits,
            gigabyte_pages: machine.gigabyte_pages,
        };
        Regime::new(&registers, implemented)
    }

    /// Ends an instruction whose opcode begins with 0F and which has `length` bytes without prefixes: RIP moves behind it,
    /// prefixes included.
    pub fn advance_past(&mut self, memory: NestedMemory, length: u64) {
        const TWO_BYTE_OPCODES: u8 = 0x0f;
        let known = self.next_rip().is_some()
            || self
                .first_byte(memory)
                .is_none_or(|byte| byte == TWO_BYTE_OPCODES);
        let length = if known {
            length
        } else {
            self.fetch(memory)
                .map_or(length, |instruction| instruction.length().into())
        };
        self.advance(length);
    }

    /// The byte at RIP, in 64-bit mode.
    fn first_byte(&self, memory: NestedMemory) -> Option<u8> {
        let regime = self.regime().filter(|_| self.is_64_bit())?;
        let access = self.fetch_access();
        let place = regime
            .translate(&memory, GuestVirtual(self.rip()), access)
            .ok()?
            .address;
        let word = memory.read_entry(place).ok()?;
        Some((word >> (8 * (place.0 % 8))) as u8)
    }

    fn fetch_access(&self) -> Access {
        Access {
            kind: Kind::Execute,
            user: self.cpl() == 3,
            alignment_check: false,
        }
    }

    /// The instruction at its RIP.
    ///
    /// # Errors
    /// Why it cannot be fetched: another core may have changed the tables since the CPU fetched it.
    pub fn fetch(&self, memory: NestedMemory) -> Result<Instruction, FetchError> {
        let mode = match self.code_bits() {
            64 => Mode::Long,
            32 => Mode::ThirtyTwo,
            _ => Mode::Sixteen,
        };
        let regime = self.regime().ok_or(FetchError::NotLongMode)?;
        let base = if mode == Mode::Long {
            0
        } else {
            self.segment_base(1)
        };
        let start = GuestVirtual(base.wrapping_add(self.rip()));
        let access = self.fetch_access();
        let mut bytes = [0; LONGEST];
        let mut fetched = 0;
        let mut place = regime
            .translate(&memory, start, access)
            .map_err(FetchError::Walk)?
            .address;
        for (offset, byte) in bytes.iter_mut().enumerate() {
            if offset > 0 && place.page_offset() == 0 {
                let address = GuestVirtual(start.0.wrapping_add(offset as u64));
                // An instruction that ends before the page does needs no next one.
                let Ok(next) = regime.translate(&memory, address, access) else {
                    break;
                };
                place = next.address;
            }
            let Ok(word) = memory.read_entry(place) else {
                break;
            };
            *byte = (word >> (8 * (place.0 % 8))) as u8;
            place.0 += 1;
            fetched += 1;
        }
        let bytes = bytes.get(..fetched).unwrap_or(&[]);
        Instruction::decode(bytes, mode).ok_or(FetchError::NoInstruction)
    }
}

/// Why an instruction cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Only long mode's tables are walked.
    NotLongMode,
    /// There is no translation.
    Walk(Fault),
    /// The bytes are none.
    NoInstruction,
}
