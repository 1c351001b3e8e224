//! Reading an event log: TCG PC Client Platform Firmware Profile 1.05, section 10.

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

const SHA256: u16 = 0x000b;
/// `EV_NO_ACTION`: extends nothing.
const NO_ACTION: u32 = 3;
const REGISTERS: usize = 24;

/// An event.
#[derive(Debug)]
pub struct Event {
    /// The register that was extended.
    pub register: u32,
    /// Its type.
    pub kind: u32,
    /// The digest in the SHA-256 bank.
    pub digest: [u8; 32],
    /// What it is about.
    pub data: Vec<u8>,
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).context("the log is cut")?;
        self.0 = rest;
        Ok(bytes)
    }

    fn word(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.bytes(2)?.try_into()?))
    }

    fn double(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.bytes(4)?.try_into()?))
    }
}

/// All events but the first, which is the header.
pub fn parse(log: &[u8]) -> Result<Vec<Event>> {
    let mut reader = Reader(log);
    ensure!(
        reader.double()? == 0 && reader.double()? == NO_ACTION,
        "the log has no header"
    );
    reader.bytes(20)?;
    let size = reader.double()? as usize;
    let mut header = Reader(reader.bytes(size)?);
    ensure!(header.bytes(16)? == b"Spec ID Event03\0", "another format");
    header.bytes(8)?;
    let mut hashes = Vec::new();
    for _ in 0..header.double()? {
        hashes.push((header.word()?, header.word()? as usize));
    }
    let mut events = Vec::new();
    while !reader.0.is_empty() {
        events.push(event(&mut reader, &hashes)?);
    }
    Ok(events)
}

fn event(reader: &mut Reader<'_>, hashes: &[(u16, usize)]) -> Result<Event> {
    let (register, kind) = (reader.double()?, reader.double()?);
    let mut digest = None;
    for _ in 0..reader.double()? {
        let hash = reader.word()?;
        let known = hashes.iter().find(|(known, _)| *known == hash);
        let bytes = reader.bytes(known.context("an unknown hash")?.1)?;
        if hash == SHA256 {
            digest = Some(bytes.try_into()?);
        }
    }
    let size = reader.double()? as usize;
    Ok(Event {
        register,
        kind,
        digest: digest.context("an event without SHA-256")?,
        data: reader.bytes(size)?.to_vec(),
    })
}

/// The values that the registers have after these events.
pub fn replay(events: &[Event]) -> [[u8; 32]; REGISTERS] {
    let mut values = [[0; 32]; REGISTERS];
    for event in events.iter().filter(|event| event.kind != NO_ACTION) {
        if let Some(value) = values.get_mut(event.register as usize) {
            *value = Sha256::new()
                .chain_update(*value)
                .chain_update(event.digest)
                .finalize()
                .into();
        }
    }
    values
}
