//! Pages outside the EPC: AES-128-GCM (NIST SP 800-38D), some blocks at a time.
//!
//! The nonce is the page's version, which no two pages ever share under one key.

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;

use crate::keys::Key;

/// Bytes of a block.
const BLOCK: usize = 16;
/// Bytes that are worked on together.
pub(crate) const CHUNK: usize = 256;
/// Bytes of the header.
pub(crate) const HEADER: usize = 128;

/// What is authenticated beside the page (the SDM's MAC_HDR): EID, LINADDR, PCMD's reserved bytes, SECINFO.
pub(crate) type Header = [u8; HEADER];

/// Encrypting or decrypting one page.
pub(crate) struct PageCipher {
    cipher: Aes128,
    hash: GHash,
    /// The counter block of the tag; the page's follow.
    first: [u8; BLOCK],
    counter: u32,
}

impl PageCipher {
    pub fn new(key: &Key, version: u64, header: &Header) -> Self {
        let cipher = Aes128::new(&(*key).into());
        let mut subkey = [0; BLOCK].into();
        cipher.encrypt_block(&mut subkey);
        let mut hash = GHash::new(&subkey);
        hash.update_padded(header);
        let mut first = [0; BLOCK];
        first[4..12].copy_from_slice(&version.to_be_bytes());
        first[12..].copy_from_slice(&1_u32.to_be_bytes());
        Self {
            cipher,
            hash,
            first,
            counter: 1,
        }
    }

    /// Encrypts the next part of the page.
    pub fn encrypt(&mut self, bytes: &mut [u8; CHUNK]) {
        self.apply(bytes);
        self.hash.update_padded(bytes);
    }

    /// Decrypts the next part of the page; not to be believed before the tag is.
    pub fn decrypt(&mut self, bytes: &mut [u8; CHUNK]) {
        self.hash.update_padded(bytes);
        self.apply(bytes);
    }

    fn apply(&mut self, bytes: &mut [u8; CHUNK]) {
        let mut stream = [[0; BLOCK].into(); CHUNK / BLOCK];
        for block in &mut stream {
            self.counter = self.counter.wrapping_add(1);
            *block = self.counter_block(self.counter).into();
        }
        self.cipher.encrypt_blocks(&mut stream);
        let (blocks, _) = bytes.as_chunks_mut::<BLOCK>();
        for (block, mask) in blocks.iter_mut().zip(stream) {
            let sum = u128::from_ne_bytes(*block) ^ u128::from_ne_bytes(mask.into());
            *block = sum.to_ne_bytes();
        }
    }

    fn counter_block(&self, counter: u32) -> [u8; BLOCK] {
        let mut block = self.first;
        block[12..].copy_from_slice(&counter.to_be_bytes());
        block
    }

    /// The tag, after `length` bytes of the page.
    pub fn tag(&self, length: u64) -> Key {
        let mut lengths = [0; BLOCK];
        lengths[..8].copy_from_slice(&(HEADER as u64 * 8).to_be_bytes());
        lengths[8..].copy_from_slice(&(length * 8).to_be_bytes());
        let mut hash = self.hash.clone();
        hash.update(&[lengths.into()]);
        let mut mask = self.first.into();
        self.cipher.encrypt_block(&mut mask);
        let mut tag: Key = hash.finalize().into();
        for (byte, mask) in tag.iter_mut().zip(mask) {
            *byte ^= mask;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use aes_gcm::aead::{Aead, Payload};
    use aes_gcm::{Aes128Gcm, KeyInit as _};
    use std::vec::Vec;

    use super::{CHUNK, HEADER, Header, PageCipher};

    fn page() -> Vec<u8> {
        (0..4096_u32).map(|byte| (byte * 31 / 8) as u8).collect()
    }

    #[test]
    fn a_page_is_encrypted_as_the_whole_of_aes_gcm_does() {
        for version in [8, 0x0123_4567_89AB_CDE8] {
            let key = core::array::from_fn(|byte| byte as u8 * 7);
            let header: Header = core::array::from_fn(|byte| byte as u8);
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&u64::to_be_bytes(version));
            let payload = Payload {
                msg: &page(),
                aad: &header,
            };
            let whole = Aes128Gcm::new(&key.into()).encrypt(&nonce.into(), payload);
            let whole = whole.expect("encrypted");

            let mut cipher = PageCipher::new(&key, version, &header);
            let mut parts = page();
            for part in parts.chunks_exact_mut(CHUNK) {
                cipher.encrypt(part.try_into().expect("a chunk"));
            }
            assert_eq!(parts, whole[..4096]);
            assert_eq!(cipher.tag(4096)[..], whole[4096..]);

            let mut cipher = PageCipher::new(&key, version, &header);
            for part in parts.chunks_exact_mut(CHUNK) {
                cipher.decrypt(part.try_into().expect("a chunk"));
            }
            assert_eq!(parts, page());
            assert_eq!(cipher.tag(4096)[..], whole[4096..]);
        }
        assert_eq!(HEADER, 128);
    }
}
