//! From bytes to [`Instruction`]: prefixes, opcode, ModRM, immediate.

use super::opcode::{Immediate, Map, shape};
use super::{Instruction, LONGEST, Mode};

pub(super) const ES: u8 = 0;
pub(super) const CS: u8 = 1;
pub(super) const SS: u8 = 2;
pub(super) const DS: u8 = 3;
pub(super) const FS: u8 = 4;
pub(super) const GS: u8 = 5;

pub(super) const RBX: u8 = 3;
pub(super) const RSP: u8 = 4;
pub(super) const RBP: u8 = 5;
pub(super) const RSI: u8 = 6;
pub(super) const RDI: u8 = 7;

/// An address expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment it uses if no prefix says otherwise.
    pub(super) segment: u8,
    pub(super) base: Option<u8>,
    /// A register and the power of two to multiply it by.
    pub(super) index: Option<(u8, u8)>,
    pub(super) displacement: i64,
    pub(super) is_short: bool,
    /// Relative to the end of the instruction.
    pub(super) is_relative: bool,
}

struct Cursor<'a> {
    bytes: &'a [u8],
    used: u8,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(usize::from(self.used)).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.used += 1;
        Some(byte)
    }

    /// A little-endian number of so many bytes, sign-extended; of more than eight, the first eight.
    fn number(&mut self, bytes: u8) -> Option<i64> {
        let mut value = 0u64;
        for position in 0..bytes {
            let byte = u64::from(self.next()?);
            if position < 8 {
                value |= byte << (8 * u32::from(position));
            }
        }
        let unused = 64 - 8 * u32::from(bytes.clamp(1, 8));
        Some((value << unused) as i64 >> unused)
    }
}

/// What stands before the opcode, as far as it matters here.
#[derive(Default)]
struct Prefixes {
    operand_size: bool,
    address_size: bool,
    segment: Option<u8>,
    rex: Option<u8>,
    /// It was the 4-byte vector prefix.
    scaled_displacement: bool,
}

impl Prefixes {
    const WIDE: u8 = 8;
    const REGISTER: u8 = 4;
    const INDEX: u8 = 2;
    const BASE: u8 = 1;

    /// What a REX bit adds to a register number.
    fn extension(&self, bit: u8) -> u8 {
        if self.rex.unwrap_or(0) & bit != 0 {
            8
        } else {
            0
        }
    }
}

pub(super) fn decode(bytes: &[u8], mode: Mode) -> Option<Instruction> {
    let mut cursor = Cursor {
        bytes: bytes.get(..LONGEST).unwrap_or(bytes),
        used: 0,
    };
    let mut prefixes = legacy_prefixes(&mut cursor, mode)?;
    let (map, opcode) = match vector_prefix(&mut cursor, mode, &mut prefixes)? {
        Some(map) => (map, cursor.next()?),
        None => escaped(&mut cursor)?,
    };
    let mut instruction = Instruction {
        mode,
        map,
        opcode,
        length: 0,
        operand_size: operand_size(mode, &prefixes),
        address_size: address_size(mode, &prefixes),
        register: 0,
        has_rex: prefixes.rex.is_some(),
        segment: prefixes.segment,
        place: None,
        immediate: 0,
        scaled_displacement: prefixes.scaled_displacement,
    };
    let shape = shape(map, opcode, mode);
    if shape.has_modrm {
        modrm(&mut cursor, &prefixes, &mut instruction)?;
    }
    immediate(&mut cursor, shape.immediate, &mut instruction)?;
    instruction.length = cursor.used;
    Some(instruction)
}

fn legacy_prefixes(cursor: &mut Cursor<'_>, mode: Mode) -> Option<Prefixes> {
    let mut prefixes = Prefixes::default();
    loop {
        let byte = cursor.peek()?;
        match byte {
            0x66 => prefixes.operand_size = true,
            0x67 => prefixes.address_size = true,
            0x64 => prefixes.segment = Some(FS),
            0x65 => prefixes.segment = Some(GS),
            // In 64-bit mode these four are ignored.
            0x26 | 0x2e | 0x36 | 0x3e if mode == Mode::Long => {}
            0x26 => prefixes.segment = Some(ES),
            0x2e => prefixes.segment = Some(CS),
            0x36 => prefixes.segment = Some(SS),
            0x3e => prefixes.segment = Some(DS),
            0xf0 | 0xf2 | 0xf3 => {}
            0x40..=0x4f if mode == Mode::Long => {
                cursor.next()?;
                prefixes.rex = Some(byte);
                // It counts only directly before the opcode.
                if is_legacy_prefix(cursor.peek()?) || cursor.peek()? & 0xf0 == 0x40 {
                    prefixes.rex = None;
                    continue;
                }
                return Some(prefixes);
            }
            _ => return Some(prefixes),
        }
        cursor.next()?;
    }
}

fn is_legacy_prefix(byte: u8) -> bool {
    matches!(
        byte,
        0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
    )
}

/// Takes a VEX, EVEX or XOP prefix and returns its map; `Some(None)` if there is none.
fn vector_prefix(
    cursor: &mut Cursor<'_>,
    mode: Mode,
    prefixes: &mut Prefixes,
) -> Option<Option<Map>> {
    let first = cursor.peek()?;
    if !matches!(first, 0x62 | 0x8f | 0xc4 | 0xc5) {
        return Some(None);
    }
    let second = cursor.bytes.get(usize::from(cursor.used) + 1).copied()?;
    let is_vector = match first {
        // POP with a register field other than 0 would be undefined.
        0x8f => second & 0x1f >= 8,
        // LES, LDS and BOUND take no register.
        _ => mode == Mode::Long || second >= 0xc0,
    };
    if !is_vector {
        return Some(None);
    }
    cursor.next()?;
    cursor.next()?;
    // These bits are stored inverted, and in the order of REX: R, X, B.
    let mut rex = !second >> 5 & 7;
    let map = if first == 0xc5 {
        rex &= Prefixes::REGISTER;
        Map::Secondary
    } else {
        let third = cursor.next()?;
        rex |= third >> 4 & Prefixes::WIDE;
        vector_map(first, second)?
    };
    if first == 0x62 {
        cursor.next()?;
        prefixes.scaled_displacement = true;
    }
    prefixes.rex = (mode == Mode::Long).then_some(rex);
    Some(Some(map))
}

fn vector_map(prefix: u8, byte: u8) -> Option<Map> {
    let number = if prefix == 0x62 {
        byte & 7
    } else {
        byte & 0x1f
    };
    match number {
        1 => Some(Map::Secondary),
        2 => Some(Map::Third),
        3 => Some(Map::ThirdImmediate),
        5 | 6 => Some(Map::Half),
        8 => Some(Map::Extended(1)),
        9 => Some(Map::Extended(0)),
        10 => Some(Map::Extended(4)),
        _ => None,
    }
}

fn escaped(cursor: &mut Cursor<'_>) -> Option<(Map, u8)> {
    let first = cursor.next()?;
    if first != 0x0f {
        return Some((Map::Primary, first));
    }
    Some(match cursor.next()? {
        0x38 => (Map::Third, cursor.next()?),
        0x3a => (Map::ThirdImmediate, cursor.next()?),
        second => (Map::Secondary, second),
    })
}

fn operand_size(mode: Mode, prefixes: &Prefixes) -> u8 {
    if prefixes.rex.unwrap_or(0) & Prefixes::WIDE != 0 {
        return 8;
    }
    if prefixes.operand_size == (mode == Mode::Sixteen) {
        4
    } else {
        2
    }
}

fn address_size(mode: Mode, prefixes: &Prefixes) -> u8 {
    match (mode, prefixes.address_size) {
        (Mode::Long, false) => 8,
        (Mode::Long, true) | (Mode::ThirtyTwo, false) | (Mode::Sixteen, true) => 4,
        (Mode::ThirtyTwo, true) | (Mode::Sixteen, false) => 2,
    }
}

fn modrm(
    cursor: &mut Cursor<'_>,
    prefixes: &Prefixes,
    instruction: &mut Instruction,
) -> Option<()> {
    let byte = cursor.next()?;
    let (form, register, memory) = (byte >> 6, byte >> 3 & 7, byte & 7);
    instruction.register = register | prefixes.extension(Prefixes::REGISTER);
    // Moves to and from control and debug registers name a register whatever the form says.
    let is_control = instruction.map == Map::Secondary && matches!(instruction.opcode, 0x20..=0x23);
    if form == 3 || is_control {
        return Some(());
    }
    let place = if instruction.address_size == 2 {
        short_place(cursor, form, memory)?
    } else {
        place(cursor, prefixes, instruction.mode, form, memory)?
    };
    instruction.place = Some(place);
    Some(())
}

/// The form with 16-bit addresses (APM volume 3, table A-36).
fn short_place(cursor: &mut Cursor<'_>, form: u8, memory: u8) -> Option<Place> {
    let (base, index) = match memory {
        0 => (Some(RBX), Some((RSI, 0))),
        1 => (Some(RBX), Some((RDI, 0))),
        2 => (Some(RBP), Some((RSI, 0))),
        3 => (Some(RBP), Some((RDI, 0))),
        4 => (Some(RSI), None),
        5 => (Some(RDI), None),
        6 if form == 0 => (None, None),
        6 => (Some(RBP), None),
        _ => (Some(RBX), None),
    };
    let bytes = match form {
        0 if base.is_none() => 2,
        0 => 0,
        form => form,
    };
    Some(Place {
        segment: if base == Some(RBP) { SS } else { DS },
        base,
        index,
        displacement: cursor.number(bytes)?,
        is_short: form == 1,
        is_relative: false,
    })
}

/// The form with 32- or 64-bit addresses.
fn place(
    cursor: &mut Cursor<'_>,
    prefixes: &Prefixes,
    mode: Mode,
    form: u8,
    memory: u8,
) -> Option<Place> {
    let mut place = Place {
        segment: DS,
        ..Place::default()
    };
    let mut base = memory;
    if memory == RSP {
        let byte = cursor.next()?;
        let index = byte >> 3 & 7 | prefixes.extension(Prefixes::INDEX);
        place.index = (index != RSP).then_some((index, byte >> 6));
        base = byte & 7;
    }
    let has_base = form != 0 || base != RBP;
    if has_base {
        place.base = Some(base | prefixes.extension(Prefixes::BASE));
        if matches!(place.base, Some(RSP | RBP)) {
            place.segment = SS;
        }
    } else {
        place.is_relative = memory == RBP && mode == Mode::Long;
    }
    let bytes = match form {
        1 => 1,
        2 => 4,
        _ if has_base => 0,
        _ => 4,
    };
    place.displacement = cursor.number(bytes)?;
    place.is_short = form == 1;
    Some(place)
}

fn immediate(
    cursor: &mut Cursor<'_>,
    immediate: Immediate,
    instruction: &mut Instruction,
) -> Option<()> {
    let operand = instruction.operand_size.min(4);
    let bytes = match immediate {
        Immediate::None => 0,
        Immediate::Bytes(bytes) => bytes,
        Immediate::Operand => operand,
        Immediate::WholeOperand => instruction.operand_size,
        Immediate::Relative if instruction.mode == Mode::Long => 4,
        Immediate::Relative => operand,
        Immediate::FarPointer => operand + 2,
        Immediate::Address => {
            return direct_offset(cursor, instruction);
        }
        Immediate::Test if instruction.register & 7 > 1 => 0,
        Immediate::Test if instruction.opcode & 1 == 0 => 1,
        Immediate::Test => operand,
    };
    instruction.immediate = cursor.number(bytes)? as u64;
    Some(())
}

/// The offset of `mov al, [offset]` and its like.
fn direct_offset(cursor: &mut Cursor<'_>, instruction: &mut Instruction) -> Option<()> {
    instruction.place = Some(Place {
        segment: DS,
        displacement: cursor.number(instruction.address_size)?,
        ..Place::default()
    });
    Some(())
}
