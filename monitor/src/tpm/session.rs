//! Commands by which a policy is fulfilled: TPM 2.0 Library, part 3, sections 11.1, 20.1 and 23. Pure.

use adyton_secrets::approval::Approval;
use adyton_secrets::index::Index;
use adyton_secrets::maintainer::MaintainerKey;
use adyton_secrets::policy::{NOT_GREATER, Policy, REFERENCE, selection};

use super::command::{
    AnswerError, ECDSA, Message, NO_SESSIONS, NULL, Reader, SESSIONS, SHA256, Writer,
};

const POLICY_NV: u32 = 0x149;
const FLUSH: u32 = 0x165;
const LOAD_EXTERNAL: u32 = 0x167;
const POLICY_AUTHORIZE: u32 = 0x16a;
const START_SESSION: u32 = 0x176;
const VERIFY_SIGNATURE: u32 = 0x177;
const POLICY_PCR: u32 = 0x17f;

const OWNER: u32 = 0x4000_0001;
const NOBODY: u32 = 0x4000_0007;
const POLICY_SESSION: u8 = 1;

/// `TPM2_StartAuthSession` of a policy. Nothing is encrypted, so its nonce protects nothing.
#[must_use]
pub fn start() -> Message {
    Writer::new(NO_SESSIONS, START_SESSION)
        .double(NOBODY)
        .double(NOBODY)
        .sized(&[0; 16])
        .sized(&[])
        .byte(POLICY_SESSION)
        .word(NULL)
        .word(SHA256)
        .finish()
}

/// The answer to [`start`] and [`load_key`]: the handle.
///
/// # Errors
/// If it is none.
pub fn handle(answer: &[u8]) -> Result<u32, AnswerError> {
    Reader::open(answer)?.double()
}

/// `TPM2_FlushContext` of a session or a key.
#[must_use]
pub fn flush(handle: u32) -> Message {
    Writer::new(NO_SESSIONS, FLUSH).double(handle).finish()
}

/// `TPM2_PolicyNV`: the counter, which needs no password, is not greater than `limit`.
#[must_use]
pub fn require_not_greater(session: u32, index: &Index, limit: u64) -> Message {
    Writer::new(SESSIONS, POLICY_NV)
        .double(index.handle)
        .double(index.handle)
        .double(session)
        .authorization()
        .sized(&limit.to_be_bytes())
        .word(0)
        .word(NOT_GREATER)
        .finish()
}

/// `TPM2_PolicyPCR`: these registers are what they are now.
#[must_use]
pub fn require_registers(session: u32, registers: &[u32]) -> Message {
    Writer::new(NO_SESSIONS, POLICY_PCR)
        .double(session)
        .sized(&[])
        .bytes(&selection(registers))
        .finish()
}

/// `TPM2_LoadExternal` of the maintainer's key, in the owner's hierarchy: in none, the TPM would not vouch for what it verifies.
#[must_use]
pub fn load_key(key: &MaintainerKey) -> Message {
    Writer::new(NO_SESSIONS, LOAD_EXTERNAL)
        .word(0)
        .sized(&key.public())
        .double(OWNER)
        .finish()
}

/// `TPM2_VerifySignature` of an approval.
#[must_use]
pub fn verify(key: u32, approval: &Approval) -> Message {
    let policy = Policy::of_release(approval.release, approval.started);
    let (r, s) = approval.signature.split_at(32);
    Writer::new(NO_SESSIONS, VERIFY_SIGNATURE)
        .double(key)
        .sized(&policy.to_sign())
        .word(ECDSA)
        .word(SHA256)
        .sized(r)
        .sized(s)
        .finish()
}

/// The TPM's word for a signature that it has verified (`TPMT_TK_VERIFIED`).
pub type Ticket = arrayvec::ArrayVec<u8, 80>;

/// The answer to [`verify`].
///
/// # Errors
/// If it is none: the signature is wrong.
pub fn ticket(answer: &[u8]) -> Result<Ticket, AnswerError> {
    let mut reader = Reader::open(answer)?;
    let head: [u8; 6] = reader.array()?;
    let digest = reader.sized()?;
    let mut ticket = Ticket::new();
    for part in [&head[..], &(digest.len() as u16).to_be_bytes(), digest] {
        ticket
            .try_extend_from_slice(part)
            .map_err(|_| AnswerError::Malformed)?;
    }
    Ok(ticket)
}

/// `TPM2_PolicyAuthorize`: what was required so far has been signed.
#[must_use]
pub fn authorize(
    session: u32,
    approval: &Approval,
    key: &MaintainerKey,
    ticket: &Ticket,
) -> Message {
    let policy = Policy::of_release(approval.release, approval.started);
    Writer::new(NO_SESSIONS, POLICY_AUTHORIZE)
        .double(session)
        .sized(&policy.0)
        .sized(REFERENCE)
        .sized(&key.name())
        .bytes(ticket)
        .finish()
}
