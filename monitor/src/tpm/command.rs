//! The commands that the monitor gives, and what it reads in the answers. Pure.
//!
//! Layouts: TPM 2.0 Library specification, revision 1.59, part 3 (commands) and part 2 (structures); all numbers are big-endian.

use adyton_secrets::policy::selection;
use arrayvec::ArrayVec;

/// Bytes of the longest command or answer: any TPM takes this much (PTP 1.05, section 6.5.3.2).
pub const LONGEST: usize = 1024;

/// A command or an answer.
pub type Message = ArrayVec<u8, LONGEST>;

pub(super) const NO_SESSIONS: u16 = 0x8001;
pub(super) const SESSIONS: u16 = 0x8002;
const HEADER_SIZE: usize = 10;
/// Bytes of a session without a password.
pub(super) const SESSION_SIZE: u32 = 9;

const CREATE_PRIMARY: u32 = 0x131;
const QUOTE: u32 = 0x158;
const GET_RANDOM: u32 = 0x17b;
const PCR_READ: u32 = 0x17e;
const PCR_EXTEND: u32 = 0x182;

pub(super) const ENDORSEMENT: u32 = 0x4000_000b;
pub(super) const PASSWORD_SESSION: u32 = 0x4000_0009;
pub(super) const SHA256: u16 = 0x000b;
pub(super) const NULL: u16 = 0x0010;
const ECC: u16 = 0x0023;
pub(super) const ECDSA: u16 = 0x0018;
const P256: u16 = 0x0003;
/// Fixed to this TPM and parent, made by it, used with an empty password that no lockout protects, restricted, for signing.
const ATTESTATION_KEY: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18;

/// Why an answer is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The TPM has refused with this code.
    Code(u32),
    /// The bytes are no answer to this command.
    Malformed,
}

/// What may pass: the same command, sent again, can succeed. The last two protect the TPM's storage from wear (part 2, section 6.6.3).
const PASSING: [u32; 5] = [0x922, 0x908, 0x90a, 0x920, 0x923];

impl AnswerError {
    /// Whether the command should be sent again.
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Code(code) if PASSING.contains(&code))
    }
}

/// Writes a command's fields. None of the commands here comes near the limit, so what would not fit is dropped.
pub(super) struct Writer(Message);

impl Writer {
    pub(super) fn new(tag: u16, command: u32) -> Self {
        Self(Message::new()).word(tag).double(0).double(command)
    }

    /// Of a structure within a command.
    pub(super) fn structure() -> Self {
        Self(Message::new())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        let _ = self.0.try_extend_from_slice(bytes);
        self
    }

    pub(super) fn byte(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(super) fn word(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(super) fn double(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// An empty password.
    pub(super) fn authorization(self) -> Self {
        self.password(&[])
    }

    /// A password.
    pub(super) fn password(self, password: &[u8]) -> Self {
        self.double(SESSION_SIZE + password.len() as u32)
            .session(PASSWORD_SESSION, password)
    }

    /// A session as authorization (`TPMS_AUTH_COMMAND`), without a nonce. How long all of them are stands before the first.
    pub(super) fn session(self, handle: u32, password: &[u8]) -> Self {
        self.double(handle).word(0).byte(0).sized(password)
    }

    /// What is preceded by its size.
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        self.word(bytes.len() as u16).bytes(bytes)
    }

    pub(super) fn finish(mut self) -> Message {
        let size = (self.0.len() as u32).to_be_bytes();
        if let Some(place) = self.0.get_mut(2..6) {
            place.copy_from_slice(&size);
        }
        self.0
    }
}

/// `TPM2_CreatePrimary` in the endorsement hierarchy, of a key with this public part.
pub(super) fn create_primary(public: &Writer) -> Message {
    Writer::new(SESSIONS, CREATE_PRIMARY)
        .double(ENDORSEMENT)
        .authorization()
        .word(4)
        .word(0)
        .word(0)
        .sized(&public.0)
        .word(0)
        .double(0)
        .finish()
}

/// `TPM2_GetRandom`.
#[must_use]
pub fn get_random(count: u16) -> Message {
    Writer::new(NO_SESSIONS, GET_RANDOM).word(count).finish()
}

/// `TPM2_PCR_Extend` of the SHA-256 bank.
#[must_use]
pub fn extend(register: u32, digest: &[u8; 32]) -> Message {
    Writer::new(SESSIONS, PCR_EXTEND)
        .double(register)
        .authorization()
        .double(1)
        .word(SHA256)
        .bytes(digest)
        .finish()
}

/// `TPM2_PCR_Read` of one register of the SHA-256 bank.
#[must_use]
pub fn read_register(register: u32) -> Message {
    Writer::new(NO_SESSIONS, PCR_READ)
        .bytes(&selection(&[register]))
        .finish()
}

/// `TPM2_CreatePrimary` of the attestation key, always the same in the same TPM: ECDSA on P-256 with SHA-256, restricted.
#[must_use]
pub fn create_attestation_key() -> Message {
    let public = Writer::structure()
        .word(ECC)
        .word(SHA256)
        .double(ATTESTATION_KEY)
        .word(0)
        .word(NULL)
        .word(ECDSA)
        .word(SHA256)
        .word(P256)
        .word(NULL)
        .word(0)
        .word(0);
    create_primary(&public)
}

/// `TPM2_Quote` over these registers of the SHA-256 bank.
#[must_use]
pub fn quote(key: u32, qualification: &[u8; 32], registers: &[u32]) -> Message {
    Writer::new(SESSIONS, QUOTE)
        .double(key)
        .authorization()
        .sized(qualification)
        .word(NULL)
        .bytes(&selection(registers))
        .finish()
}

/// Reads an answer's fields.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// What stands behind the header of a good answer.
    ///
    /// # Errors
    /// The TPM's refusal, or that this is no answer.
    pub fn open(answer: &'a [u8]) -> Result<Self, AnswerError> {
        let mut reader = Self(answer);
        reader.word()?;
        let size = reader.double()?;
        if size as usize != answer.len() {
            return Err(AnswerError::Malformed);
        }
        match reader.double()? {
            0 => Ok(reader),
            code => Err(AnswerError::Code(code)),
        }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// If there are not so many.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], AnswerError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(AnswerError::Malformed)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], AnswerError> {
        let bytes = self.bytes(N)?.first_chunk();
        bytes.copied().ok_or(AnswerError::Malformed)
    }

    pub(super) fn word(&mut self) -> Result<u16, AnswerError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn double(&mut self) -> Result<u32, AnswerError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A structure that is preceded by its size.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], AnswerError> {
        let size = self.word()?;
        self.bytes(size.into())
    }
}

/// The answer to a command that has none but its success.
///
/// # Errors
/// The TPM's refusal, or that this is no answer.
pub fn done(answer: &[u8]) -> Result<(), AnswerError> {
    Reader::open(answer).map(drop)
}

/// The answer to [`get_random`].
///
/// # Errors
/// If it is none, or the TPM gave fewer bytes.
pub fn random_bytes(answer: &[u8]) -> Result<[u8; 32], AnswerError> {
    let bytes = Reader::open(answer)?.sized()?;
    bytes.try_into().map_err(|_| AnswerError::Malformed)
}

/// The answer to [`read_register`].
///
/// # Errors
/// If it is none, or the bank is not there.
pub fn register_value(answer: &[u8]) -> Result<[u8; 32], AnswerError> {
    let mut reader = Reader::open(answer)?;
    // The counter of changes, one selection, one digest.
    reader.double()?;
    reader.bytes(selection(&[]).len())?;
    if reader.double()? != 1 {
        return Err(AnswerError::Malformed);
    }
    let digest = reader.sized()?;
    digest.try_into().map_err(|_| AnswerError::Malformed)
}

/// The answer to [`create_attestation_key`]: its handle, and the public part (`TPMT_PUBLIC`).
///
/// # Errors
/// If it is none.
pub fn created_key(answer: &[u8]) -> Result<(u32, &[u8]), AnswerError> {
    let mut reader = Reader::open(answer)?;
    let handle = reader.double()?;
    reader.double()?;
    Ok((handle, reader.sized()?))
}

/// The answer to [`quote`]: the statement (`TPMS_ATTEST`) and its signature (`TPMT_SIGNATURE`, of an ECDSA key).
///
/// # Errors
/// If it is none.
pub fn quoted(answer: &[u8]) -> Result<(&[u8], &[u8]), AnswerError> {
    let mut reader = Reader::open(answer)?;
    reader.double()?;
    let statement = reader.sized()?;
    let whole = reader.clone();
    reader.bytes(4)?;
    reader.sized()?;
    reader.sized()?;
    let size = whole.0.len() - reader.0.len();
    Ok((statement, whole.clone().bytes(size)?))
}

/// How many bytes an answer has, once its header is there.
#[must_use]
pub fn announced_size(answer: &[u8]) -> Option<usize> {
    let bytes = answer.get(..HEADER_SIZE)?.get(2..6)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes) as usize)
}

/// How often the TPM was reset, and restarted since, as a statement says (`TPMS_CLOCK_INFO` in `TPMS_ATTEST`).
///
/// # Errors
/// If it is none.
pub fn reset_counts(statement: &[u8]) -> Result<[u32; 2], AnswerError> {
    let mut reader = Reader(statement);
    // Magic and type; signer; qualifying data; clock.
    reader.bytes(6)?;
    reader.sized()?;
    reader.sized()?;
    reader.bytes(8)?;
    Ok([reader.double()?, reader.double()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &[u8]) -> Vec<u8> {
        let size = (HEADER_SIZE + body.len()) as u32;
        [&[0x80, 1], size.to_be_bytes().as_slice(), &[0; 4], body].concat()
    }

    #[test]
    fn commands_are_as_the_specification_says() {
        assert_eq!(
            get_random(32).as_slice(),
            [0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 32]
        );
        let extend = extend(12, &[7; 32]);
        assert_eq!(extend.len(), 10 + 4 + 4 + 9 + 4 + 2 + 32);
        assert_eq!(extend[5] as usize, extend.len());
        assert_eq!(extend[10..14], [0, 0, 0, 12]);
        let read = read_register(12);
        assert_eq!(read[10..], [0, 0, 0, 1, 0, 0xb, 3, 0, 0x10, 0]);
        let quote = quote(0x8000_0000, &[1; 32], &[0, 9, 12]);
        assert!(quote.ends_with(&[0, 0x10, 0, 0, 0, 1, 0, 0xb, 3, 1, 0x12, 0]));
    }

    #[test]
    fn answers_are_read() {
        assert_eq!(
            random_bytes(&answer(&[[0, 32].as_slice(), &[5; 32]].concat())),
            Ok([5; 32])
        );
        let value = [
            0, 0, 0, 9, 0, 0, 0, 1, 0, 0xb, 3, 0, 0x10, 0, 0, 0, 0, 1, 0, 32,
        ];
        let value = answer(&[value.as_slice(), &[6; 32]].concat());
        assert_eq!(register_value(&value), Ok([6; 32]));
        let key = answer(&[0x80, 0, 0, 1, 0, 0, 0, 99, 0, 2, 0xaa, 0xbb, 0, 0]);
        assert_eq!(
            created_key(&key),
            Ok((0x8000_0001, [0xaa, 0xbb].as_slice()))
        );
        let body = [
            0, 0, 0, 1, 0, 1, 0xcc, 0, 0x18, 0, 0xb, 0, 1, 1, 0, 1, 2, 0xee,
        ];
        let signature = [0, 0x18, 0, 0xb, 0, 1, 1, 0, 1, 2];
        assert_eq!(
            quoted(&answer(&body)),
            Ok(([0xcc].as_slice(), signature.as_slice()))
        );
        assert_eq!(announced_size(&key), Some(key.len()));
        assert_eq!(announced_size(&key[..9]), None);
        let statement = [
            [0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 1, 9, 0, 1, 8].as_slice(),
            &[0; 8],
            &[0, 0, 0, 3, 0, 0, 0, 4],
        ];
        assert_eq!(reset_counts(&statement.concat()), Ok([3, 4]));
    }

    #[test]
    fn refusals_and_garbage_are_told_apart() {
        let mut refused = answer(&[]);
        refused[8..10].copy_from_slice(&[9, 0x22]);
        let error = random_bytes(&refused).unwrap_err();
        assert_eq!(error, AnswerError::Code(0x922));
        assert!(error.is_passing());
        assert!(!AnswerError::Code(0x907).is_passing());
        assert!(!AnswerError::Malformed.is_passing());
        let good = answer(&[[0, 32].as_slice(), &[5; 32]].concat());
        for size in 0..good.len() {
            assert_eq!(random_bytes(&good[..size]), Err(AnswerError::Malformed));
            assert!(quoted(&answer(&good[..size])).is_err());
        }
    }
}
