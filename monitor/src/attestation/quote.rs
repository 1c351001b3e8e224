//! The TPM's statements, on behalf of whoever asks: one at a time, in slices.
//!
//! A TPM takes up to a second for a quote. So a call that asks for one gives the TPM its command and is not finished; executed again, it looks
//! whether the answer is there. An answer waits for its asker for [`PATIENCE`], so that another one can neither take
//! it away nor be kept waiting by one who is gone.

use adyton_capability::identity::DomainId;
use adyton_evidence::platform::{QUOTED, qualifying_data};

use super::key;
use crate::instructions::time_stamp;
use crate::machine;
use crate::tpm::command::{self, Message};
use crate::tpm::device::{Device, TpmError};

/// Seconds.
const PATIENCE: u64 = 1;
/// Seconds after which the TPM is given the command anew.
const LONGEST_COMMAND: u64 = 20;

/// The longest nonce.
pub const LONGEST_NONCE: usize = 64;

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
    /// What it asks.
    pub input: QuoteInput,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    /// The TPM becomes ready.
    Preparing(Asker),
    /// The TPM works.
    Working(Asker),
    /// The answer waits for its asker.
    Done(Asker),
}

/// Where quotes are asked for.
#[derive(Debug)]
pub struct Desk {
    device: Device,
    key: u32,
    state: State,
    /// The last answer.
    answer: Message,
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
            answer: Message::new(),
            since: 0,
        }
    }

    /// A slice of work. The answer, once it is there: `TPM2_Quote`'s, to be read by [`command::quoted`].
    ///
    /// # Errors
    /// If the TPM refuses, or fails.
    pub fn ask(&mut self, asker: Asker) -> Result<Option<Message>, TpmError> {
        let outcome = self.advance(asker);
        if outcome.is_err() {
            self.enter(State::Free);
        }
        outcome
    }

    fn advance(&mut self, asker: Asker) -> Result<Option<Message>, TpmError> {
        match self.state {
            State::Free => {
                self.device.prepare();
                self.enter(State::Preparing(asker));
            }
            State::Preparing(client) if self.device.is_ready() => {
                let message = command::quote(self.key, &client.input.0, &QUOTED);
                self.device.send(&message)?;
                self.enter(State::Working(client));
            }
            State::Working(client) => {
                if let Some(answer) = self.device.answer()? {
                    self.answer = answer;
                    self.enter(State::Done(client));
                } else if self.lasts(LONGEST_COMMAND) {
                    return Err(TpmError::Silent);
                }
            }
            State::Done(client) if client == asker => {
                self.enter(State::Free);
                return match command::quoted(&self.answer) {
                    Err(error) if error.is_passing() => Ok(None),
                    Err(error) => Err(error.into()),
                    Ok(_) => Ok(Some(self.answer.clone())),
                };
            }
            State::Done(_) if self.lasts(PATIENCE) => self.enter(State::Free),
            State::Preparing(_) if self.lasts(LONGEST_COMMAND) => return Err(TpmError::Silent),
            State::Preparing(_) | State::Done(_) => {}
        }
        Ok(None)
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.since = time_stamp();
    }

    fn lasts(&self, seconds: u64) -> bool {
        let ticks = seconds * machine::get().ticks_per_second;
        time_stamp().saturating_sub(self.since) > ticks
    }
}
