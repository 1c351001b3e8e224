//! The signature of a SIGSTRUCT: RSASSA-PKCS1-v1_5 with 3072 bits, exponent 3 and SHA-256.
//!
//! The signer supplies the quotients of the two divisions (Q1, Q2), so that verifying takes four multiplications and no division; a wrong
//! quotient is as bad as a wrong signature (SDM, EINIT). Everything here is public, so nothing has to take constant time.

use sha2::{Digest, Sha256};

use crate::structures::Sigstruct;

const LIMBS: usize = 48;

/// A number of 3072 bits, least significant limb first.
pub(crate) type Number = [u64; LIMBS];

/// What precedes a SHA-256 hash in its DigestInfo (RFC 8017, section 9.2).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0D, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// The first half: the signature's square modulo the modulus. `None` if Q1 is not the quotient.
pub(crate) fn square(signature: &Sigstruct) -> Option<Number> {
    let modulus = number(signature.modulus());
    let root = number(signature.signature());
    is_less(&root, &modulus).then_some(())?;
    remainder(&root, &root, &number(signature.q1()), &modulus)
}

/// The second half: whether square times signature is the padded hash.
pub(crate) fn is_valid(signature: &Sigstruct, square: &Number) -> bool {
    let modulus = number(signature.modulus());
    let root = number(signature.signature());
    remainder(square, &root, &number(signature.q2()), &modulus)
        .is_some_and(|cube| cube == number(&padded(signature)))
}

/// The padded hash of what is signed, little-endian.
fn padded(signature: &Sigstruct) -> [u8; 384] {
    let mut hash = Sha256::new();
    for part in signature.signed() {
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut message = [0xFF; 384];
    message[0] = 0;
    message[1] = 1;
    message[332] = 0;
    message[333..352].copy_from_slice(&DIGEST_INFO);
    message[352..].copy_from_slice(&digest);
    message.reverse();
    message
}

fn number(bytes: &[u8; 384]) -> Number {
    let mut number = [0; LIMBS];
    for (limb, bytes) in number.iter_mut().zip(bytes.chunks_exact(8)) {
        *limb = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
    }
    number
}

fn is_less(left: &Number, right: &Number) -> bool {
    left.iter().rev().lt(right.iter().rev())
}

/// `left * right - quotient * modulus`, if that lies between 0 and the modulus.
fn remainder(left: &Number, right: &Number, quotient: &Number, modulus: &Number) -> Option<Number> {
    let mut wide = [0; 2 * LIMBS];
    for (start, factor) in left.iter().enumerate() {
        add_product(&mut wide[start..], *factor, right);
    }
    for (start, factor) in quotient.iter().enumerate() {
        subtract_product(&mut wide[start..], *factor, modulus)?;
    }
    let (low, high) = wide.split_first_chunk::<LIMBS>()?;
    let fits = high.iter().all(|limb| *limb == 0) && is_less(low, modulus);
    fits.then_some(*low)
}

/// Adds to limbs that have room for the sum.
fn add_product(sum: &mut [u64], factor: u64, number: &Number) {
    let mut limbs = sum.iter_mut();
    let mut carry = 0;
    for (limb, place) in number.iter().zip(limbs.by_ref()) {
        let value = u128::from(*limb) * u128::from(factor) + u128::from(*place) + carry;
        *place = value as u64;
        carry = value >> 64;
    }
    if let Some(place) = limbs.next() {
        *place = place.wrapping_add(carry as u64);
    }
}

/// Subtracts; `None` if the difference is negative.
fn subtract_product(difference: &mut [u64], factor: u64, number: &Number) -> Option<()> {
    let mut limbs = difference.iter_mut();
    let mut borrow = 0;
    for (limb, place) in number.iter().zip(limbs.by_ref()) {
        let value = u128::from(*limb) * u128::from(factor) + borrow;
        let (rest, under) = place.overflowing_sub(value as u64);
        *place = rest;
        borrow = (value >> 64) + u128::from(under);
    }
    for place in limbs {
        let (rest, under) = place.overflowing_sub(borrow as u64);
        *place = rest;
        borrow = under.into();
        if borrow == 0 {
            break;
        }
    }
    (borrow == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::{Number, square};
    use crate::structures::Sigstruct;

    fn small(value: u8) -> [u8; 384] {
        let mut bytes = [0; 384];
        bytes[0] = value;
        bytes
    }

    fn squared(modulus: u8, signature: u8, quotient: u8) -> Option<Number> {
        let mut shown = Sigstruct::zeroed();
        shown.set_modulus(&small(modulus));
        shown.set_signature(&small(signature));
        shown.set_q1(&small(quotient));
        square(&shown)
    }

    #[test]
    fn only_the_quotient_itself_will_do() {
        let four = squared(13, 11, 9);
        assert_eq!(four.map(|number| number[0]), Some(4));
        // 121 is also 8 * 13 + 17, and 10 * 13 less 9.
        assert_eq!(squared(13, 11, 8), None);
        assert_eq!(squared(13, 11, 10), None);
        assert_eq!(squared(0, 11, 9), None);
    }

    #[test]
    fn a_signature_is_less_than_its_modulus() {
        assert!(squared(13, 12, 11).is_some());
        assert_eq!(squared(13, 13, 13), None);
        assert_eq!(squared(13, 14, 15), None);
    }
}
