//! The TPM on behalf of whoever asks: one at a time, in slices.
//!
//! A TPM takes up to a second for a quote. So a call that asks for one gives the TPM its command and is not finished; executed again, it looks
//! whether the answer is there. An answer waits for its asker for [`PATIENCE`], so that another one can neither take
//! it away nor be kept waiting by one who is gone.

use adyton_abi::error::Error;
use adyton_capability::identity::DomainId;
use adyton_evidence::platform::qualifying_data;

use super::errand::Errand;
use super::key;
use crate::domain::name::Refusal;
use crate::instructions::time_stamp;
use crate::tpm::command::{self, AnswerError, Message};
use crate::tpm::device::{Device, TpmError};
use crate::tpm::storage;
use crate::{log, machine};

/// Seconds.
const PATIENCE: u64 = 1;
/// Seconds after which the TPM is given the command anew.
const LONGEST_COMMAND: u64 = 20;

impl From<TpmError> for Refusal {
    fn from(error: TpmError) -> Self {
        match error {
            TpmError::Answer(AnswerError::Code(storage::NO_ROOM)) => Error::Exhausted.into(),
            reason => {
                log!("the TPM has not done what it was asked for: {reason:x?}");
                Error::Tpm.into()
            }
        }
    }
}

/// What a quote is asked for with: the qualifying data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuoteInput(pub [u8; 32]);

impl QuoteInput {
    /// For this nonce.
    #[must_use]
    pub fn of(nonce: &[u8]) -> Self {
        Self(qualifying_data(&key::public().unwrap_or_default(), nonce))
    }
}

/// Who asks: a repetition of the same call is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The caller's domain.
    pub domain: DomainId,
    /// The token of its call.
    pub token: u64,
    /// What it asks: the qualifying data, or a digest of what else it is.
    pub input: QuoteInput,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    /// The TPM becomes ready.
    Preparing(Asker),
    /// The TPM works.
    Working(Asker),
    /// The outcome waits for its asker.
    Done(Asker),
}

/// Where the TPM is asked: for quotes, and for whatever else is an [`Errand`].
#[derive(Debug)]
pub struct Desk {
    device: Device,
    key: u32,
    state: State,
    /// What is done for the asker.
    errand: Errand,
    /// The last outcome.
    outcome: Result<Message, TpmError>,
    /// When the state began.
    since: u64,
}

impl Desk {
    /// With this key of the TPM's.
    pub(super) fn new(device: Device, key: u32) -> Self {
        Self {
            device,
            key,
            state: State::Free,
            errand: Errand::Quote(QuoteInput([0; 32])),
            outcome: Err(TpmError::Silent),
            since: 0,
        }
    }

    /// A slice of work. The answer, once it is there: `TPM2_Quote`'s, to be read by [`command::quoted`].
    ///
    /// # Errors
    /// If the TPM refuses, or fails.
    pub fn ask(&mut self, asker: Asker) -> Result<Option<Message>, Refusal> {
        self.carry_out(asker, || Ok(Errand::Quote(asker.input)))
    }

    /// A slice of an errand, which is made when its turn comes. The answer to its last command, once it is there.
    ///
    /// # Errors
    /// What `errand` says, and if the TPM refuses, or fails.
    pub fn carry_out(
        &mut self,
        asker: Asker,
        errand: impl FnOnce() -> Result<Errand, Refusal>,
    ) -> Result<Option<Message>, Refusal> {
        match self.state {
            State::Free => {
                self.errand = errand()?;
                self.prepare(asker);
            }
            State::Preparing(client) | State::Working(client) => {
                if let Err(error) = self.advance(client) {
                    self.outcome = Err(error);
                    self.enter(State::Done(client));
                }
            }
            State::Done(client) if client == asker => {
                self.enter(State::Free);
                let nothing = Err(TpmError::Silent);
                return Ok(Some(core::mem::replace(&mut self.outcome, nothing)?));
            }
            State::Done(_) if self.lasts(PATIENCE) => self.enter(State::Free),
            State::Done(_) => {}
        }
        Ok(None)
    }

    fn prepare(&mut self, asker: Asker) {
        self.device.prepare();
        self.enter(State::Preparing(asker));
    }

    fn advance(&mut self, client: Asker) -> Result<(), TpmError> {
        if self.lasts(LONGEST_COMMAND) {
            return Err(TpmError::Silent);
        }
        match self.state {
            State::Preparing(_) if self.device.is_ready() => {
                self.device.send(&self.errand.command(self.key))?;
                self.enter(State::Working(client));
            }
            State::Working(_) => {
                if let Some(answer) = self.device.answer()? {
                    self.take(client, answer)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes the answer to a command: it is given again, the next one follows, or the errand is done.
    fn take(&mut self, client: Asker, answer: Message) -> Result<(), TpmError> {
        if command::done(&answer).is_err_and(AnswerError::is_passing) {
            self.prepare(client);
            return Ok(());
        }
        if self.errand.answered(&answer)? {
            self.outcome = self.errand.result(answer);
            self.enter(State::Done(client));
        } else {
            self.prepare(client);
        }
        Ok(())
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.since = time_stamp();
    }

    fn lasts(&self, seconds: u64) -> bool {
        machine::lasts(self.since, seconds)
    }
}
