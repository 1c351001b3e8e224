//! The page of [`Call::Enrol`](crate::call::Call::Enrol): how somebody far away comes to know a machine's attestation key.

use core::mem::{offset_of, size_of};

/// Most bytes of a credential.
pub const MOST_CREDENTIAL: usize = 128;
/// Most bytes of the secret that a credential is encrypted with.
pub const MOST_SECRET: usize = 512;
/// Most bytes of an answer.
pub const MOST_ANSWER: usize = 512;

/// What [`Call::Enrol`](crate::call::Call::Enrol) does: its argument 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Step {
    /// Shows the part of the endorsement key's certificate that begins at the offset in argument 2.
    Certificate = 0,
    /// Opens a credential (TPM2_ActivateCredential): only the TPM that has both the certified endorsement key and the attestation
    /// key for which it was made can.
    Activate = 1,
}

impl Step {
    /// The step with the number `value`.
    #[must_use]
    pub const fn from_number(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Certificate),
            1 => Some(Self::Activate),
            _ => None,
        }
    }
}

/// The page. All numbers are little-endian, as the processor's.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct EnrolmentPage {
    /// In: bytes of the credential.
    pub credential_size: u64,
    /// In: bytes of the secret.
    pub secret_size: u64,
    /// In: the credential (TPMS_ID_OBJECT).
    pub credential: [u8; MOST_CREDENTIAL],
    /// In: the secret under which it is encrypted, itself encrypted for the endorsement key (the contents of TPM2B_ENCRYPTED_SECRET).
    pub secret: [u8; MOST_SECRET],
    /// Out: bytes of the whole certificate; 0 after an activation.
    pub whole_size: u64,
    /// Out: bytes of the answer.
    pub answer_size: u64,
    /// Out: a part of the certificate (X.509, DER), or what the credential holds.
    pub answer: [u8; MOST_ANSWER],
}

const _: () = {
    assert!(offset_of!(EnrolmentPage, secret) == 144);
    assert!(offset_of!(EnrolmentPage, whole_size) == 656);
    assert!(size_of::<EnrolmentPage>() == 1184);
};
