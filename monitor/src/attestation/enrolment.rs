//! How a machine comes to be known: its TPM shows its maker's certificate, and answers a challenge that only the TPM with that certificate and
//! this attestation key can answer (TPM 2.0 Library, part 1, section 24).
//!
//! What must hold: neither the endorsement key nor a session stays in the TPM when an errand is over, whatever it refused on the way. Only if it
//! falls silent, or refuses to forget, they stay until it is reset.

use adyton_abi::enrolment::{MOST_ANSWER, MOST_CREDENTIAL, MOST_SECRET};
use arrayvec::ArrayVec;

use crate::tpm::command::{self, AnswerError, Message};
use crate::tpm::credential::{self, CERTIFICATE};
use crate::tpm::device::TpmError;
use crate::tpm::session;
use crate::tpm::storage::{self, Authorization};

/// Bytes of the longest part of a certificate that is read at once.
pub const LONGEST_PART: u16 = MOST_ANSWER as u16;
/// Bytes in front of a result: how long the certificate is, big-endian.
pub const HEAD: usize = 2;

/// A challenge.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// TPMS_ID_OBJECT.
    pub credential: ArrayVec<u8, MOST_CREDENTIAL>,
    /// What it is encrypted with, for the endorsement key.
    pub secret: ArrayVec<u8, MOST_SECRET>,
}

/// Where an errand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Size,
    Part,
    Key,
    Session,
    Require,
    Activate,
    ForgetSession,
    ForgetKey,
    Over,
}

/// What is done for the asker.
#[derive(Debug)]
pub struct Errand {
    step: Step,
    offset: u16,
    size: u16,
    challenge: Challenge,
    endorsement_key: u32,
    session: u32,
    /// [`HEAD`], then what is answered.
    result: Result<Message, TpmError>,
}

impl Errand {
    /// Shows the part of the certificate that begins at `offset`.
    #[must_use]
    pub fn certificate(offset: u16) -> Self {
        let challenge = Challenge {
            credential: ArrayVec::new(),
            secret: ArrayVec::new(),
        };
        Self {
            step: Step::Size,
            offset,
            ..Self::activation(challenge)
        }
    }

    /// Answers a challenge.
    #[must_use]
    pub fn activation(challenge: Challenge) -> Self {
        Self {
            step: Step::Key,
            offset: 0,
            size: 0,
            challenge,
            endorsement_key: 0,
            session: 0,
            result: Err(TpmError::Silent),
        }
    }

    pub(super) fn command(&self, key: u32) -> Message {
        match self.step {
            Step::Size => storage::read_public(CERTIFICATE),
            Step::Part | Step::Over => {
                let left = self.size.saturating_sub(self.offset).min(LONGEST_PART);
                let password = Authorization::Password(&[]);
                storage::read_from(CERTIFICATE, password, left, self.offset)
            }
            Step::Key => credential::create_endorsement_key(),
            Step::Session => session::start(),
            Step::Require => credential::require_endorsement(self.session),
            Step::Activate => credential::activate(
                key,
                self.endorsement_key,
                self.session,
                &self.challenge.credential,
                &self.challenge.secret,
            ),
            Step::ForgetSession => session::flush(self.session),
            Step::ForgetKey => session::flush(self.endorsement_key),
        }
    }

    /// Takes the answer. Refusals on the way are kept for the asker while what was begun is ended.
    pub(super) fn answered(&mut self, answer: &Message) -> Result<bool, TpmError> {
        self.step = match (self.step, self.take(answer)) {
            (Step::Size, Ok(())) => Step::Part,
            (Step::Key, Ok(())) => Step::Session,
            (Step::Session, Ok(())) => Step::Require,
            (Step::Require, Ok(())) => Step::Activate,
            // A command that succeeds ends the session; and if it could not be ended, the key is forgotten all the same.
            (Step::Activate, Ok(())) | (Step::ForgetSession, _) => Step::ForgetKey,
            (Step::Part | Step::ForgetKey | Step::Over, Ok(())) => Step::Over,
            (Step::Session, Err(error)) => self.fail(error, Step::ForgetKey),
            (Step::Require | Step::Activate, Err(error)) => self.fail(error, Step::ForgetSession),
            (_, Err(error)) => return Err(error.into()),
        };
        Ok(self.step == Step::Over)
    }

    fn fail(&mut self, error: AnswerError, next: Step) -> Step {
        self.result = Err(error.into());
        next
    }

    fn take(&mut self, answer: &Message) -> Result<(), AnswerError> {
        match self.step {
            Step::Size => {
                self.size = storage::size(answer)?;
                if self.offset >= self.size {
                    return Err(AnswerError::Malformed);
                }
            }
            Step::Part => self.keep(self.size, storage::part(answer)?)?,
            Step::Key => self.endorsement_key = session::handle(answer)?,
            Step::Session => self.session = session::handle(answer)?,
            Step::Activate => self.keep(0, credential::activated(answer)?)?,
            Step::Require | Step::ForgetSession | Step::ForgetKey | Step::Over => {
                command::done(answer)?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, whole: u16, bytes: &[u8]) -> Result<(), AnswerError> {
        let mut result = Message::new();
        for part in [&whole.to_be_bytes()[..], bytes] {
            let kept = result.try_extend_from_slice(part);
            kept.map_err(|_| AnswerError::Malformed)?;
        }
        self.result = Ok(result);
        Ok(())
    }

    pub(super) fn result(&mut self) -> Result<Message, TpmError> {
        core::mem::replace(&mut self.result, Err(TpmError::Silent))
    }
}

#[cfg(test)]
mod tests;
