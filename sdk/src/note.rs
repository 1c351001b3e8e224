//! The first page of a claim: what its owner tells others. Information only, anybody with the mapping can
//! write it.

use std::io::IoSliceMut;

use adyton_compose::environment::Environment;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::map::Linux;

const MAGIC: u64 = u64::from_le_bytes(*b"ADYCLAIM");
const NAME: usize = 48;

/// Who says to own a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Process id in the owner's view.
    pub process: u64,
    /// Its program.
    pub name: String,
}

impl Note {
    /// This process.
    pub(crate) fn own() -> Self {
        let program = std::env::args().next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            process: std::process::id().into(),
            name,
        }
    }

    fn bytes(&self) -> [u8; 16 + NAME] {
        let mut bytes = [0; 16 + NAME];
        bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.process.to_le_bytes());
        for (byte, letter) in bytes[16..].iter_mut().zip(self.name.bytes()) {
            *byte = letter;
        }
        bytes
    }

    fn parse(bytes: &[u8; 16 + NAME]) -> Option<Self> {
        let word = |from: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[from..from + 8]);
            u64::from_le_bytes(word)
        };
        let letters = bytes[16..].iter().take_while(|&&byte| byte != 0);
        // Whoever wrote it may not speak to the terminal of whoever reads it.
        let printable = |&byte: &u8| {
            if byte.is_ascii_graphic() {
                char::from(byte)
            } else {
                '?'
            }
        };
        let name = letters.map(printable).collect();
        (word(0) == MAGIC).then(|| Self {
            process: word(8),
            name,
        })
    }

    pub(crate) fn write(&self, place: &Linux, claim: u64) {
        place.write(claim, &self.bytes());
    }

    /// Reads the note of a claim that may be another's: through the kernel, so that a page which cannot be read is
    /// an error and no signal.
    pub(crate) fn read(claim: u64) -> Option<Self> {
        let mut bytes = [0; 16 + NAME];
        let remote = RemoteIoVec {
            base: claim as usize,
            len: bytes.len(),
        };
        let mut local = [IoSliceMut::new(&mut bytes)];
        let count = process_vm_readv(Pid::this(), &mut local, &[remote]).ok()?;
        (count == 16 + NAME).then(|| Self::parse(&bytes))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_written_and_cannot_speak_to_terminals() {
        let note = Note {
            process: 42,
            name: "adyton".into(),
        };
        assert_eq!(Note::parse(&note.bytes()), Some(note));
        let hostile = Note {
            process: 1,
            name: "\x1b[2Jx".into(),
        };
        assert_eq!(Note::parse(&hostile.bytes()).expect("a note").name, "?[2Jx");
        assert_eq!(Note::parse(&[0; 64]), None);
        let bytes = hostile.bytes();
        let read = Note::read(bytes.as_ptr() as u64).expect("readable");
        assert_eq!(read.process, 1);
        assert_eq!(Note::read(8), None);
    }
}
