//! The shape of an instruction: whether a ModRM byte follows its opcode, and how long its immediate is (APM volume 3,
//! appendix A).

use super::Mode;

/// Which opcode map the opcode byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Map {
    /// One byte.
    Primary,
    /// After 0F, or in map 1 of a vector prefix.
    Secondary,
    /// After 0F 38, or in map 2 of a vector prefix.
    Third,
    /// After 0F 3A, or in map 3 of a vector prefix: always with an immediate byte.
    ThirdImmediate,
    /// Maps 5 and 6 of a vector prefix (half-precision).
    Half,
    /// AMD's maps 8, 9 and A, by the bytes of their immediate.
    Extended(u8),
}

/// How long an immediate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Immediate {
    None,
    Bytes(u8),
    /// As the operand, but at most 4 bytes.
    Operand,
    /// As the operand.
    WholeOperand,
    /// A branch offset: as `Operand`, but always 4 bytes in 64-bit mode.
    Relative,
    /// A selector and an offset.
    FarPointer,
    /// An offset, as long as an address: itself a memory operand.
    Address,
    /// Only if ModRM's register field is 0 or 1 (TEST): this many bytes at most of the operand.
    Test,
}

/// What follows an opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) has_modrm: bool,
    pub(super) immediate: Immediate,
}

const fn plain(immediate: Immediate) -> Shape {
    Shape {
        has_modrm: false,
        immediate,
    }
}

const fn modrm(immediate: Immediate) -> Shape {
    Shape {
        has_modrm: true,
        immediate,
    }
}

/// The shape of `opcode` in `map`.
pub(super) fn shape(map: Map, opcode: u8, mode: Mode) -> Shape {
    match map {
        Map::Primary => primary(opcode, mode),
        Map::Secondary => secondary(opcode),
        Map::Third | Map::Half => modrm(Immediate::None),
        Map::ThirdImmediate => modrm(Immediate::Bytes(1)),
        Map::Extended(0) => modrm(Immediate::None),
        Map::Extended(bytes) => modrm(Immediate::Bytes(bytes)),
    }
}

fn primary(opcode: u8, mode: Mode) -> Shape {
    use Immediate::{Address, Bytes, FarPointer, None, Operand, Relative, Test, WholeOperand};
    match opcode {
        0x00..=0x3f => match opcode & 7 {
            0..=3 => modrm(None),
            4 => plain(Bytes(1)),
            5 => plain(Operand),
            _ => plain(None),
        },
        0x62 | 0x63 | 0x84..=0x8f | 0xc4 | 0xc5 | 0xd0..=0xd3 | 0xd8..=0xdf | 0xfe | 0xff => {
            modrm(None)
        }
        0x69 | 0x81 | 0xc7 => modrm(Operand),
        0x6b | 0x80 | 0x82 | 0x83 | 0xc0 | 0xc1 | 0xc6 => modrm(Bytes(1)),
        0xf6 | 0xf7 => modrm(Test),
        0x68 | 0xa9 => plain(Operand),
        0xe8 | 0xe9 => plain(Relative),
        0x6a | 0x70..=0x7f | 0xa8 | 0xb0..=0xb7 | 0xcd | 0xe0..=0xe7 | 0xeb => plain(Bytes(1)),
        0xd4 | 0xd5 if mode != Mode::Long => plain(Bytes(1)),
        0x9a | 0xea if mode != Mode::Long => plain(FarPointer),
        0xa0..=0xa3 => plain(Address),
        0xb8..=0xbf => plain(WholeOperand),
        0xc2 | 0xca => plain(Bytes(2)),
        0xc8 => plain(Bytes(3)),
        _ => plain(None),
    }
}

fn secondary(opcode: u8) -> Shape {
    match opcode {
        0x04..=0x0c | 0x0e | 0x30..=0x37 | 0x77 | 0xa0..=0xa2 | 0xa8..=0xaa | 0xc8..=0xcf => {
            plain(Immediate::None)
        }
        0x80..=0x8f => plain(Immediate::Relative),
        0x0f | 0x70..=0x73 | 0xa4 | 0xac | 0xba | 0xc2 | 0xc4..=0xc6 => modrm(Immediate::Bytes(1)),
        _ => modrm(Immediate::None),
    }
}
