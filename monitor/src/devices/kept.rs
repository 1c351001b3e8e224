//! What stood in the headers of bus 0 when things in the machine were frozen last: a function that is given away is judged by it, and it alone
//! may be put back while things are frozen, as after a reset of a function. So nothing comes to lie where it was not judged.

use core::sync::atomic::{AtomicU32, Ordering};

use adyton_x86::pci::register;

use super::configuration::Configuration;
use super::permission::Write;
use super::registers::FUNCTIONS;

/// Registers from the one that says which kind of header it is: those behind decide about addresses, or stand between such.
const REGISTERS: usize = (register::FIRST_OWN - register::HEADER) as usize / 4;

/// Of each function of bus 0, these registers; 0 for a function that was not there.
pub(super) struct Kept([[AtomicU32; REGISTERS]; FUNCTIONS]);

/// Those of the machine.
pub(super) static KEPT: Kept = Kept::nothing();

impl Kept {
    pub(super) const fn nothing() -> Self {
        Self([const { [const { AtomicU32::new(0) }; REGISTERS] }; FUNCTIONS])
    }

    /// Notes what stands there.
    pub(super) fn keep(&self, space: &impl Configuration) {
        for (function, registers) in (0..).zip(&self.0) {
            let is_present = space.is_present(function);
            for (offset, word) in (register::HEADER..).step_by(4).zip(registers) {
                let value = if is_present {
                    space.read(function, offset)
                } else {
                    0
                };
                word.store(value, Ordering::Release);
            }
        }
    }

    /// The register that begins at `offset`, where it is kept.
    fn word(&self, function: u16, offset: u16) -> Option<u32> {
        let registers = self.0.get(usize::from(function))?;
        let behind = offset.checked_sub(register::HEADER)?;
        let index = behind.is_multiple_of(4).then_some(behind / 4)?;
        Some(registers.get(usize::from(index))?.load(Ordering::Acquire))
    }

    /// Whether the write puts back what stood in a register.
    pub(super) fn puts_back(&self, function: u16, write: Write, value: u32) -> bool {
        write.width == 4 && self.word(function, write.offset) == Some(value)
    }

    /// Configuration space with the headers as they are kept.
    pub(super) const fn over<S: Configuration>(&self, space: S) -> Remembered<'_, S> {
        Remembered { kept: self, space }
    }
}

/// See [`Kept::over`].
pub(super) struct Remembered<'a, S> {
    kept: &'a Kept,
    space: S,
}

impl<S: Configuration> Configuration for Remembered<'_, S> {
    fn read(&self, function: u16, offset: u16) -> u32 {
        let kept = self.kept.word(function, offset & !3);
        kept.unwrap_or_else(|| self.space.read(function, offset))
    }

    fn write(&mut self, function: u16, offset: u16, width: u8, value: u32) {
        self.space.write(function, offset, width, value);
    }
}
