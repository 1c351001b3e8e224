//! What a monitor that panicked leaves to the next one: its message, in a page that no loader writes.
//!
//! The page is the last one of the image's range, behind all that is loaded or zeroed with it, and like the rest of that range in nobody's nested
//! tables: only code that ran before the monitor can have written it. What is found is checked for being whole, shown in the log,
//! and believed by nobody. It survives a reset of the machine where the firmware leaves memory as it is, which no firmware promises.

use core::fmt::{self, Write};

use crate::address::PAGE_SIZE;
use crate::instructions::write_back_caches;
use crate::log;

const MAGIC: [u8; 8] = *b"ADYTONLW";
const TEXT_SIZE: usize = 1000;

/// The record, as it lies in memory.
#[repr(C)]
struct Record {
    magic: [u8; 8],
    /// Bytes of text.
    length: u64,
    /// Of length and text.
    checksum: u64,
    text: [u8; TEXT_SIZE],
}

const _: () = assert!(size_of::<Record>() <= PAGE_SIZE as usize);

impl Record {
    const EMPTY: Self = Self {
        magic: [0; 8],
        length: 0,
        checksum: 0,
        text: [0; TEXT_SIZE],
    };

    fn said(&self) -> &[u8] {
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        self.text.get(..length).unwrap_or(&[])
    }

    /// FNV-1a, 64 bits: against what chance leaves there.
    fn sum(&self) -> u64 {
        let bytes = self.length.to_le_bytes();
        let all = bytes.iter().chain(self.said());
        all.fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn seal(&mut self) {
        self.checksum = self.sum();
        self.magic = MAGIC;
    }

    /// The message, if this is one.
    fn message(&self) -> Option<&str> {
        let whole = self.magic == MAGIC && self.length != 0 && self.checksum == self.sum();
        let said = if whole { self.said() } else { &[] };
        let text = core::str::from_utf8(said).ok()?;
        (!text.is_empty()).then_some(text)
    }
}

impl Write for Record {
    /// In one line. What does not fit is left out, by whole characters.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let character = if character.is_control() {
                ' '
            } else {
                character
            };
            let mut bytes = [0; 4];
            let bytes = character.encode_utf8(&mut bytes).as_bytes();
            let start = self.length as usize;
            let Some(place) = self.text.get_mut(start..start + bytes.len()) else {
                return Ok(());
            };
            place.copy_from_slice(bytes);
            self.length += bytes.len() as u64;
        }
        Ok(())
    }
}

#[cfg(not(any(test, fuzzing)))]
fn place() -> *mut Record {
    unsafe extern "C" {
        static mut last_words: u8;
    }
    (&raw mut last_words).cast()
}

#[cfg(any(test, fuzzing))]
fn place() -> *mut Record {
    core::ptr::null_mut()
}

/// Leaves a message. Only what panics calls it, on one core.
pub fn leave(message: fmt::Arguments<'_>) {
    let mut record = Record::EMPTY;
    let _ = write!(record, "{message}");
    record.seal();
    // SAFETY: the link script keeps this page free, and this core alone is still running.
    unsafe { place().write(record) };
    write_back_caches();
}

/// Tells in the log what the monitor before this one left, and forgets it.
pub fn tell() {
    // SAFETY: the link script keeps this page free; any bytes are a record, though perhaps not a whole one.
    let record = unsafe { place().replace(Record::EMPTY) };
    if let Some(message) = record.message() {
        log!("the monitor that ran before this one ended by a panic: {message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Record {
        let mut record = Record::EMPTY;
        write!(record, "{text}").unwrap();
        record.seal();
        record
    }

    #[test]
    fn a_message_comes_back_and_a_damaged_one_does_not() {
        assert_eq!(record("broken:\n7").message(), Some("broken: 7"));
        assert_eq!(Record::EMPTY.message(), None);
        assert_eq!(record("").message(), None);
        let mut damaged = record("broken: 7");
        damaged.text[3] ^= 1;
        assert_eq!(damaged.message(), None);
        let mut damaged = record("broken: 7");
        damaged.length = u64::MAX;
        assert_eq!(damaged.message(), None);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "\u{1f3db}".repeat(TEXT_SIZE);
        let record = record(&long);
        assert_eq!(record.message(), long.get(..TEXT_SIZE / 4 * 4));
    }
}
