//! Anchors and policies as files (TOML), results for programs (JSON, EAR).
//!
//! What must hold: a word that is not known is an error, never ignored.

use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

mod anchors;
mod ear;
mod enclave;
mod extract;
mod json;
mod loader;
mod policy;

pub use anchors::read as read_anchors;
pub use ear::{EarError, token as ear};
pub use extract::{extract, key_digest};
pub use json::{hexadecimal, result as json};
pub use loader::{LoaderError, loader};
pub use policy::read as read_policy;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not TOML, a word that is not known, or one that is missing.
    #[error("{0}")]
    Text(#[from] toml::de::Error),
    /// Another version.
    #[error("version {0} is not known, 1 is")]
    Version(u64),
    /// A name that nothing has.
    #[error("nothing is named {0}")]
    NoSuchName(String),
    /// A name that two things have, or that means something else.
    #[error("the name {0} is taken")]
    NameTaken(String),
    /// Reference values that are missing or cannot be.
    #[error("{0}: {1}")]
    Values(String, &'static str),
}

/// 32 bytes in hexadecimal.
type Digest = Bytes<32>;

fn digests(digests: Vec<Digest>) -> Vec<crate::Hash> {
    digests.into_iter().map(|digest| digest.0).collect()
}

/// `N` bytes in hexadecimal.
#[derive(Clone, Copy, Debug)]
struct Bytes<const N: usize>([u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Bytes<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = from_hexadecimal(&text).and_then(|bytes| bytes.try_into().ok());
        let bytes =
            bytes.ok_or_else(|| D::Error::custom(std::format!("not {} hexadecimal digits", 2 * N)));
        bytes.map(Self)
    }
}

/// Bytes from hexadecimal digits.
#[must_use]
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4 | digit(low)?) as u8),
            _ => None,
        })
        .collect()
}

fn version(found: u64) -> Result<(), FileError> {
    if found == 1 {
        Ok(())
    } else {
        Err(FileError::Version(found))
    }
}
