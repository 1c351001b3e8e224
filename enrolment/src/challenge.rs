//! A challenge: TPM2_MakeCredential without a TPM (TPM 2.0 Library, part 1, section 24 and annex B.10.4), for an endorsement key of
//! template L-1 (RSA 2048, name algorithm SHA-256, AES-128).

use aes::Aes128;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit as _};
use hmac::{Hmac, Mac};
use rsa::rand_core::{OsRng, RngCore};
use rsa::{Oaep, RsaPublicKey};
use sha2::Sha256;

use crate::Refusal;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// TPMS_ID_OBJECT.
    pub credential: Vec<u8>,
    /// The seed of its keys, encrypted for the endorsement key.
    pub secret: Vec<u8>,
}

/// Bytes of what the challenge holds.
pub const SIZE: usize = 32;

/// Random bytes.
#[must_use]
pub fn random() -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// Makes a challenge that holds `content`, for the TPM with this endorsement key, and there for the key with this name.
///
/// # Errors
/// If the endorsement key encrypts nothing.
pub fn make(
    key: &RsaPublicKey,
    name: &[u8; 34],
    content: &[u8; SIZE],
) -> Result<Challenge, Refusal> {
    let seed = random();
    let padding = Oaep::new_with_label::<rsa::sha2::Sha256, _>("IDENTITY\0");
    let secret = key.encrypt(&mut OsRng, padding, &seed);
    let secret =
        secret.map_err(|error| Refusal::Unreadable("the endorsement key", error.to_string()))?;
    Ok(Challenge {
        credential: seal(&seed, name, content),
        secret,
    })
}

/// TPMS_ID_OBJECT: the digest of what is encrypted and of the name, then what is encrypted, which has its size in front.
fn seal(seed: &[u8; 32], name: &[u8; 34], content: &[u8; SIZE]) -> Vec<u8> {
    let mut encrypted = (SIZE as u16).to_be_bytes().to_vec();
    encrypted.extend(content);
    let whole = derive(seed, "STORAGE", name, 128);
    encrypt(&std::array::from_fn(|index| whole[index]), &mut encrypted);
    let integrity = derive(seed, "INTEGRITY", &[], 256);
    let digest = code(&integrity, &[&encrypted, name]);
    let mut object = (digest.len() as u16).to_be_bytes().to_vec();
    object.extend(digest);
    object.extend(encrypted);
    object
}

/// KDFa with SHA-256, one block (part 1, section 11.4.10.2).
fn derive(key: &[u8], label: &str, context: &[u8], bits: u32) -> [u8; 32] {
    let (count, bits) = (1_u32.to_be_bytes(), bits.to_be_bytes());
    code(key, &[&count, label.as_bytes(), &[0], context, &bits])
}

fn code(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes any key");
    parts.iter().for_each(|part| code.update(part));
    code.finalize().into_bytes().into()
}

/// AES-128 in CFB mode from zero (NIST SP 800-38A, section 6.3).
fn encrypt(key: &[u8; 16], bytes: &mut [u8]) {
    let cipher = Aes128::new(key.into());
    let mut block = Block::<Aes128>::default();
    for chunk in bytes.chunks_mut(16) {
        cipher.encrypt_block(&mut block);
        for (byte, mask) in chunk.iter_mut().zip(&mut block) {
            *byte ^= *mask;
            *mask = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197: AES of the zero block, and of the result.
    #[test]
    fn it_is_cfb() {
        let mut once = [0; 32];
        encrypt(&[0; 16], &mut once);
        assert_eq!(once[..4], [0x66, 0xe9, 0x4b, 0xd4]);
        assert_eq!(once[16..20], [0xf7, 0x95, 0xbd, 0x4a]);
        let mut short = [1, 2];
        encrypt(&[0; 16], &mut short);
        assert_eq!(short, [0x67, 0xeb]);
    }
}
