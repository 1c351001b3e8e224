//! Commands about the endorsement key: TPM 2.0 Library, part 3, sections 12.5 and 23.4; TCG EK Credential Profile, version 2.5. Pure.

use super::command::{
    AnswerError, ENDORSEMENT, Message, NULL, PASSWORD_SESSION, Reader, SESSION_SIZE, SESSIONS,
    SHA256, Writer, create_primary,
};

const ACTIVATE: u32 = 0x147;
const POLICY_SECRET: u32 = 0x151;

const RSA: u16 = 0x0001;
const AES: u16 = 0x0006;
const CFB: u16 = 0x0043;
const BITS: u16 = 2048;
/// Fixed to this TPM and parent, made by it, used under its policy only, restricted, for decryption.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 16 | 1 << 17;
/// PolicySecret of the endorsement hierarchy.
const POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// The index that holds the certificate of the endorsement key with [`create_endorsement_key`]'s template (section 2.2.1.4).
pub const CERTIFICATE: u32 = 0x01c0_0002;

/// `TPM2_CreatePrimary` of the endorsement key by template L-1: RSA with 2048 bits, always the same in the same TPM.
#[must_use]
pub fn create_endorsement_key() -> Message {
    let public = Writer::structure()
        .word(RSA)
        .word(SHA256)
        .double(ATTRIBUTES)
        .sized(&POLICY)
        .word(AES)
        .word(128)
        .word(CFB)
        .word(NULL)
        .word(BITS)
        .double(0)
        .sized(&[0; BITS as usize / 8]);
    create_primary(&public)
}

/// `TPM2_PolicySecret`: the endorsement hierarchy's password, which is empty, is known.
#[must_use]
pub fn require_endorsement(session: u32) -> Message {
    Writer::new(SESSIONS, POLICY_SECRET)
        .double(ENDORSEMENT)
        .double(session)
        .authorization()
        .sized(&[])
        .sized(&[])
        .sized(&[])
        .double(0)
        .finish()
}

/// `TPM2_ActivateCredential` for `key`, with the endorsement key and a session in which its policy is fulfilled. The session ends if it succeeds.
#[must_use]
pub fn activate(
    key: u32,
    endorsement_key: u32,
    session: u32,
    credential: &[u8],
    secret: &[u8],
) -> Message {
    Writer::new(SESSIONS, ACTIVATE)
        .double(key)
        .double(endorsement_key)
        .double(2 * SESSION_SIZE)
        .session(PASSWORD_SESSION, &[])
        .session(session, &[])
        .sized(credential)
        .sized(secret)
        .finish()
}

/// The answer to [`activate`]: what the credential holds.
///
/// # Errors
/// If it is none.
pub fn activated(answer: &[u8]) -> Result<&[u8], AnswerError> {
    let mut reader = Reader::open(answer)?;
    reader.double()?;
    reader.sized()
}
