//! Which linear addresses an instruction uses.

use arrayvec::ArrayVec;

use super::decode::{DS, ES, FS, Place, RBP, RBX, RDI, RSI, RSP, SS};
use super::opcode::Map;
use super::{Instruction, Mode};
use crate::address::GuestVirtual;

/// The registers that addresses are made of.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub general: &'a [u64; 16],
    /// RIP, of this instruction.
    pub instruction_pointer: u64,
    /// The bases of ES, CS, SS, DS, FS, GS; of which 64-bit mode uses the last two.
    pub segment_bases: [u64; 6],
}

/// A range that the instruction uses, or may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Where it starts.
    pub address: GuestVirtual,
    /// Its length in bytes, or more.
    pub size: u32,
}

/// All that an instruction touches: at most an explicit place (in seven scales), and two implicit ones.
pub type TouchedList = ArrayVec<Touched, 10>;

/// Bytes of the largest state that XSAVE and its kin store, taken generously.
const STATE_SIZE: u32 = 12 << 10;

/// What an instruction without ModRM memory operand, or beside it, touches.
enum Implicit {
    Nothing,
    /// Below the stack pointer.
    Push,
    /// At the stack pointer.
    Pop,
    Enter,
    Leave,
    /// At RSI.
    Source,
    /// At RDI, always in ES.
    Destination,
    SourceAndDestination,
    Table,
    /// At RDI, in a segment of choice.
    MaskedStore,
    ZeroedLine,
    /// At the register that ModRM names, in ES.
    RegisterLine,
}

impl Instruction {
    /// The addresses that it uses with these register values.
    #[must_use]
    pub fn touched(&self, state: &State<'_>) -> TouchedList {
        let mut list = TouchedList::new();
        self.explicit(state, &mut list);
        self.implicit(state, &mut list);
        list
    }

    /// Whether it gathers or scatters: addresses then come out of a vector register, and `touched` does not list them.
    #[must_use]
    pub fn has_vector_addresses(&self) -> bool {
        let gathers = matches!(self.opcode, 0x90..=0x93 | 0xa0..=0xa3 | 0xc6 | 0xc7);
        self.map == Map::Third && gathers && self.place.is_some()
    }

    fn explicit(&self, state: &State<'_>, list: &mut TouchedList) {
        let Some(place) = self.place else {
            return;
        };
        if self.only_computes() || self.has_vector_addresses() {
            return;
        }
        let size = self.explicit_size();
        let scales = if self.scaled_displacement && place.is_short {
            7
        } else {
            1
        };
        for scale in 0..scales {
            let offset = self.offset(state, &place, place.displacement << scale);
            push(list, self.linear(state, place.segment, offset), size);
        }
    }

    /// Whether the memory operand is only an address: LEA, INVLPG, prefetches and the long NOPs.
    fn only_computes(&self) -> bool {
        match (self.map, self.opcode) {
            (Map::Primary, 0x8d) | (Map::Secondary, 0x0d | 0x18..=0x1f) => true,
            (Map::Secondary, 0x01) => self.register & 7 == 7,
            _ => false,
        }
    }

    /// At least the size of the memory operand.
    fn explicit_size(&self) -> u32 {
        match (self.map, self.opcode) {
            // The x87 state.
            (Map::Primary, 0xd8..=0xdf) => 108,
            (Map::Primary, _) => 16,
            (Map::Secondary, 0xae | 0xc7) => STATE_SIZE,
            _ => 64,
        }
    }

    /// The offset in its segment that `place` comes to.
    fn offset(&self, state: &State<'_>, place: &Place, displacement: i64) -> u64 {
        let base = place.base.map_or(0, |base| register(state, base));
        let index = place
            .index
            .map_or(0, |(index, scale)| register(state, index) << scale);
        let start = if place.is_relative {
            state.instruction_pointer.wrapping_add(self.length.into())
        } else {
            0
        };
        let sum = start
            .wrapping_add(base)
            .wrapping_add(index)
            .wrapping_add(displacement as u64)
            .wrapping_add(self.bit_offset(state))
            .wrapping_add(self.popped(place));
        truncate(sum, self.address_size)
    }

    /// BT and its kin with a bit number in a register reach beyond their operand.
    fn bit_offset(&self, state: &State<'_>) -> u64 {
        if self.map != Map::Secondary || !matches!(self.opcode, 0xa3 | 0xab | 0xb3 | 0xbb) {
            return 0;
        }
        let unused = 64 - 8 * u32::from(self.operand_size);
        let bit = (register(state, self.register) << unused) as i64 >> unused;
        let bytes = i64::from(self.operand_size);
        (bit.div_euclid(8 * bytes) * bytes) as u64
    }

    /// POP into memory computes its address with the stack pointer already moved.
    fn popped(&self, place: &Place) -> u64 {
        let pops = self.map == Map::Primary && self.opcode == 0x8f;
        if pops && place.base == Some(RSP) {
            self.stack_width()
        } else {
            0
        }
    }

    /// The linear address of an offset in the segment that a prefix or else `segment` names.
    fn linear(&self, state: &State<'_>, segment: u8, offset: u64) -> u64 {
        self.linear_in(state, self.segment.unwrap_or(segment), offset)
    }

    fn linear_in(&self, state: &State<'_>, segment: u8, offset: u64) -> u64 {
        let has_base = self.mode != Mode::Long || segment >= FS;
        let base = state
            .segment_bases
            .get(usize::from(segment))
            .filter(|_| has_base);
        let sum = offset.wrapping_add(base.copied().unwrap_or(0));
        if self.mode == Mode::Long {
            sum
        } else {
            truncate(sum, 4)
        }
    }

    /// Bytes of one stack slot.
    fn stack_width(&self) -> u64 {
        match (self.mode, self.operand_size) {
            (_, 2) => 2,
            (Mode::Long, _) => 8,
            _ => 4,
        }
    }

    fn implicit(&self, state: &State<'_>, list: &mut TouchedList) {
        let pointer = |number| truncate(register(state, number), self.address_size);
        let stack = |offset: u64| {
            let size = match self.mode {
                Mode::Long => 8,
                Mode::ThirtyTwo => 4,
                Mode::Sixteen => 2,
            };
            self.linear_in(state, SS, truncate(offset, size))
        };
        let source = self.linear(state, DS, pointer(RSI));
        let destination = self.linear_in(state, ES, pointer(RDI));
        match self.implied() {
            Implicit::Nothing => {}
            // At most PUSHA's eight slots; at most the five slots of IRET or POPA's eight short ones.
            Implicit::Push => push(list, stack(register(state, RSP).wrapping_sub(32)), 32),
            Implicit::Pop => push(list, stack(register(state, RSP)), 40),
            Implicit::Enter => {
                // The nesting level, up to 31, is how many slots it copies.
                push(list, stack(register(state, RSP).wrapping_sub(264)), 264);
                push(list, stack(register(state, RBP).wrapping_sub(256)), 256);
            }
            Implicit::Leave => push(list, stack(register(state, RBP)), 8),
            Implicit::Source => push(list, source, 8),
            Implicit::Destination => push(list, destination, 8),
            Implicit::SourceAndDestination => {
                push(list, source, 8);
                push(list, destination, 8);
            }
            Implicit::Table => {
                let offset = register(state, RBX).wrapping_add(register(state, 0) & 0xff);
                let offset = truncate(offset, self.address_size);
                push(list, self.linear(state, DS, offset), 1);
            }
            Implicit::MaskedStore => push(list, self.linear(state, DS, pointer(RDI)), 16),
            Implicit::ZeroedLine => push(list, self.linear(state, DS, pointer(0) & !63), 64),
            Implicit::RegisterLine => {
                push(list, self.linear_in(state, ES, pointer(self.register)), 64);
            }
        }
    }

    fn implied(&self) -> Implicit {
        let has_place = self.place.is_some();
        match self.map {
            Map::Primary => self.implied_by_primary(),
            Map::Secondary => match self.opcode {
                0xa0 | 0xa8 => Implicit::Push,
                0xa1 | 0xa9 => Implicit::Pop,
                0xf7 if !has_place => Implicit::MaskedStore,
                // CLZERO and its neighbours in this group, which use RAX as an address if any.
                0x01 if !has_place && self.register & 7 == 7 => Implicit::ZeroedLine,
                _ => Implicit::Nothing,
            },
            // MOVDIR64B, ENQCMD.
            Map::Third if self.opcode == 0xf8 && has_place => Implicit::RegisterLine,
            _ => Implicit::Nothing,
        }
    }

    fn implied_by_primary(&self) -> Implicit {
        match self.opcode {
            0x06 | 0x0e | 0x16 | 0x1e | 0x50..=0x57 | 0x60 | 0x68 | 0x6a | 0x9a | 0x9c | 0xe8 => {
                Implicit::Push
            }
            0x07
            | 0x17
            | 0x1f
            | 0x58..=0x5f
            | 0x61
            | 0x8f
            | 0x9d
            | 0xc2
            | 0xc3
            | 0xca
            | 0xcb
            | 0xcf => Implicit::Pop,
            0xff if matches!(self.register & 7, 2 | 3 | 6) => Implicit::Push,
            0x6c | 0x6d | 0xaa | 0xab | 0xae | 0xaf => Implicit::Destination,
            0x6e | 0x6f | 0xac | 0xad => Implicit::Source,
            0xa4..=0xa7 => Implicit::SourceAndDestination,
            0xc8 => Implicit::Enter,
            0xc9 => Implicit::Leave,
            0xd7 => Implicit::Table,
            _ => Implicit::Nothing,
        }
    }
}

fn push(list: &mut TouchedList, address: u64, size: u32) {
    // The list is as long as the longest case; a range too many would be dropped, not fatal.
    let _ = list.try_push(Touched {
        address: GuestVirtual(address),
        size,
    });
}

fn register(state: &State<'_>, number: u8) -> u64 {
    state.general.get(usize::from(number)).copied().unwrap_or(0)
}

fn truncate(value: u64, bytes: u8) -> u64 {
    match bytes {
        2 => value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    }
}
