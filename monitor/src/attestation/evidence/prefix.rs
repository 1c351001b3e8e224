//! What stands in front of the subject's claims: the signed token, the event log, the platform's statement.

use adyton_abi::error::Error;
use adyton_evidence::bundle::{self, Subject};
use adyton_evidence::cbor::encode::{Encoder, Full, Length, Sink, Slice};
use adyton_evidence::platform::begin_log;
use arrayvec::ArrayVec;

use super::{LONGEST_PLATFORM, LONGEST_TOKEN, Output};
use crate::attestation::LOG;
use crate::domain::name::Refusal;

/// Bytes of the log in one slice.
const CHUNK: usize = 4096;
/// Most bytes around token and platform.
const AROUND: usize = 128;

/// What is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Up to the log.
    Head,
    /// The log, from this byte on.
    Log(u64),
    /// What stands behind it.
    Tail,
}

/// The prefix, on its way.
#[derive(Debug)]
pub struct Prefix {
    token: ArrayVec<u8, LONGEST_TOKEN>,
    /// What the claims are about.
    subject: Subject,
    /// Bytes of the claims.
    claims: u64,
    /// Where in the buffer it begins.
    begin: u64,
    /// Where the next byte goes.
    at: u64,
    /// Where the claims begin.
    end: u64,
    part: Part,
}

/// Bytes in front of claims of `claims` bytes. `platform` is empty where the boot was not measured.
///
/// # Errors
/// Never: nothing here has an end.
pub fn length(token: u64, platform: &[u8], subject: Subject, claims: u64) -> Result<u64, Full> {
    let mut length = Length::default();
    let log = log_length(platform);
    head(&mut length, token, &[], log)?;
    tail(&mut length, platform, subject, claims)?;
    Ok(length.0 + token + log.unwrap_or(0))
}

/// Bytes of the log; none where the boot was not measured.
fn log_length(platform: &[u8]) -> Option<u64> {
    (!platform.is_empty()).then(|| LOG.lock().bytes().len() as u64)
}

/// `token` is the token's length, `bytes` its bytes.
fn head(sink: impl Sink, token: u64, bytes: &[u8], log: Option<u64>) -> Result<(), Full> {
    let mut encoder = Encoder(sink);
    bundle::begin(&mut encoder, token)?;
    encoder.0.put(bytes)?;
    bundle::sets(&mut encoder, log.is_some())?;
    let Some(log) = log else { return Ok(()) };
    let mut around = Length::default();
    begin_log(&mut around, log)?;
    bundle::set(&mut encoder, bundle::LOG, around.0 + log)?;
    begin_log(&mut encoder.0, log)
}

fn tail(sink: impl Sink, platform: &[u8], subject: Subject, claims: u64) -> Result<(), Full> {
    let mut encoder = Encoder(sink);
    if !platform.is_empty() {
        bundle::set(&mut encoder, bundle::PLATFORM, platform.len() as u64)?;
        encoder.0.put(platform)?;
    }
    bundle::set(&mut encoder, subject.set(), claims)
}

impl Prefix {
    /// In front of claims of `claims` bytes that begin at `end`.
    ///
    /// # Errors
    /// [`Full`] where there is no room for it.
    pub fn new(
        token: ArrayVec<u8, LONGEST_TOKEN>,
        platform: &[u8],
        subject: Subject,
        claims: u64,
        end: u64,
    ) -> Result<Self, Full> {
        let length = length(token.len() as u64, platform, subject, claims)?;
        let begin = end.checked_sub(length).ok_or(Full)?;
        Ok(Self {
            token,
            subject,
            claims,
            begin,
            at: begin,
            end,
            part: Part::Head,
        })
    }

    /// Where evidence begins, and its bytes.
    #[must_use]
    pub fn extent(&self) -> [u64; 2] {
        [self.begin, self.end - self.begin + self.claims]
    }

    /// A slice of writing; whether that was all. What was not written is written by the next.
    ///
    /// # Errors
    /// What the output refuses.
    pub fn write(&mut self, platform: &[u8], output: &impl Output) -> Result<bool, Refusal> {
        let (written, next) = match self.part {
            Part::Head => {
                let log = log_length(platform);
                let mut memory = [0; LONGEST_TOKEN + AROUND];
                let mut slice = Slice::new(&mut memory);
                head(&mut slice, self.token.len() as u64, &self.token, log).map_err(full)?;
                output.write(self.at, slice.written())?;
                let next = log.map_or(Part::Tail, |_| Part::Log(0));
                (slice.written().len(), Some(next))
            }
            Part::Log(from) => {
                let log = LOG.lock();
                let rest = log.bytes().get(from as usize..).unwrap_or(&[]);
                let part = rest.get(..CHUNK).unwrap_or(rest);
                output.write(self.at, part)?;
                let next = if part.is_empty() {
                    Part::Tail
                } else {
                    Part::Log(from + part.len() as u64)
                };
                (part.len(), Some(next))
            }
            Part::Tail => {
                let mut memory = [0; LONGEST_PLATFORM + AROUND];
                let mut slice = Slice::new(&mut memory);
                tail(&mut slice, platform, self.subject, self.claims).map_err(full)?;
                output.write(self.at, slice.written())?;
                (slice.written().len(), None)
            }
        };
        self.at += written as u64;
        match next {
            Some(part) => self.part = part,
            None => return Ok(true),
        }
        Ok(false)
    }
}

/// Never: the memory is as long as the longest part.
fn full(_: Full) -> Error {
    Error::Exhausted
}
