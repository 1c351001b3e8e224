//! What a machine keeps across reboots: see the README of this crate.
//!
//! [`index`] names what lies in the TPM, [`policy`] says who gets it, [`approval`] is the maintainer's word for that, and
//! [`derivation`] makes keys of it, for domains that [`signature`] says whose they are.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod approval;
pub mod derivation;
pub mod index;
pub mod maintainer;
pub mod policy;
pub mod signature;

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// TPM_ALG_SHA256 (TPM 2.0 Library, part 2, section 6.3).
const SHA256: u16 = 0x000b;

/// The words of a digest, little-endian.
#[must_use]
pub fn words(hash: &Hash) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(hash.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// SHA-256 over parts, one after another.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}
