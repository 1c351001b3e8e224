//! What the TPM does for a guest: one command or a few, each from the answers so far. The [desk](super::quote::Desk) gives them and waits.

use adyton_evidence::platform::QUOTED;

use super::counters;
use super::quote::QuoteInput;
use crate::tpm::command::{self, Message};
use crate::tpm::device::TpmError;

/// What is asked for.
#[derive(Debug)]
pub enum Errand {
    /// A statement about the boot.
    Quote(QuoteInput),
    /// Something about a counter.
    Counter(counters::Errand),
}

impl Errand {
    /// The next command; `key` is the attestation key.
    pub(super) fn command(&self, key: u32) -> Message {
        match self {
            Self::Quote(input) => command::quote(key, &input.0, &QUOTED),
            Self::Counter(errand) => errand.command(),
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
        }
    }
}
