//! Keys that are made of the platform secret: HKDF with SHA-256 (RFC 5869), one block of output.
//!
//! What must hold: no two uses and no two classes of domains have the same input; each field has its place and its size.

use adyton_abi::policy::Flags;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Hash;

const SALT: &[u8] = b"ADYTON-PLATFORM-1";
const SEALING: &[u8; 16] = b"ADYTON-SEALKEY-1";
const COUNTER: &[u8; 16] = b"ADYTON-COUNTER-1";
const ENCLAVES: &[u8; 16] = b"ADYTON-SGX-KEY-1";

/// Set in [`Subject::class`] where an IOMMU keeps devices out of memory.
pub const GUARDED: u64 = 1 << 32;

/// What keys are made of: HKDF's pseudo-random key.
#[derive(Clone)]
pub struct PlatformKey(Hash);

impl core::fmt::Debug for PlatformKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("PlatformKey(hidden)")
    }
}

/// Whom a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Domains with this measurement.
    Measurement(Hash),
    /// Domains of this signer and product, from this version on.
    Signer {
        /// SHA-256 of the signer's public key.
        signer: Hash,
        /// The signer's number for the product.
        product: u64,
        /// The version whose key it is.
        version: u64,
    },
}

/// A class of domains that shares no key with another.
#[must_use]
pub fn class(flags: Flags, is_guarded: bool) -> u64 {
    let kind = flags.intersection(Flags::CONFIDENTIAL | Flags::DEBUG);
    kind.word() | if is_guarded { GUARDED } else { 0 }
}

impl PlatformKey {
    /// That of a secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(code(SALT, &[secret]).finalize().into_bytes().into())
    }

    /// As words, for a place that can be wiped.
    #[must_use]
    pub fn words(&self) -> [u64; 4] {
        crate::words(&self.0)
    }

    /// From words.
    #[must_use]
    pub fn from_words(words: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Self(bytes)
    }

    /// The sealing key of a domain of this [`class`], with a label of its own choice.
    #[must_use]
    pub fn sealing(&self, class: u64, binding: Binding, label: &Hash) -> Hash {
        let (kind, identity, product, version) = binding.parts();
        let numbers = [kind, class].map(u64::to_le_bytes);
        let release = [product, version].map(u64::to_le_bytes);
        self.expand(&[
            SEALING,
            numbers.as_flattened(),
            &identity,
            release.as_flattened(),
            label,
        ])
    }

    /// The password of a domain's counter, by whose it is ([`holder`]) and where.
    #[must_use]
    pub fn counter(&self, handle: u32, holder: &Hash) -> Hash {
        self.expand(&[COUNTER, &handle.to_le_bytes(), holder])
    }

    /// What the processor's secrets for enclaves are made of that outlive a boot; `is_guarded` where an IOMMU keeps devices out of memory.
    #[must_use]
    pub fn enclaves(&self, is_guarded: bool) -> Hash {
        self.expand(&[ENCLAVES, &u64::from(is_guarded).to_le_bytes()])
    }

    fn expand(&self, parts: &[&[u8]]) -> Hash {
        const FIRST_BLOCK: &[u8] = &[1];
        let code = code(&self.0, parts).chain_update(FIRST_BLOCK);
        code.finalize().into_bytes().into()
    }
}

impl Binding {
    fn parts(self) -> (u64, Hash, u64, u64) {
        match self {
            Self::Measurement(measurement) => (0, measurement, 0, 0),
            Self::Signer {
                signer,
                product,
                version,
            } => (1, signer, product, version),
        }
    }
}

/// Whose a counter is: a class and an identity, where versions count as one.
#[must_use]
pub fn holder(class: u64, binding: Binding) -> Hash {
    let (kind, identity, product, _) = binding.parts();
    let numbers = [kind, class, product].map(u64::to_le_bytes);
    crate::hash(&[b"ADYTON-HOLDER-1\0", numbers.as_flattened(), &identity])
}

/// The HMAC of parts, one after another, with a key that is no longer than a block of SHA-256, 64 bytes: zeros fill it up (RFC 2104).
#[must_use]
pub fn code(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    let mut code = Hmac::new(&block.into());
    parts.iter().for_each(|part| code.update(part));
    code
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;

    fn platform() -> PlatformKey {
        PlatformKey::new(&[7; 32])
    }

    #[test]
    fn nobody_shares_a_key() {
        let signer = |signer, product, version| Binding::Signer {
            signer: [signer; 32],
            product,
            version,
        };
        let bindings = [
            Binding::Measurement([1; 32]),
            Binding::Measurement([2; 32]),
            signer(1, 0, 0),
            signer(2, 0, 0),
            signer(1, 1, 0),
            signer(1, 0, 1),
        ];
        let kinds = [
            Flags::CONFIDENTIAL,
            Flags::CONFIDENTIAL | Flags::DEBUG,
            Flags::DEBUG,
            Flags::NONE,
        ];
        let mut keys = Vec::new();
        for flags in kinds {
            for guarded in [false, true] {
                for binding in bindings {
                    for label in [[0; 32], [1; 32]] {
                        keys.push(platform().sealing(class(flags, guarded), binding, &label));
                    }
                }
            }
        }
        let different: BTreeSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        let other = PlatformKey::new(&[8; 32]);
        assert_ne!(keys[0], other.sealing(1, bindings[0], &[0; 32]));
    }

    #[test]
    fn what_a_domain_may_call_is_no_class() {
        let more = Flags::CONFIDENTIAL | Flags::MAY_SHARE;
        assert_eq!(class(more, true), class(Flags::CONFIDENTIAL, true));
    }

    #[test]
    fn versions_share_a_counter_and_nobody_else() {
        let signer = |product, version| Binding::Signer {
            signer: [1; 32],
            product,
            version,
        };
        assert_eq!(holder(1, signer(1, 1)), holder(1, signer(1, 2)));
        assert_ne!(holder(1, signer(1, 1)), holder(1, signer(2, 1)));
        assert_ne!(holder(1, signer(1, 1)), holder(3, signer(1, 1)));
        assert_ne!(
            holder(1, signer(0, 0)),
            holder(1, Binding::Measurement([1; 32]))
        );
    }

    /// By `openssl kdf -kdfopt hexsalt:… -kdfopt hexinfo:… HKDF` with the bytes that `docs/attestation.md` says.
    #[test]
    fn it_is_hkdf() {
        let key = platform().sealing(1, Binding::Measurement([1; 32]), &[0; 32]);
        let expected = [
            0xa8, 0x00, 0x21, 0xdd, 0xca, 0xc9, 0x09, 0x87, 0xce, 0x4d, 0x61, 0x40, 0xb4, 0xf7,
            0xd8, 0xcc, 0xf8, 0xc1, 0x5b, 0xa9, 0xa5, 0x3a, 0xf1, 0xf8, 0x51, 0x1f, 0xa2, 0x80,
            0xd8, 0x9e, 0xb0, 0xb5,
        ];
        assert_eq!(key, expected);
    }

    #[test]
    fn words_keep_all() {
        let words = platform().words();
        assert_eq!(PlatformKey::from_words(words).0, platform().0);
    }
}
