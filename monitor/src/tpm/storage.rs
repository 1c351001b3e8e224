//! Commands about what lies in the TPM: TPM 2.0 Library, part 3, section 31 (non-volatile storage). Pure.

use adyton_secrets::index::Index;

use super::command::{AnswerError, Message, NO_SESSIONS, Reader, SESSION_SIZE, SESSIONS, Writer};

const UNDEFINE: u32 = 0x122;
const DEFINE: u32 = 0x12a;
const INCREMENT: u32 = 0x134;
const WRITE: u32 = 0x137;
const READ: u32 = 0x14e;
const READ_PUBLIC: u32 = 0x169;

const OWNER: u32 = 0x4000_0001;

/// What stands for "there is no such index": TPM_RC_HANDLE with its first handle (part 2, section 6.6.3).
pub const NO_INDEX: u32 = 0x18b;

/// The TPM's storage is full: TPM_RC_NV_SPACE.
pub const NO_ROOM: u32 = 0x14b;

/// What shows that an index may be used.
#[derive(Clone, Copy, Debug)]
pub enum Authorization<'a> {
    /// Its own password.
    Password(&'a [u8]),
    /// A session in which its policy was fulfilled; it ends with the command.
    Policy(u32),
}

impl Authorization<'_> {
    fn write(self, writer: Writer) -> Writer {
        match self {
            Self::Password(password) => writer.password(password),
            Self::Policy(session) => writer.double(SESSION_SIZE).session(session, &[]),
        }
    }
}

/// `TPM2_NV_DefineSpace`, by the owner without a password.
#[must_use]
pub fn define(index: &Index, password: &[u8]) -> Message {
    Writer::new(SESSIONS, DEFINE)
        .double(OWNER)
        .authorization()
        .sized(password)
        .sized(&index.encode())
        .finish()
}

/// `TPM2_NV_UndefineSpace`, by the owner without a password.
#[must_use]
pub fn undefine(handle: u32) -> Message {
    Writer::new(SESSIONS, UNDEFINE)
        .double(OWNER)
        .double(handle)
        .authorization()
        .finish()
}

/// `TPM2_NV_ReadPublic`.
#[must_use]
pub fn read_public(handle: u32) -> Message {
    Writer::new(NO_SESSIONS, READ_PUBLIC)
        .double(handle)
        .finish()
}

/// The answer to [`read_public`]: the public part (`TPMS_NV_PUBLIC`).
///
/// # Errors
/// If it is none.
pub fn public(answer: &[u8]) -> Result<&[u8], AnswerError> {
    Reader::open(answer)?.sized()
}

/// `TPM2_NV_Increment`.
#[must_use]
pub fn increment(handle: u32, authorization: Authorization<'_>) -> Message {
    let writer = Writer::new(SESSIONS, INCREMENT)
        .double(handle)
        .double(handle);
    authorization.write(writer).finish()
}

/// `TPM2_NV_Write` from the beginning.
#[must_use]
pub fn write(handle: u32, authorization: Authorization<'_>, contents: &[u8]) -> Message {
    let writer = Writer::new(SESSIONS, WRITE).double(handle).double(handle);
    let writer = authorization.write(writer);
    writer.sized(contents).word(0).finish()
}

/// `TPM2_NV_Read` from the beginning.
#[must_use]
pub fn read(handle: u32, authorization: Authorization<'_>, size: u16) -> Message {
    read_from(handle, authorization, size, 0)
}

/// `TPM2_NV_Read`.
#[must_use]
pub fn read_from(handle: u32, authorization: Authorization<'_>, size: u16, offset: u16) -> Message {
    let writer = Writer::new(SESSIONS, READ).double(handle).double(handle);
    authorization.write(writer).word(size).word(offset).finish()
}

/// The answer to [`read_from`].
///
/// # Errors
/// If it is none.
pub fn part(answer: &[u8]) -> Result<&[u8], AnswerError> {
    let mut reader = Reader::open(answer)?;
    reader.double()?;
    reader.sized()
}

/// How many bytes an index has, by the answer to [`read_public`].
///
/// # Errors
/// If it is none.
pub fn size(answer: &[u8]) -> Result<u16, AnswerError> {
    let public = public(answer)?;
    let last = public.last_chunk().ok_or(AnswerError::Malformed)?;
    Ok(u16::from_be_bytes(*last))
}

/// The answer to [`read`].
///
/// # Errors
/// If it is none, or has another size.
pub fn contents<const N: usize>(answer: &[u8]) -> Result<[u8; N], AnswerError> {
    part(answer)?.try_into().map_err(|_| AnswerError::Malformed)
}

/// The answer to [`read`] of a counter.
///
/// # Errors
/// If it is none.
pub fn count(answer: &[u8]) -> Result<u64, AnswerError> {
    contents(answer).map(u64::from_be_bytes)
}
