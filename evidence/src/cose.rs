//! COSE_Sign1 with Ed25519 (RFC 9052 section 4.2, RFC 9053 section 2.2), as evidence uses it: one form of it, no options.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::cbor::decode::{Decoder, Malformed};
use crate::cbor::encode::{Encoder, Full, Length, Sink, Slice};
use crate::claims::{EDDSA, TAG_SIGN1};
use crate::signing;

/// Header parameters (RFC 9052, section 3.1).
const ALGORITHM: i64 = 1;
const KEY_IDENTIFIER: i64 = 4;
/// Bytes of the protected header.
const PROTECTED: usize = 38;
/// Most bytes of a payload that is signed here.
pub const MOST_PAYLOAD: usize = 960;
/// The payload and what stands around it in the bytes that are signed.
const MOST_SIGNED: usize = MOST_PAYLOAD + 64;

/// A signed token, not checked yet.
#[derive(Clone, Copy, Debug)]
pub struct Sign1<'a> {
    /// The protected header, encoded.
    protected: &'a [u8],
    /// `kid`, which is the public key.
    pub key: [u8; 32],
    /// What is signed.
    pub payload: &'a [u8],
    signature: [u8; 64],
}

fn protected(key: &[u8; 32]) -> Result<[u8; PROTECTED], Full> {
    let mut bytes = [0; PROTECTED];
    let mut encoder = Encoder(Slice::new(&mut bytes));
    encoder.map(2)?;
    encoder.integer(ALGORITHM)?;
    encoder.integer(EDDSA)?;
    encoder.integer(KEY_IDENTIFIER)?;
    encoder.bytes(key)?;
    Ok(bytes)
}

/// The `Sig_structure` of RFC 9052, section 4.4.
fn signed_bytes(sink: impl Sink, protected: &[u8], payload: &[u8]) -> Result<(), Full> {
    let mut encoder = Encoder(sink);
    encoder.array(4)?;
    encoder.text("Signature1")?;
    encoder.bytes(protected)?;
    encoder.bytes(&[])?;
    encoder.bytes(payload)
}

/// A token being signed, in steps.
pub struct Signing {
    protected: [u8; PROTECTED],
    /// The `Sig_structure`, and its bytes.
    signed: [u8; MOST_SIGNED],
    length: usize,
    steps: signing::Signing,
}

impl Signing {
    /// Begins with a key whose public half is `public`.
    ///
    /// # Errors
    /// [`Full`] where the payload is longer than [`MOST_PAYLOAD`].
    pub fn begin(public: &[u8; 32], payload: &[u8]) -> Result<Self, Full> {
        let protected = protected(public)?;
        let mut signed = [0; MOST_SIGNED];
        let mut slice = Slice::new(&mut signed);
        signed_bytes(&mut slice, &protected, payload)?;
        let length = slice.written().len();
        Ok(Self {
            protected,
            signed,
            length,
            steps: signing::Signing::begin(),
        })
    }

    /// Takes a step; writes the tagged token with the last, and says whether that was it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn advance(
        &mut self,
        key: &signing::Key,
        payload: &[u8],
        sink: impl Sink,
    ) -> Result<bool, Full> {
        let message = self.signed.get(..self.length).unwrap_or_default();
        match self.steps.advance(key, message) {
            Some(signature) => write(sink, &self.protected, payload, &signature).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Signs `payload` and writes the tagged token.
///
/// # Errors
/// [`Full`], also where the payload is longer than [`MOST_PAYLOAD`].
pub fn sign(sink: impl Sink, key: &SigningKey, payload: &[u8]) -> Result<(), Full> {
    let protected = protected(key.verifying_key().as_bytes())?;
    let mut memory = [0; MOST_SIGNED];
    let mut signed = Slice::new(&mut memory);
    signed_bytes(&mut signed, &protected, payload)?;
    let signature = key.sign(signed.written());
    write(sink, &protected, payload, &signature.to_bytes())
}

/// Bytes of the tagged token with a payload of this length.
///
/// # Errors
/// [`Full`] where it is longer than [`MOST_PAYLOAD`].
pub fn signed_length(payload: usize) -> Result<u64, Full> {
    let zeros = [0; MOST_PAYLOAD];
    let payload = zeros.get(..payload).ok_or(Full)?;
    let mut length = Length::default();
    write(&mut length, &[0; PROTECTED], payload, &[0; 64])?;
    Ok(length.0)
}

fn write(
    sink: impl Sink,
    protected: &[u8; PROTECTED],
    payload: &[u8],
    signature: &[u8; 64],
) -> Result<(), Full> {
    let mut encoder = Encoder(sink);
    encoder.tag(TAG_SIGN1)?;
    encoder.array(4)?;
    encoder.bytes(protected)?;
    encoder.map(0)?;
    encoder.bytes(payload)?;
    encoder.bytes(signature)
}

impl<'a> Sign1<'a> {
    /// Reads a tagged token.
    ///
    /// # Errors
    /// [`Malformed`]; other headers and algorithms are `UnknownKey` and `Range`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Decoder::whole(bytes, |decoder| {
            decoder.tag(TAG_SIGN1)?;
            decoder.array_of(4)?;
            let protected = decoder.bytes()?;
            if let Some(key) = decoder.map()?.number(decoder)? {
                return Err(Malformed::UnknownKey(key));
            }
            Ok(Self {
                protected,
                key: Decoder::whole(protected, read_protected)?,
                payload: decoder.bytes()?,
                signature: decoder.array_of_bytes()?,
            })
        })
    }

    /// Whether the holder of [`Sign1::key`] signed this.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let mut memory = [0; MOST_SIGNED];
        let mut signed = Slice::new(&mut memory);
        let fits = signed_bytes(&mut signed, self.protected, self.payload);
        let signature = Signature::from_bytes(&self.signature);
        match (fits, VerifyingKey::from_bytes(&self.key)) {
            (Ok(()), Ok(key)) => key.verify_strict(signed.written(), &signature).is_ok(),
            _ => false,
        }
    }
}

fn read_protected(decoder: &mut Decoder<'_>) -> Result<[u8; 32], Malformed> {
    let mut map = decoder.map()?;
    let (mut algorithm, mut identifier) = (None, None);
    while let Some(key) = map.number(decoder)? {
        match key {
            ALGORITHM => algorithm = Some(decoder.integer()?),
            KEY_IDENTIFIER => identifier = Some(decoder.array_of_bytes()?),
            _ => return Err(Malformed::UnknownKey(key)),
        }
    }
    match algorithm {
        Some(EDDSA) => identifier.ok_or(Malformed::MissingKey(KEY_IDENTIFIER)),
        Some(_) => Err(Malformed::Range),
        None => Err(Malformed::MissingKey(ALGORITHM)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coset::{CborSerializable, TaggedCborSerializable, iana};

    extern crate std;
    use std::vec::Vec;

    fn token(payload: &[u8]) -> (SigningKey, [u8; 2048], usize) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut memory = [0; 2048];
        let mut slice = Slice::new(&mut memory);
        sign(&mut slice, &key, payload).expect("room");
        let length = slice.written().len();
        (key, memory, length)
    }

    #[test]
    fn what_is_signed_is_genuine_and_nothing_else() {
        let (key, memory, length) = token(b"payload");
        let bytes = &memory[..length];
        let read = Sign1::decode(bytes).expect("read");
        assert_eq!(
            (read.payload, read.key),
            (&b"payload"[..], key.verifying_key().to_bytes())
        );
        assert!(read.is_genuine());
        for bit in 0..length * 8 {
            let mut changed = Vec::from(bytes);
            changed[bit / 8] ^= 1 << (bit % 8);
            let genuine = Sign1::decode(&changed).is_ok_and(|token| token.is_genuine());
            assert!(!genuine, "bit {bit}");
        }
    }

    /// Another implementation of COSE reads the token and checks the signature over its own `Sig_structure`.
    #[test]
    fn another_implementation_agrees() {
        let (key, memory, length) = token(b"payload");
        let token = coset::CoseSign1::from_tagged_slice(&memory[..length]).expect("read");
        let header = &token.protected.header;
        let algorithm = coset::Algorithm::Assigned(iana::Algorithm::EdDSA);
        assert_eq!(header.alg, Some(algorithm));
        assert_eq!(header.key_id, key.verifying_key().as_bytes());
        let check = |signature: &[u8], data: &[u8]| {
            let signature = Signature::from_slice(signature)?;
            key.verifying_key().verify_strict(data, &signature)
        };
        token.verify_signature(&[], check).expect("genuine");
        let protected = token.protected.clone().to_vec();
        assert!(protected.is_ok());
    }

    #[test]
    fn signing_in_steps_gives_the_same_token() {
        let (key, memory, length) = token(b"payload");
        let parts = signing::Key::new(&key);
        let mut signing = Signing::begin(&parts.public(), b"payload").expect("room");
        let mut written = Vec::new();
        let mut steps = 1;
        while !signing
            .advance(&parts, b"payload", &mut written)
            .expect("room")
        {
            steps += 1;
        }
        assert_eq!(written.as_slice(), &memory[..length]);
        assert!(steps > 5, "{steps} steps");
    }

    #[test]
    fn too_long_a_payload_is_refused() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut memory = [0; 4096];
        let long = [0; MOST_SIGNED];
        assert_eq!(sign(Slice::new(&mut memory), &key, &long), Err(Full));
    }
}
