//! What evidence of a composition of domains or of an SGX enclave is, how it is written, and how it is decided about. `docs/attestation.md` is its specification.
//!
//! - [`measure`]: the measurement of a domain, from what it was built of;
//! - [`token`], [`composition`], [`enclave`], [`platform`], [`bundle`]: evidence, written without an allocator, so that the monitor uses the same code;
//! - [`tpm`], [`log`]: what the TPM and the firmware state;
//! - with the feature `verify`: [`verify`](mod@verify) decides, by [`anchors`] and a [`policy`], and answers with a [`verdict`];
//! - with the feature `files`: [`files`] reads anchors and policies, and writes results.
//!
//! What must hold: no function here reads a clock, a file or the network, and none panics, whatever bytes it is given.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "verify")]
extern crate alloc;
#[cfg(feature = "files")]
extern crate std;

pub mod bundle;
pub mod cbor;
pub mod claims;
pub mod composition;
pub mod cose;
pub mod enclave;
pub mod log;
pub mod measure;
pub mod platform;
pub mod signing;
pub mod token;
pub mod tpm;

#[cfg(feature = "verify")]
pub mod anchors;
#[cfg(feature = "verify")]
pub mod closure;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "verify")]
pub mod policy;
#[cfg(feature = "software")]
pub mod software;
#[cfg(feature = "verify")]
pub mod verdict;
#[cfg(feature = "verify")]
pub mod verify;

/// SHA-256 of something.
pub type Hash = [u8; 32];

/// The SHA-256 of `bytes`.
#[must_use]
pub fn hash(bytes: &[u8]) -> Hash {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}
