//! The event log of the firmware, in the crypto-agile format (TCG PC Client Platform Firmware Profile, section 10). All numbers are
//! little-endian.
//!
//! Only digests are to be believed, and only once they replay to quoted PCRs; what an event says beside its digest is told by
//! whoever made it.

use sha2::{Digest, Sha256};

use crate::cbor::encode::{Full, Sink};
use crate::{Hash, hash};

/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
/// Most banks that a log can have.
const MOST_BANKS: usize = 8;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";

/// Event types (section 10.4.1).
pub mod kind {
    /// Code of the firmware.
    pub const POST_CODE: u32 = 1;
    /// Not extended: tells something about the log or the TPM.
    pub const NO_ACTION: u32 = 3;
    /// Separates what ran before from what the user's choice started.
    pub const SEPARATOR: u32 = 4;
    /// What an initial program loader measured; the monitor's events are of this type.
    pub const IPL: u32 = 13;
    /// An application that the firmware starts.
    pub const APPLICATION: u32 = 0x8000_0003;
    /// A step of the firmware, by its name.
    pub const ACTION: u32 = 0x8000_0007;
}

/// What GRUB writes in front of a command, a kernel's and a module's command line when it says what it has measured. It is no part of
/// what the digest is of.
pub const COMMAND_PREFIXES: [&str; 3] = ["grub_cmd: ", "kernel_cmdline: ", "module_cmdline: "];

/// The command in a text that begins with one of [`COMMAND_PREFIXES`].
#[must_use]
pub fn command(text: &str) -> Option<&str> {
    let mut prefixes = COMMAND_PREFIXES.iter();
    prefixes.find_map(|prefix| text.strip_prefix(prefix))
}

/// The log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// An event.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// The PCR that was extended.
    pub pcr: u32,
    /// See [`kind`].
    pub kind: u32,
    /// What it was extended with.
    pub digest: Hash,
    /// What whoever measured says about it.
    pub data: &'a [u8],
}

/// The events of a log; stops behind the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Events<'a> {
    rest: &'a [u8],
    banks: [(u16, u16); MOST_BANKS],
    failed: bool,
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], Malformed> {
    let (taken, behind) = rest.split_at_checked(count).ok_or(Malformed)?;
    *rest = behind;
    Ok(taken)
}

fn word(rest: &mut &[u8]) -> Result<u32, Malformed> {
    let bytes = take(rest, 4)?.try_into().map_err(|_| Malformed)?;
    Ok(u32::from_le_bytes(bytes))
}

fn half(rest: &mut &[u8]) -> Result<u16, Malformed> {
    let bytes = take(rest, 2)?.try_into().map_err(|_| Malformed)?;
    Ok(u16::from_le_bytes(bytes))
}

/// A length of four bytes, and as many bytes.
fn sized<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let length = word(rest)?;
    take(rest, usize::try_from(length).map_err(|_| Malformed)?)
}

/// Reads the first record, which says which banks the others have, and returns the rest.
///
/// # Errors
/// [`Malformed`], also where there is no bank with SHA-256.
pub fn events(log: &[u8]) -> Result<Events<'_>, Malformed> {
    let mut rest = log;
    let header = (word(&mut rest)?, word(&mut rest)?);
    let _digest = take(&mut rest, 20)?;
    let mut data = sized(&mut rest)?;
    if header != (0, kind::NO_ACTION) || take(&mut data, 16)? != SIGNATURE {
        return Err(Malformed);
    }
    let _class_and_version = take(&mut data, 8)?;
    let count = word(&mut data)?;
    let mut banks = [(0, 0); MOST_BANKS];
    let used = usize::try_from(count)
        .ok()
        .and_then(|count| banks.get_mut(..count));
    for bank in used.ok_or(Malformed)? {
        *bank = (half(&mut data)?, half(&mut data)?);
    }
    let [vendor] = take(&mut data, 1)? else {
        return Err(Malformed);
    };
    take(&mut data, usize::from(*vendor))?;
    if !banks.contains(&(SHA256, 32)) || !data.is_empty() {
        return Err(Malformed);
    }
    Ok(Events {
        rest,
        banks,
        failed: false,
    })
}

impl<'a> Events<'a> {
    fn read(&mut self) -> Result<Event<'a>, Malformed> {
        let rest = &mut self.rest;
        let (pcr, kind, digests) = (word(rest)?, word(rest)?, word(rest)?);
        let mut digest = None;
        if digests > MOST_BANKS as u32 {
            return Err(Malformed);
        }
        for _ in 0..digests {
            let algorithm = half(rest)?;
            let mut banks = self.banks.iter();
            let bank = banks.find(|(known, size)| *known == algorithm && *size != 0);
            let bytes = take(rest, bank.ok_or(Malformed)?.1.into())?;
            if algorithm == SHA256 {
                let earlier = digest.replace(bytes.try_into().map_err(|_| Malformed)?);
                if earlier.is_some() {
                    return Err(Malformed);
                }
            }
        }
        Ok(Event {
            pcr,
            kind,
            digest: digest.ok_or(Malformed)?,
            data: sized(rest)?,
        })
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.rest.is_empty() {
            return None;
        }
        let event = self.read();
        self.failed = event.is_err();
        Some(event)
    }
}

impl Event<'_> {
    /// Whether it changes a PCR.
    #[must_use]
    pub const fn is_extended(&self) -> bool {
        self.kind != kind::NO_ACTION
    }

    /// What a boot loader measured as a command, with the word in front, where the digest is that of the command.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        let text = self.text()?;
        (hash(command(text)?.as_bytes()) == self.digest).then_some(text)
    }

    /// What it says as text, without the zero at its end. Nothing proves it.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        let text = core::str::from_utf8(self.data).ok()?;
        Some(text.strip_suffix('\0').unwrap_or(text))
    }

    /// The locality that started the TPM, where the event tells it (section 10.4.5.3): the last byte of what PCR 0 begins with.
    #[must_use]
    pub fn startup_locality(&self) -> Option<u8> {
        match self.data.strip_prefix(b"StartupLocality\0") {
            Some(&[locality]) if self.pcr == 0 && !self.is_extended() => Some(locality),
            _ => None,
        }
    }
}

/// What a PCR with `value` becomes by an extend with `digest`.
#[must_use]
pub fn extended(value: &Hash, digest: &Hash) -> Hash {
    let mut hash = Sha256::new();
    hash.update(value);
    hash.update(digest);
    hash.finalize().into()
}

/// Writes the record of an event that was extended with `digests`: algorithm and digest of each bank.
///
/// # Errors
/// [`Full`].
pub fn record(
    sink: &mut impl Sink,
    [pcr, kind]: [u32; 2],
    digests: &[(u16, &[u8])],
    data: &[u8],
) -> Result<(), Full> {
    sink.put(&pcr.to_le_bytes())?;
    sink.put(&kind.to_le_bytes())?;
    sink.put(&(digests.len() as u32).to_le_bytes())?;
    for (algorithm, digest) in digests {
        sink.put(&algorithm.to_le_bytes())?;
        sink.put(digest)?;
    }
    sink.put(&(data.len() as u32).to_le_bytes())?;
    sink.put(data)
}
