//! Fetching the instruction that a vCPU is at, through its own tables and no further than its nested rights.

use super::instruction::{Instruction, LONGEST, Mode};
use super::walk::{Access, ControlRegisters, Fault, GuestMemory, Implemented, Kind, Regime};
use crate::address::GuestVirtual;
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
        let [byte] = self.is_64_bit().then(|| self.bytes_at_rip())??;
        Some(byte)
    }

    /// The first bytes of the instruction at its RIP; `None` where they cannot be read.
    #[must_use]
    pub fn bytes_at_rip<const COUNT: usize>(&self) -> Option<[u8; COUNT]> {
        let (bytes, count) = self.code().ok()?;
        (count == COUNT).then_some(bytes)
    }

    /// The instruction at its RIP.
    ///
    /// # Errors
    /// Why it cannot be fetched: another core may have changed the tables since the CPU fetched it.
    pub fn fetch(&self) -> Result<Instruction, FetchError> {
        let mode = match self.code_bits() {
            64 => Mode::Long,
            32 => Mode::ThirtyTwo,
            _ => Mode::Sixteen,
        };
        let (bytes, count) = self.code::<LONGEST>()?;
        let bytes = bytes.get(..count).unwrap_or(&[]);
        Instruction::decode(bytes, mode).ok_or(FetchError::NoInstruction)
    }

    /// Bytes from RIP on, and how many of them there are: an instruction that ends before a page does needs no next one.
    fn code<const COUNT: usize>(&self) -> Result<([u8; COUNT], usize), FetchError> {
        let memory = CallerMemory::new(self);
        let regime = self.regime().ok_or(FetchError::NotLongMode)?;
        let base = if self.is_64_bit() {
            0
        } else {
            self.segment_base(1)
        };
        let start = base.wrapping_add(self.rip());
        let access = Access {
            kind: Kind::Execute,
            user: self.cpl() == 3,
            alignment_check: false,
        };
        let mut place = regime
            .translate(&memory, GuestVirtual(start), access)
            .map_err(FetchError::Walk)?
            .address;
        let mut bytes = [0; COUNT];
        let mut word = 0;
        for (offset, byte) in bytes.iter_mut().enumerate() {
            if offset > 0 && place.page_offset() == 0 {
                let address = GuestVirtual(start.wrapping_add(offset as u64));
                let Ok(next) = regime.translate(&memory, address, access) else {
                    return Ok((bytes, offset));
                };
                place = next.address;
            }
            if offset == 0 || place.0.is_multiple_of(8) {
                let Ok(read) = memory.read_entry(place) else {
                    return Ok((bytes, offset));
                };
                word = read;
            }
            *byte = (word >> (8 * (place.0 % 8))) as u8;
            place.0 += 1;
        }
        Ok((bytes, COUNT))
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
