//! The digest by which firmware measures an application (Microsoft's Authenticode): all of the file but its checksum, the entry that leads
//! to signatures, and these, which stand at the end.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::hexadecimal;

// From the signature "PE" on (PE/COFF, "Optional Header", "Optional Header Data Directories"): the checksum, then place and size of the
// certificate table.
const CHECKSUM: usize = 24 + 64;
const CERTIFICATES: usize = 24 + 112 + 4 * 8;

/// In hexadecimal.
pub fn authenticode_digest(image: &[u8]) -> Result<String> {
    Ok(hexadecimal(&authenticode_hash(image)?))
}

/// The same as bytes.
pub fn authenticode_hash(image: &[u8]) -> Result<[u8; 32]> {
    let parts =
        parts(image).context("no application, or one with something behind its signatures")?;
    Ok(Sha256::digest(parts.concat()).into())
}

/// What counts.
fn parts(image: &[u8]) -> Option<[&[u8]; 3]> {
    // Where the place of that signature is.
    const HEADER: usize = 0x3c;
    let word = |place: usize| {
        let bytes = image.get(place..).and_then(<[u8]>::first_chunk);
        bytes.map(|bytes| u32::from_le_bytes(*bytes) as usize)
    };
    let header = word(HEADER)?;
    let entry = header + CERTIFICATES;
    let end = match [word(entry)?, word(entry + 4)?] {
        [0, 0] => image.len(),
        [place, size] => (place + size == image.len()).then_some(place)?,
    };
    Some([
        image.get(..header + CHECKSUM)?,
        image.get(header + CHECKSUM + 4..entry)?,
        image.get(entry + 8..end)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksum and a signature change nothing, and anything else does.
    #[test]
    fn a_signature_is_left_out() {
        let header = 0x40;
        let mut plain = vec![1; 0x200];
        plain[0x3c..0x40].copy_from_slice(&[header as u8, 0, 0, 0]);
        plain[header + CERTIFICATES..][..8].fill(0);
        let digest = authenticode_digest(&plain).unwrap();
        let mut signed = plain.clone();
        signed[header + CHECKSUM] = 2;
        signed[header + CERTIFICATES..][..8].copy_from_slice(&[0, 2, 0, 0, 8, 0, 0, 0]);
        assert!(authenticode_digest(&signed).is_err());
        signed.extend([3; 8]);
        assert_eq!(authenticode_digest(&signed).unwrap(), digest);
        for place in [0, header + CHECKSUM + 4, header + CERTIFICATES + 8, 0x1ff] {
            let mut other = signed.clone();
            other[place] ^= 1;
            assert_ne!(authenticode_digest(&other).unwrap(), digest);
        }
        signed.push(0);
        assert!(authenticode_digest(&signed).is_err());
        assert!(authenticode_digest(&plain[..0x50]).is_err());
    }
}
