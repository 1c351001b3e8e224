//! Memory with tables in it, for tests and fuzz targets.

use super::PhysicalMemory;

/// Memory from address zero on; everything past its end is a hole.
#[derive(Debug)]
pub struct Bytes(pub Vec<u8>);

impl PhysicalMemory for Bytes {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Ok(start) = usize::try_from(address) else {
            return false;
        };
        let source = start
            .checked_add(buffer.len())
            .and_then(|end| self.0.get(start..end));
        source.is_some_and(|source| {
            buffer.copy_from_slice(source);
            true
        })
    }
}

/// Makes the bytes sum to zero by the one at `place`.
pub fn set_checksum(bytes: &mut [u8], place: usize) {
    bytes[place] = 0;
    let total = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    bytes[place] = total.wrapping_neg();
}

/// A table with a right header, whatever it contains.
#[must_use]
pub fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 36];
    bytes[..4].copy_from_slice(signature);
    bytes[4..8].copy_from_slice(&(36 + body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(body);
    set_checksum(&mut bytes, 9);
    bytes
}
