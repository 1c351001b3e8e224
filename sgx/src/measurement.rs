//! MRENCLAVE: SHA-256 over records of 64 bytes, begun by ECREATE and ended by EINIT. Between instructions its state lies in the SECS.

use sha2::block_api::compress256;

use crate::structures::Secs;

/// Bytes of a record, which is a block of the hash.
pub const RECORD: usize = 64;

/// What SHA-256 starts from (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];

/// A hash of whole blocks that can be put away and taken up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measurement {
    state: [u32; 8],
    blocks: u64,
}

impl Measurement {
    /// Of nothing.
    #[must_use]
    pub const fn begin() -> Self {
        Self {
            state: INITIAL,
            blocks: 0,
        }
    }

    /// As it was put away in a SECS.
    #[must_use]
    pub fn load(secs: &Secs) -> Self {
        let mut state = [0; 8];
        for (word, bytes) in state.iter_mut().zip(secs.mrenclave().chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        Self {
            state,
            blocks: secs.updates(),
        }
    }

    /// Puts it away.
    pub fn store(&self, secs: &mut Secs) {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(4).zip(self.state) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        secs.set_mrenclave(&bytes);
        secs.set_updates(self.blocks);
    }

    /// Adds blocks.
    pub fn update(&mut self, blocks: &[[u8; RECORD]]) {
        compress256(&mut self.state, blocks);
        self.blocks = self.blocks.wrapping_add(blocks.len() as u64);
    }

    /// The hash of what was added.
    #[must_use]
    pub fn finish(mut self) -> [u8; 32] {
        let mut last = [0; RECORD];
        last[0] = 0x80;
        last[56..].copy_from_slice(&self.blocks.wrapping_mul(512).to_be_bytes());
        compress256(&mut self.state, &[last]);
        let mut hash = [0; 32];
        for (place, word) in hash.chunks_exact_mut(4).zip(self.state) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        hash
    }
}

/// The record of ECREATE.
#[must_use]
pub fn create_record(secs: &Secs) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(b"ECREATE\0");
    record[8..12].copy_from_slice(&secs.ssaframesize().to_le_bytes());
    record[12..20].copy_from_slice(&secs.size().to_le_bytes());
    record
}

/// The record of EADD: offset in the enclave, and the first 48 bytes of the SECINFO, of which all but FLAGS is zero.
#[must_use]
pub fn add_record(offset: u64, flags: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(b"EADD\0\0\0\0");
    record[8..16].copy_from_slice(&offset.to_le_bytes());
    record[16..24].copy_from_slice(&flags.to_le_bytes());
    record
}

/// The record of EEXTEND, before the 256 bytes.
#[must_use]
pub fn extend_record(offset: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(b"EEXTEND\0");
    record[8..16].copy_from_slice(&offset.to_le_bytes());
    record
}
