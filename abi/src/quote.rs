//! The page of [`Call::Quote`](crate::call::Call::Quote): a nonce goes in, the TPM's statement comes out.

use core::mem::{offset_of, size_of};

/// Bytes of the longest nonce.
pub const LONGEST_NONCE: usize = 64;
/// The quoted registers, in this order; all of the SHA-256 bank.
pub const REGISTERS: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12];

/// The page. All numbers are little-endian, as the processor's.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct QuotePage {
    /// In: bytes of the nonce, 1 to 64.
    pub nonce_size: u64,
    /// In: the nonce.
    pub nonce: [u8; LONGEST_NONCE],
    /// Out: bytes of the statement.
    pub statement_size: u64,
    /// Out: bytes of its signature.
    pub signature_size: u64,
    /// Out: bytes of the attestation key's public part.
    pub public_size: u64,
    /// Out: how often the TPM had been reset when the monitor started, and restarted since that reset.
    pub resets: [u64; 2],
    /// Out: the monitor's own public key, Ed25519.
    pub monitor_key: [u8; 32],
    /// Out: the values of [`REGISTERS`].
    pub registers: [[u8; 32]; REGISTERS.len()],
    /// Out: the statement, a `TPMS_ATTEST`.
    pub statement: [u8; 512],
    /// Out: its signature, a `TPMT_SIGNATURE`.
    pub signature: [u8; 256],
    /// Out: the attestation key, a `TPMT_PUBLIC`.
    pub public: [u8; 256],
}

const _: () = {
    assert!(offset_of!(QuotePage, statement_size) == 72);
    assert!(offset_of!(QuotePage, monitor_key) == 112);
    assert!(offset_of!(QuotePage, registers) == 144);
    assert!(offset_of!(QuotePage, statement) == 496);
    assert!(size_of::<QuotePage>() == 1520);
};
