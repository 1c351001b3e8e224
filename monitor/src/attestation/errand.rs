//! What the TPM does for a guest: one command or a few, each from the answers so far. The [desk](super::quote::Desk) gives them and waits.

use adyton_evidence::platform::QUOTED;

use super::quote::QuoteInput;
use super::{counters, enrolment};
use crate::tpm::command::{self, Message};
use crate::tpm::device::TpmError;

/// What is asked for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, at the desk, and there is no heap"
)]
pub enum Errand {
    /// A statement about the boot.
    Quote(QuoteInput),
    /// Something about a counter.
    Counter(counters::Errand),
    /// The answer to a challenge, or what the challenger must know before.
    Enrolment(enrolment::Errand),
}

impl Errand {
    /// The next command; `key` is the attestation key.
    pub(super) fn command(&self, key: u32) -> Message {
        match self {
            Self::Quote(input) => command::quote(key, &input.0, &QUOTED),
            Self::Counter(errand) => errand.command(),
            Self::Enrolment(errand) => errand.command(key),
        }
    }

    /// Takes the answer to it. Whether that was the last.
    ///
    /// # Errors
    /// What the TPM refuses: the errand is over.
    pub(super) fn answered(&mut self, answer: &Message) -> Result<bool, TpmError> {
        match self {
            Self::Quote(_) => Ok(command::quoted(answer).map(|_| true)?),
            Self::Counter(errand) => errand.answered(answer),
            Self::Enrolment(errand) => errand.answered(answer),
        }
    }

    /// What the asker gets: the last answer, unless the errand has kept another.
    pub(super) fn result(&mut self, last: Message) -> Result<Message, TpmError> {
        match self {
            Self::Enrolment(errand) => errand.result(),
            Self::Quote(_) | Self::Counter(_) => Ok(last),
        }
    }
}
