//! Fetching the instruction that a vCPU is at, through its own tables and no further than its nested rights.

use super::instruction::{Instruction, LONGEST, Mode};
use super::walk::{Access, ControlRegisters, Fault, GuestMemory, Implemented, Kind, Regime};
use crate::address::{GuestPhysical, GuestVirtual};
use crate::domain::memory::CallerMemory;
use crate::machine;
use crate::vcpu::Vcpu;

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
    pub fn advance_past(&mut self, length: u64) {
        const TWO_BYTE_OPCODES: u8 = 0x0f;
        let known = self.next_rip().is_some()
            || self
                .first_byte()
                .is_none_or(|byte| byte == TWO_BYTE_OPCODES);
        let length = if known {
            length
        } else {
            self.fetch()
                .map_or(length, |instruction| instruction.length().into())
        };
        self.advance(length);
    }

    /// The byte at RIP, in 64-bit mode.
    fn first_byte(&self) -> Option<u8> {
        let memory = CallerMemory::new(self);
        let regime = self.regime().filter(|_| self.is_64_bit())?;
        let access = self.fetch_access();
        let place = regime
            .translate(&memory, GuestVirtual(self.rip()), access)
            .ok()?
            .address;
        let word = memory.read_entry(place).ok()?;
        Some((word >> (8 * (place.0 % 8))) as u8)
    }

    /// The first bytes of the instruction at its RIP; `None` where they cannot be read.
    #[must_use]
    pub fn bytes_at_rip<const COUNT: usize>(&self) -> Option<[u8; COUNT]> {
        let memory = CallerMemory::new(self);
        let regime = self.regime()?;
        let base = if self.is_64_bit() {
            0
        } else {
            self.segment_base(1)
        };
        let start = base.wrapping_add(self.rip());
        let mut bytes = [0; COUNT];
        let mut place = None;
        let mut word = 0;
        for (byte, offset) in bytes.iter_mut().zip(0..) {
            let address = GuestVirtual(start.wrapping_add(offset));
            let here = match place {
                Some(GuestPhysical(last)) if address.0 & 0xfff != 0 => GuestPhysical(last + 1),
                _ => {
                    regime
                        .translate(&memory, address, self.fetch_access())
                        .ok()?
                        .address
                }
            };
            if place.is_none() || here.0.is_multiple_of(8) {
                word = memory.read_entry(here).ok()?;
            }
            *byte = (word >> (8 * (here.0 % 8))) as u8;
            place = Some(here);
        }
        Some(bytes)
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
    pub fn fetch(&self) -> Result<Instruction, FetchError> {
        let memory = CallerMemory::new(self);
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
