//! An Ed25519 signature (RFC 8032, section 5.1.6) in steps, for who may not compute for long at one go.
//!
//! The result is that of `SigningKey::sign`, to the bit. What takes long is one multiplication on the curve, which no library gives in
//! parts; so it is done here out of the library's additions, by a comb of four teeth: the four words of the scalar are multiplied side by side,
//! a bit of each at a time, with the sums of their base points made beforehand. What is added is selected in a time that does not depend on
//! the scalar.

use core::array;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// Words of a scalar.
const TEETH: usize = 4;
/// Bits of a word that are done in one step.
const BITS: u32 = 8;

/// A key that is ready to sign.
pub struct Key {
    secret: ExpandedSecretKey,
    public: VerifyingKey,
    /// The sum of the base points of the words whose bits are set in the index.
    sums: [EdwardsPoint; 1 << TEETH],
}

impl Key {
    /// From a signing key.
    #[must_use]
    pub fn new(key: &SigningKey) -> Self {
        let mut base = ED25519_BASEPOINT_POINT;
        let bases: [EdwardsPoint; TEETH] = array::from_fn(|_| {
            let this = base;
            (0..u64::BITS).for_each(|_| base += base);
            this
        });
        let sums = array::from_fn(|index| {
            let teeth = bases.iter().enumerate();
            let set = teeth.filter(|(tooth, _)| index >> tooth & 1 == 1);
            set.fold(EdwardsPoint::identity(), |sum, (_, base)| sum + base)
        });
        Self {
            secret: ExpandedSecretKey::from(&key.to_bytes()),
            public: key.verifying_key(),
            sums,
        }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    /// The sum at `index`; every sum is looked at.
    fn sum(&self, index: u8) -> EdwardsPoint {
        let mut sum = EdwardsPoint::identity();
        for (candidate, at) in self.sums.iter().zip(0_u8..) {
            sum.conditional_assign(candidate, at.ct_eq(&index));
        }
        sum
    }
}

/// A multiple of the base point on its way.
#[derive(Clone, Copy)]
struct Multiple {
    words: [u64; TEETH],
    /// The bits above are done.
    bit: u32,
    point: EdwardsPoint,
}

impl Multiple {
    fn of(scalar: &Scalar) -> Self {
        let (bytes, _) = scalar.as_bytes().as_chunks();
        Self {
            words: array::from_fn(|tooth| {
                bytes
                    .get(tooth)
                    .map_or(0, |bytes| u64::from_le_bytes(*bytes))
            }),
            bit: u64::BITS,
            point: EdwardsPoint::identity(),
        }
    }

    /// A step; whether all is done.
    fn advance(&mut self, key: &Key) -> bool {
        for _ in 0..BITS.min(self.bit) {
            self.bit -= 1;
            let teeth = self.words.iter().rev();
            let index = teeth.fold(0, |index, word| index << 1 | (word >> self.bit & 1) as u8);
            self.point += self.point;
            self.point += key.sum(index);
        }
        self.bit == 0
    }
}

/// How far a signature is. No Debug: what it holds on the way gives the key away.
#[derive(Clone, Copy)]
enum Stage {
    Begin,
    /// The secret scalar of this signature, and its point.
    Multiplying(Scalar, Multiple),
    Point(Scalar, EdwardsPoint),
    /// And the point as it is written.
    Written(Scalar, [u8; 32]),
    Done([u8; 64]),
}

/// A signature being made. Every step is given the same key and the same message.
#[derive(Clone, Copy)]
pub struct Signing(Stage);

impl Signing {
    /// Nothing done yet.
    #[must_use]
    pub const fn begin() -> Self {
        Self(Stage::Begin)
    }

    /// Takes a step: each hashes the message at most once, or does a few additions on the curve. The signature, once it is there.
    pub fn advance(&mut self, key: &Key, message: &[u8]) -> Option<[u8; 64]> {
        match &mut self.0 {
            Stage::Begin => {
                let scalar = hash([&key.secret.hash_prefix, message, &[]]);
                self.0 = Stage::Multiplying(scalar, Multiple::of(&scalar));
            }
            Stage::Multiplying(scalar, multiple) => {
                if multiple.advance(key) {
                    self.0 = Stage::Point(*scalar, multiple.point);
                }
            }
            Stage::Point(scalar, point) => {
                self.0 = Stage::Written(*scalar, point.compress().to_bytes());
            }
            Stage::Written(scalar, point) => {
                let challenge = hash([point, key.public.as_bytes(), message]);
                let response = challenge * key.secret.scalar + *scalar;
                let mut signature = [0; 64];
                let (first, second) = signature.split_at_mut(32);
                first.copy_from_slice(point);
                second.copy_from_slice(response.as_bytes());
                self.0 = Stage::Done(signature);
            }
            Stage::Done(signature) => return Some(*signature),
        }
        None
    }
}

fn hash(parts: [&[u8]; 3]) -> Scalar {
    let mut hash = Sha512::new();
    parts.into_iter().for_each(|part| hash.update(part));
    Scalar::from_hash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::Signer;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_signature_that_one_go_gives(
            seed in any::<[u8; 32]>(),
            message in proptest::collection::vec(any::<u8>(), 0..1200),
        ) {
            let key = SigningKey::from_bytes(&seed);
            let (parts, mut signing) = (Key::new(&key), Signing::begin());
            let found = (0..99).find_map(|_| signing.advance(&parts, &message));
            prop_assert_eq!(found, Some(key.sign(&message).to_bytes()));
        }
    }
}
