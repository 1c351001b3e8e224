//! The sleep states: which value of SLP_TYP means which, found in the DSDT's byte code.
//!
//! The packages `\_S1_` to `\_S5_` are constants that firmware declares with plain literals (ACPI 6.5, section 7.4.2),
//! so that a search for their declaration does, and the monitor needs no interpreter.

use super::table::{HEADER_SIZE, Table};
use super::{AcpiError, PhysicalMemory, Tables};

const NAME: u8 = 0x08;
const ROOT: u8 = b'\\';
const PACKAGE: u8 = 0x12;
const ZERO: u8 = 0x00;
const ONE: u8 = 0x01;
const BYTE: u8 = 0x0a;
const WORD: u8 = 0x0b;
const DOUBLE: u8 = 0x0c;

/// A sleep state with a package of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SleepState {
    /// Light sleep.
    S1,
    /// Light sleep with the processors off.
    S2,
    /// Suspend to memory.
    S3,
    /// Suspend to disk.
    S4,
    /// Power off.
    S5,
}

/// What SLP_TYP must hold to reach a state: three bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepType {
    /// For PM1a control.
    pub a: u8,
    /// For PM1b control.
    pub b: u8,
}

impl<M: PhysicalMemory> Tables<'_, M> {
    /// The values for `state`, or `None` if the DSDT declares no such state.
    ///
    /// # Errors
    /// If the FADT or the DSDT is missing or malformed.
    pub fn sleep_type(&self, state: SleepState) -> Result<Option<SleepType>, AcpiError> {
        let address = self.fixed()?.dsdt.ok_or(AcpiError::Missing(*b"DSDT"))?;
        let table = Table::open(address, *b"DSDT", self.memory)?;
        let name = match state {
            SleepState::S1 => b"_S1_",
            SleepState::S2 => b"_S2_",
            SleepState::S3 => b"_S3_",
            SleepState::S4 => b"_S4_",
            SleepState::S5 => b"_S5_",
        };
        Ok(search(&table, self.memory, name))
    }
}

fn search(table: &Table, memory: &impl PhysicalMemory, name: &[u8; 4]) -> Option<SleepType> {
    let mut window = [0; 4];
    for offset in HEADER_SIZE..table.length() {
        let [_, b, c, d] = window;
        window = [b, c, d, table.byte(memory, offset)?];
        if &window == name
            && let Some(found) = declaration(table, memory, offset - 3)
        {
            return Some(found);
        }
    }
    None
}

/// Parses `Name (_Sx, Package () { a, b, … })` whose name segment stands at `name`.
fn declaration(table: &Table, memory: &impl PhysicalMemory, name: u32) -> Option<SleepType> {
    let mut before = name - 1;
    if table.byte(memory, before)? == ROOT {
        before -= 1;
    }
    let mut code = Code {
        table,
        memory,
        offset: name + 4,
    };
    if table.byte(memory, before)? != NAME || code.next()? != PACKAGE {
        return None;
    }
    // The two top bits of a package length's first byte count the bytes that follow it (section 20.2.4).
    let further = code.next()? >> 6;
    code.offset += u32::from(further);
    if code.next()? < 2 {
        return None;
    }
    Some(SleepType {
        a: code.sleep_value()?,
        b: code.sleep_value()?,
    })
}

struct Code<'a, M> {
    table: &'a Table,
    memory: &'a M,
    offset: u32,
}

impl<M: PhysicalMemory> Code<'_, M> {
    fn next(&mut self) -> Option<u8> {
        let byte = self.table.byte(self.memory, self.offset)?;
        self.offset += 1;
        Some(byte)
    }

    /// An integer literal that fits SLP_TYP.
    fn sleep_value(&mut self) -> Option<u8> {
        let (value, rest) = match self.next()? {
            ZERO => (0, 0),
            ONE => (1, 0),
            BYTE => (self.next()?, 0),
            WORD => (self.next()?, 1),
            DOUBLE => (self.next()?, 3),
            _ => return None,
        };
        for _ in 0..rest {
            if self.next()? != 0 {
                return None;
            }
        }
        (value < 8).then_some(value)
    }
}
