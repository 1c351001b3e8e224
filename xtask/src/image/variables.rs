//! Variables that firmware has from the start: written into its store (EDK II, `Include/Guid/VariableFormat.h`, authenticated variables),
//! which is empty as the distribution brings it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Where the first variable goes: behind the headers of volume and store.
const FIRST: usize = 0x64;
/// Kept, for boot and run time.
const ATTRIBUTES: u32 = 7;

/// A variable of one byte.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its vendor's GUID, as it lies in memory.
    pub vendor: [u8; 16],
    /// Its value.
    pub value: u8,
}

/// The variables of firmware that clears memory at a reset, and has not been asked to: TCG Platform Reset Attack Mitigation Specification.
pub const OVERWRITE: [Variable; 2] = [
    Variable {
        name: "MemoryOverwriteRequestControl",
        vendor: *b"\xbe\x39\x09\xe2\xd4\x32\xbe\x41\xa1\x50\x89\x7f\x85\xd4\x98\x29",
        value: 0,
    },
    Variable {
        name: "MemoryOverwriteRequestControlLock",
        vendor: *b"\xcf\x3c\x98\xbb\x1d\x15\xe1\x40\xa0\x7b\x4a\x17\xbe\x16\x82\x92",
        value: 0,
    },
];

/// Writes variables into an empty store.
pub fn write(store: &Path, variables: &[Variable]) -> Result<()> {
    let mut bytes = fs::read(store).with_context(|| store.display().to_string())?;
    let mut place = FIRST;
    for variable in variables {
        let entry = entry(variable);
        let room = bytes.get_mut(place..place + entry.len());
        let room = room.context("the store of variables is too small")?;
        ensure!(
            room.iter().all(|byte| *byte == 0xff),
            "the store of variables is not empty"
        );
        room.copy_from_slice(&entry);
        place = (place + entry.len()).next_multiple_of(4);
    }
    Ok(fs::write(store, bytes)?)
}

fn entry(variable: &Variable) -> Vec<u8> {
    const BEGIN: u16 = 0x55aa;
    const ADDED: u16 = 0x3f;
    let name: Vec<u8> = variable
        .name
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let mut entry = Vec::new();
    entry.extend(BEGIN.to_le_bytes());
    entry.extend(ADDED.to_le_bytes());
    entry.extend(ATTRIBUTES.to_le_bytes());
    // Count, time and key of a signed variable.
    entry.extend([0; 8 + 16 + 4]);
    entry.extend((name.len() as u32).to_le_bytes());
    entry.extend(1_u32.to_le_bytes());
    entry.extend(variable.vendor);
    entry.extend(name);
    entry.push(variable.value);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_its_header() {
        let entry = entry(&OVERWRITE[0]);
        assert_eq!(entry.len(), 60 + 2 * 30 + 1);
        assert_eq!(entry[..4], [0xaa, 0x55, 0x3f, 0]);
        assert_eq!(entry[36..44], [60, 0, 0, 0, 1, 0, 0, 0]);
    }
}
