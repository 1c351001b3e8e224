//! Signed domains: who stands behind a measurement, for which product, in which version.
//!
//! A signature is checked in steps, since a whole one (Ed25519, RFC 8032 section 5.1.7) takes longer than a call may hold a core. Only public values take part, so the time that
//! it takes may depend on them.
//!
//! What must hold: what is accepted here `ed25519_dalek::VerifyingKey::verify_strict` accepts, and the reverse.

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use sha2::{Digest, Sha512};

use crate::{Hash, hash};

/// Bytes of the structure.
pub const SIZE: usize = 160;
/// Of them signed, from the beginning.
pub const SIGNED: usize = 96;

/// The first eight bytes.
const MAGIC: [u8; 8] = *b"ADYTONSG";
/// Version of the structure.
const VERSION: u64 = 1;

/// Bits that one step works on: about 50,000 instructions.
const STEP: usize = 12;
/// Bits of a scalar below the order of the group.
const BITS: usize = 253;

/// What a signer says of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The domain's measurement.
    pub measurement: Hash,
    /// The signer's number for the product.
    pub product: u64,
    /// Its version: newer ones have greater numbers, and derive the keys of older ones.
    pub version: u64,
    /// The signer's public key, Ed25519.
    pub signer: [u8; 32],
}

/// Whose a domain is, proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of the signer's public key.
    pub signer: Hash,
    /// See [`Statement::product`].
    pub product: u64,
    /// See [`Statement::version`].
    pub version: u64,
}

/// The structure is malformed, is about another domain, or its signature is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong;

impl Statement {
    /// The bytes that are signed; the signature follows them.
    #[must_use]
    pub fn encode(&self) -> [u8; SIGNED] {
        let parts: [&[u8]; 6] = [
            &MAGIC,
            &VERSION.to_le_bytes(),
            &self.measurement,
            &self.product.to_le_bytes(),
            &self.version.to_le_bytes(),
            &self.signer,
        ];
        let mut bytes = [0; SIGNED];
        for (place, byte) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *place = *byte;
        }
        bytes
    }

    fn decode(bytes: &[u8; SIGNED]) -> Option<Self> {
        let (words, _) = bytes.as_chunks::<8>();
        let number = |index: usize| words.get(index).map(|word| u64::from_le_bytes(*word));
        if words.first() != Some(&MAGIC) || number(1) != Some(VERSION) {
            return None;
        }
        Some(Self {
            measurement: bytes.get(16..48)?.try_into().ok()?,
            product: number(6)?,
            version: number(7)?,
            signer: bytes.get(64..)?.try_into().ok()?,
        })
    }
}

/// A signature that is being checked: `s·B − k·A` is computed from the highest bit down, and must be R.
#[derive(Clone, Debug)]
pub struct Check {
    identity: Identity,
    /// R, as it was given.
    expected: [u8; 32],
    s: [u8; 32],
    k: [u8; 32],
    /// −A.
    minus_key: EdwardsPoint,
    sum: EdwardsPoint,
    bits_left: usize,
}

impl Check {
    /// Begins with a structure that a domain of this measurement has presented.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn begin(bytes: &[u8; SIZE], measurement: &Hash) -> Result<Self, Wrong> {
        let (signed, signature) = bytes.split_first_chunk::<SIGNED>().ok_or(Wrong)?;
        let (expected, s) = signature.split_first_chunk::<32>().ok_or(Wrong)?;
        let statement = Statement::decode(signed).ok_or(Wrong)?;
        if statement.measurement != *measurement {
            return Err(Wrong);
        }
        let s: [u8; 32] = s.try_into().map_err(|_| Wrong)?;
        // Not reduced: another signature of the same.
        Option::<Scalar>::from(Scalar::from_canonical_bytes(s)).ok_or(Wrong)?;
        let key = CompressedEdwardsY(statement.signer).decompress();
        let key = key.filter(|key| !key.is_small_order()).ok_or(Wrong)?;
        let mut digest = Sha512::new();
        for part in [&expected[..], &statement.signer, signed] {
            digest.update(part);
        }
        let k = Scalar::from_bytes_mod_order_wide(&digest.finalize().into());
        Ok(Self {
            identity: Identity {
                signer: hash(&[&statement.signer]),
                product: statement.product,
                version: statement.version,
            },
            expected: *expected,
            s,
            k: k.to_bytes(),
            minus_key: -key,
            sum: EdwardsPoint::default(),
            bits_left: BITS,
        })
    }

    /// A step. The outcome, when there is one.
    pub fn advance(&mut self) -> Option<Result<Identity, Wrong>> {
        if self.bits_left == 0 {
            let right = self.sum.compress().0 == self.expected && !self.sum.is_small_order();
            return Some(if right { Ok(self.identity) } else { Err(Wrong) });
        }
        let both = ED25519_BASEPOINT_POINT + self.minus_key;
        for _ in 0..STEP.min(self.bits_left) {
            self.bits_left -= 1;
            let sum = self.sum + self.sum;
            self.sum = match (self.is_set(&self.s), self.is_set(&self.k)) {
                (true, true) => sum + both,
                (true, false) => sum + ED25519_BASEPOINT_POINT,
                (false, true) => sum + self.minus_key,
                (false, false) => sum,
            };
        }
        None
    }

    fn is_set(&self, scalar: &[u8; 32]) -> bool {
        let byte = scalar.get(self.bits_left / 8).copied().unwrap_or_default();
        byte >> (self.bits_left % 8) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    fn statement() -> Statement {
        Statement {
            measurement: [5; 32],
            product: 3,
            version: 9,
            signer: key().verifying_key().to_bytes(),
        }
    }

    fn signed(statement: &Statement) -> [u8; SIZE] {
        let bytes = statement.encode();
        let mut all = [0; SIZE];
        all[..SIGNED].copy_from_slice(&bytes);
        all[SIGNED..].copy_from_slice(&key().sign(&bytes).to_bytes());
        all
    }

    fn check(bytes: &[u8; SIZE]) -> Result<Identity, Wrong> {
        let mut check = Check::begin(bytes, &[5; 32])?;
        loop {
            if let Some(outcome) = check.advance() {
                return outcome;
            }
        }
    }

    /// What the library that signs says of the same bytes.
    fn library(bytes: &[u8; SIZE]) -> bool {
        let (signed, signature) = bytes.split_at(SIGNED);
        let key = ed25519_dalek::VerifyingKey::from_bytes(signed[64..].try_into().unwrap());
        let signature = ed25519_dalek::Signature::from_bytes(signature.try_into().unwrap());
        key.is_ok_and(|key| key.verify_strict(signed, &signature).is_ok())
    }

    #[test]
    fn a_signature_is_accepted() {
        let identity = check(&signed(&statement())).unwrap();
        let signer = hash(&[key().verifying_key().as_bytes()]);
        assert_eq!(
            (identity.signer, identity.product, identity.version),
            (signer, 3, 9)
        );
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let good = signed(&statement());
        for bit in 0..8 * SIZE {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(check(&bad), Err(Wrong), "bit {bit}");
            assert!(!library(&bad));
        }
    }

    #[test]
    fn it_is_about_one_measurement() {
        let other = Statement {
            measurement: [6; 32],
            ..statement()
        };
        assert_eq!(check(&signed(&other)), Err(Wrong));
    }

    /// Keys and points of small order, scalars that are not reduced: what is lax elsewhere.
    #[test]
    fn nothing_lax_is_accepted() {
        // The order of the group, little-endian: s + L is the same scalar.
        const ORDER: [u8; 32] = {
            let mut order = *b"\xed\xd3\xf5\x5c\x1a\x63\x12\x58\xd6\x9c\xf7\xa2\xde\xf9\xde\x14\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10";
            order[31] = 0x10;
            order
        };
        let mut bytes = signed(&statement());
        let mut carry = 0;
        for (place, byte) in bytes[128..].iter_mut().zip(ORDER) {
            let sum = u16::from(*place) + u16::from(byte) + carry;
            (*place, carry) = (sum as u8, sum >> 8);
        }
        assert_eq!(check(&bytes), Err(Wrong));
        // The neutral point as key and as R: s = 0 fits any message.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let statement = Statement {
            signer: neutral,
            ..statement()
        };
        let mut bytes = [0; SIZE];
        bytes[..SIGNED].copy_from_slice(&statement.encode());
        bytes[SIGNED..128].copy_from_slice(&neutral);
        assert_eq!(check(&bytes), Err(Wrong));
        assert!(!library(&bytes));
        // With that key, whatever s is, R = s·B fits any message too.
        let five = Scalar::from(5_u8);
        bytes[SIGNED..128].copy_from_slice(&(ED25519_BASEPOINT_POINT * five).compress().0);
        bytes[128..].copy_from_slice(&five.to_bytes());
        assert_eq!(check(&bytes), Err(Wrong));
        assert!(!library(&bytes));
    }

    proptest::proptest! {
        #[test]
        fn it_agrees_with_the_library(seed: [u8; 32], product: u64, version: u64, flip in 0_usize..1280, flips: bool) {
            let key = SigningKey::from_bytes(&seed);
            let statement = Statement {
                measurement: [5; 32],
                product,
                version,
                signer: key.verifying_key().to_bytes(),
            };
            let mut bytes = [0; SIZE];
            bytes[..SIGNED].copy_from_slice(&statement.encode());
            let signature = key.sign(&bytes[..SIGNED]).to_bytes();
            bytes[SIGNED..].copy_from_slice(&signature);
            if flips {
                bytes[flip / 8] ^= 1 << (flip % 8);
            }
            proptest::prop_assert_eq!(check(&bytes).is_ok(), !flips);
            proptest::prop_assert_eq!(library(&bytes), !flips);
        }
    }
}
