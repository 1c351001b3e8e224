//! What a guest's instruction touches in memory, for the two cases in which the hardware does not say.
//!
//! - A *device page* (the local APIC) is mapped so that stores, or all accesses, fault: [`Instruction::transfer`] says
//!   what a plain move would have moved, so that the monitor can do it instead.
//! - A *nested fault* names a guest-physical page only: [`Instruction::touched`] lists the linear addresses that the
//!   instruction uses, explicitly or implicitly, among which the caller finds the one that leads to that page.
//!
//! The decoder knows the shape of every instruction (prefixes, opcode map, ModRM, immediate) but not what each one is
//! called. Where a size or an offset depends on more than the shape, `touched` lists too much rather than too little:
//! an address that is not used does not translate to the page that faulted, or else it is an alias of it, which serves
//! as well. So nothing depends on the list being exact, and nothing in it is trusted.
//!
//! No byte sequence makes it panic, and none takes it longer than 15 bytes take.

mod decode;
mod enclave;
mod opcode;
mod plain;
mod touched;

#[cfg(test)]
mod tests;

pub use touched::{State, Touched, TouchedList};

use decode::Place;
use opcode::Map;

/// The longest instruction, in bytes.
pub const LONGEST: usize = 15;

/// What the code segment says about sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 64-bit mode.
    Long,
    /// 32-bit code, in protected or compatibility mode.
    ThirtyTwo,
    /// 16-bit code, in real or protected mode.
    Sixteen,
}

/// A general-purpose register as a byte, word, double or quad operand names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// Its number: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub number: u8,
    /// Bits 15 to 8 of it (AH, CH, DH, BH).
    pub high_byte: bool,
}

/// Where a plain move gets or puts its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From memory to the register (a 4-byte load clears the register's upper half).
    Load(Register),
    /// From the register to memory.
    Store(Register),
    /// This value to memory.
    StoreImmediate(u64),
    /// Both ways at once.
    Exchange(Register),
}

/// A plain move between memory and a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What goes where.
    pub direction: Direction,
    /// Bytes moved: 1, 2, 4 or 8.
    pub width: u8,
}

/// A decoded instruction.
#[derive(Clone, Copy, Debug)]
pub struct Instruction {
    mode: Mode,
    map: Map,
    opcode: u8,
    length: u8,
    operand_size: u8,
    address_size: u8,
    /// The ModRM byte's register field, extended.
    register: u8,
    /// Whether it names a low byte register where it could mean a high one.
    has_rex: bool,
    /// A segment override that counts.
    segment: Option<u8>,
    /// The memory operand that ModRM or a direct offset names.
    place: Option<Place>,
    /// The first eight bytes of immediate.
    immediate: u64,
    /// Encoded with a vector prefix of 4 bytes: a short displacement is in units that the shape does not tell.
    scaled_displacement: bool,
}

impl Instruction {
    /// Decodes the instruction that `bytes` starts with; `None` if they end before it does or are no instruction.
    #[must_use]
    pub fn decode(bytes: &[u8], mode: Mode) -> Option<Self> {
        decode::decode(bytes, mode)
    }

    /// Its length in bytes.
    #[must_use]
    pub fn length(&self) -> u8 {
        self.length
    }

    /// What it moves, if it is one of the plain moves between a register or immediate and memory (MOV, XCHG).
    #[must_use]
    pub fn transfer(&self) -> Option<Transfer> {
        let is_byte = self.opcode & 1 == 0;
        let width = if is_byte { 1 } else { self.operand_size };
        let high_byte = is_byte && !self.has_rex && (4..8).contains(&self.register);
        let register = Register {
            number: if high_byte {
                self.register - 4
            } else {
                self.register
            },
            high_byte,
        };
        let accumulator = Register {
            number: 0,
            high_byte: false,
        };
        let first = self.register & 7 == 0;
        let direction = match (self.map, self.opcode) {
            (Map::Primary, 0x86 | 0x87) => Direction::Exchange(register),
            (Map::Primary, 0x88 | 0x89) => Direction::Store(register),
            (Map::Primary, 0x8a | 0x8b) => Direction::Load(register),
            (Map::Primary, 0xa0 | 0xa1) => Direction::Load(accumulator),
            (Map::Primary, 0xa2 | 0xa3) => Direction::Store(accumulator),
            (Map::Primary, 0xc6 | 0xc7) if first => {
                let unused = 64 - 8 * u32::from(width);
                Direction::StoreImmediate(self.immediate << unused >> unused)
            }
            _ => return None,
        };
        self.place
            .is_some()
            .then_some(Transfer { direction, width })
    }
}
