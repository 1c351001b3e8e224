//! The TPM's statement: TPM 2.0 Library specification, revision 1.59, part 2.

use core::mem::offset_of;

use adyton::Environment;
use adyton::abi::quote::{QuotePage, REGISTERS};
use adyton_evidence::tpm::{Attest, Key};
use anyhow::{Result, anyhow, ensure};
use sha2::{Digest, Sha256};

/// What comes back from a quote.
pub struct Statement {
    /// `TPMS_ATTEST`.
    pub attested: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// The monitor's key.
    pub monitor_key: [u8; 32],
    /// The values of [`REGISTERS`].
    pub registers: [[u8; 32]; REGISTERS.len()],
    resets: [u64; 2],
}

impl Statement {
    /// Writes what a quote is asked for with.
    pub fn prepare(place: &impl Environment, page: u64, size: u64, nonce: &[u8]) {
        place.store(page + offset_of!(QuotePage, nonce_size) as u64, size);
        place.write(page + offset_of!(QuotePage, nonce) as u64, nonce);
    }

    /// Reads what came back.
    pub fn read(place: &impl Environment, page: u64) -> Self {
        let number = |offset: usize| place.load(page + offset as u64);
        let bytes = |offset: usize, size: u64| {
            let mut bytes = vec![0; size as usize];
            place.read(page + offset as u64, &mut bytes);
            bytes
        };
        let mut monitor_key = [0; 32];
        let offset = offset_of!(QuotePage, monitor_key) as u64;
        place.read(page + offset, &mut monitor_key);
        let mut registers = [[0; 32]; REGISTERS.len()];
        let offset = offset_of!(QuotePage, registers) as u64;
        place.read(page + offset, registers.as_flattened_mut());
        let resets = offset_of!(QuotePage, resets);
        Self {
            attested: bytes(
                offset_of!(QuotePage, statement),
                number(offset_of!(QuotePage, statement_size)),
            ),
            signature: bytes(
                offset_of!(QuotePage, signature),
                number(offset_of!(QuotePage, signature_size)),
            ),
            public: bytes(
                offset_of!(QuotePage, public),
                number(offset_of!(QuotePage, public_size)),
            ),
            monitor_key,
            registers,
            resets: [number(resets), number(resets + 8)],
        }
    }

    /// Everything that a verifier looks at but the log.
    pub fn check(&self, nonce: &[u8]) -> Result<()> {
        let signed = self.key()?.signed(&self.attested, &self.signature);
        ensure!(signed, "the signature");
        let quote = Attest::decode(&self.attested).map_err(|_| anyhow!("no quote of a TPM"))?;
        ensure!(
            quote.extra == self.qualification(nonce),
            "another nonce or key"
        );
        let resets = [quote.clock.resets, quote.clock.restarts].map(u64::from);
        ensure!(resets == self.resets, "reset since the boot: {resets:?}");
        ensure!(quote.covers_quoted, "other registers");
        let digest = Sha256::digest(self.registers.as_flattened());
        ensure!(quote.digest == *digest, "other values");
        Ok(())
    }

    /// The key that signed, a restricted signing key of the TPM's.
    fn key(&self) -> Result<Key> {
        Key::decode(&self.public).map_err(|problem| anyhow!("no attestation key: {problem:?}"))
    }

    /// The qualifying data for a nonce.
    pub fn qualification(&self, nonce: &[u8]) -> [u8; 32] {
        Sha256::new()
            .chain_update(b"ADYTON-QUOTE-1\0\0")
            .chain_update(self.monitor_key)
            .chain_update([nonce.len() as u8])
            .chain_update(nonce)
            .finalize()
            .into()
    }

    /// The key as a SubjectPublicKeyInfo (RFC 5480) of P-256.
    pub fn public_key(&self) -> Result<Vec<u8>> {
        // Up to the point, and its form: uncompressed (SEC 1).
        const BEGINNING: [u8; 27] = [
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
        ];
        let key = self.key()?;
        Ok([BEGINNING.as_slice(), &key.x, &key.y].concat())
    }

    /// The registers' values as tpm2-tools keep them in a file: a selection (`TPML_PCR_SELECTION`), then lists of up to eight
    /// digests (`TPML_DIGEST`) behind their number, all as the structures lie in memory.
    pub fn register_file(&self) -> Vec<u8> {
        const SELECTIONS: usize = 16;
        const DIGESTS: usize = 8;
        const LONGEST_DIGEST: usize = 64;
        let mut file = 1_u32.to_le_bytes().to_vec();
        file.extend([0xb, 0, 3, 0xff, 0x13, 0, 0, 0]);
        file.resize(4 + SELECTIONS * 8, 0);
        let lists = self.registers.chunks(DIGESTS);
        file.extend((lists.len() as u32).to_le_bytes());
        for list in lists {
            let end = file.len() + 4 + DIGESTS * (2 + LONGEST_DIGEST);
            file.extend((list.len() as u32).to_le_bytes());
            for value in list {
                file.extend((value.len() as u16).to_le_bytes());
                file.extend(value);
                file.resize(file.len() + LONGEST_DIGEST - value.len(), 0);
            }
            file.resize(end, 0);
        }
        file
    }
}
