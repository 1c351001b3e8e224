//! The platform secret: what a monitor finds again after a reboot, and nobody else.
//!
//! It lies in the TPM, in an index that is read and written under one policy alone ([`adyton_secrets::policy`]): a monitor that the maintainer
//! has signed, no older than the counter of releases says, which has measured nothing yet, on the same firmware. The first such
//! monitor makes it from fresh randomness; a newer one counts the counter up, and from then on older ones are refused. Whoever deletes the index or
//! the counter destroys the secret: a new one is made, from which other keys are derived.
//!
//! What must hold: [`obtain`] runs before the first event of PCR 12; an index is believed only if its public part is what it must be, down to the
//! last bit, so that what it holds was written under that policy; the secret itself goes nowhere but into the [`platform_key`](super::platform_key). Any step may be the last before a
//! reset: the next boot goes on from there.

use core::ptr::read_volatile;

use adyton_secrets::approval::{self, Approval};
use adyton_secrets::index::{COUNTER_SIZE, Index, SECRET_SIZE};
use adyton_secrets::maintainer::{Imprint, MaintainerKey, Slot};
use adyton_secrets::policy::{MACHINE_REGISTERS, MONITOR_REGISTERS, Policy};
use adyton_secrets::{Hash, hash};

use crate::random;
use crate::tpm::Exchange;
use crate::tpm::command::{self, AnswerError};
use crate::tpm::device::TpmError;
use crate::tpm::session::{self, Ticket};
use crate::tpm::storage::{self, Authorization};

/// The most that a counter is counted up at one boot: each count is written to the TPM's flash.
const MOST_COUNTS: u64 = 1000;

/// Why there is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The monitor's image names no maintainer.
    NoMaintainer,
    /// Something was measured already that only the monitor measures.
    Measured,
    /// The maintainer has not approved that this monitor is started in this way: the value of PCR 4.
    NotApproved(Hash),
    /// The counter of releases is further than this release: a newer one has run here.
    Older {
        /// Where the counter is.
        counter: u64,
        /// The number of this release.
        release: u64,
    },
    /// The counter is too far behind to be counted up at once.
    TooNew,
    /// An index, by its handle, is not what it must be: another maintainer's, of another firmware, or a forgery.
    Foreign(u32),
    /// The TPM has refused or failed.
    Tpm(TpmError),
}

impl From<TpmError> for Withheld {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

/// The secret, and how it came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Obtained {
    /// Itself.
    pub secret: [u8; SECRET_SIZE as usize],
    /// Whether it was made just now.
    pub is_new: bool,
}

impl core::fmt::Debug for Obtained {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Obtained(hidden, new: {})", self.is_new)
    }
}

/// Gets the secret from the TPM, or makes it.
///
/// # Errors
/// Why there is none. Nothing is exposed then, nor is anything deleted.
pub fn obtain(
    tpm: &mut impl Exchange,
    imprint: &Imprint,
    approvals: &[u8],
) -> Result<Obtained, Withheld> {
    let Imprint { key, release } = imprint;
    if !key.is_present() {
        return Err(Withheld::NoMaintainer);
    }
    let [started, measured] = registers(tpm, MONITOR_REGISTERS)?;
    if measured != Hash::default() {
        return Err(Withheld::Measured);
    }
    let approvals = approval::read(approvals);
    let is_this = |entry: &&Approval| entry.started == started && entry.release == *release;
    let approval = approvals.iter().find(is_this).copied();
    let approval = approval.ok_or(Withheld::NotApproved(started))?;
    let machine = registers(tpm, MACHINE_REGISTERS)?;
    let mut vault = Vault {
        tpm,
        key,
        approval,
        index: Index::secret(Policy::of_secret(key, &machine).0),
    };
    let counter = vault.counter()?;
    let is_new = vault.prepare()?;
    let secret = vault.read()?;
    vault.count_up(counter)?;
    Ok(Obtained { secret, is_new })
}

/// The values of registers.
pub(super) fn registers<const N: usize>(
    tpm: &mut impl Exchange,
    numbers: [u32; N],
) -> Result<[Hash; N], TpmError> {
    let mut values = [Hash::default(); N];
    for (value, number) in values.iter_mut().zip(numbers) {
        *value = tpm.run(&command::read_register(number), command::register_value)?;
    }
    Ok(values)
}

/// How an index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    Empty,
    Written,
}

/// The secret's index under its policy.
struct Vault<'a, T> {
    tpm: &'a mut T,
    key: &'a MaintainerKey,
    approval: Approval,
    index: Index,
}

impl<T: Exchange> Vault<'_, T> {
    /// Where the counter of releases is, which exists and has counted afterwards.
    fn counter(&mut self) -> Result<u64, Withheld> {
        let index = Index::release();
        let state = self.state(&index)?;
        if state == State::Absent {
            self.tpm.run(&storage::define(&index, &[]), command::done)?;
        }
        if state != State::Written {
            self.increment()?;
        }
        let read = storage::read(index.handle, Authorization::Password(&[]), COUNTER_SIZE);
        let counter = self.tpm.run(&read, storage::count)?;
        let release = self.approval.release;
        if counter > release {
            return Err(Withheld::Older { counter, release });
        }
        if release - counter > MOST_COUNTS {
            return Err(Withheld::TooNew);
        }
        Ok(counter)
    }

    fn increment(&mut self) -> Result<(), TpmError> {
        let handle = Index::release().handle;
        let increment = storage::increment(handle, Authorization::Password(&[]));
        self.tpm.run(&increment, command::done)
    }

    /// Counts from `counter` to this release's number.
    fn count_up(&mut self, counter: u64) -> Result<(), TpmError> {
        (counter..self.approval.release).try_for_each(|_| self.increment())
    }

    /// How the index is.
    ///
    /// # Errors
    /// [`Withheld::Foreign`] if it is another than expected.
    fn state(&mut self, index: &Index) -> Result<State, Withheld> {
        let (empty, full) = (index.encode(), index.clone().written().encode());
        let found = self.tpm.run(&storage::read_public(index.handle), |answer| {
            let public = storage::public(answer)?;
            Ok([public == empty.as_slice(), public == full.as_slice()])
        });
        match found {
            Ok([true, _]) => Ok(State::Empty),
            Ok([_, true]) => Ok(State::Written),
            Ok(_) => Err(Withheld::Foreign(index.handle)),
            Err(TpmError::Answer(AnswerError::Code(storage::NO_INDEX))) => Ok(State::Absent),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the secret if there is none. Whether there was none.
    fn prepare(&mut self) -> Result<bool, Withheld> {
        let index = self.index.clone();
        let state = self.state(&index)?;
        if state == State::Absent {
            self.tpm.run(&storage::define(&index, &[]), command::done)?;
        }
        if state == State::Written {
            return Ok(false);
        }
        let secret = fresh(self.tpm)?;
        self.in_session(|session| {
            let message = storage::write(index.handle, Authorization::Policy(session), &secret);
            (message, command::done)
        })?;
        Ok(true)
    }

    fn read(&mut self) -> Result<[u8; SECRET_SIZE as usize], Withheld> {
        let handle = self.index.handle;
        self.in_session(|session| {
            let message = storage::read(handle, Authorization::Policy(session), SECRET_SIZE);
            (message, storage::contents)
        })
    }

    /// Runs a command in a session in which the policy is fulfilled.
    fn in_session<R, F: Fn(&[u8]) -> Result<R, AnswerError>>(
        &mut self,
        command: impl FnOnce(u32) -> (command::Message, F),
    ) -> Result<R, Withheld> {
        let session = self.tpm.run(&session::start(), session::handle)?;
        let outcome = self.fulfil(session).and_then(|()| {
            let (message, read) = command(session);
            self.tpm.run(&message, read)
        });
        if outcome.is_err() {
            // A command that succeeds ends the session.
            self.tpm.run(&session::flush(session), command::done)?;
        }
        Ok(outcome?)
    }

    fn fulfil(&mut self, session: u32) -> Result<(), TpmError> {
        let limit = self.approval.release;
        let ticket = self.ticket()?;
        for message in [
            session::require_not_greater(session, &Index::release(), limit),
            session::require_registers(session, &MONITOR_REGISTERS),
            session::authorize(session, &self.approval, self.key, &ticket),
            session::require_registers(session, &MACHINE_REGISTERS),
        ] {
            self.tpm.run(&message, command::done)?;
        }
        Ok(())
    }

    /// The TPM's word for the maintainer's signature.
    fn ticket(&mut self) -> Result<Ticket, TpmError> {
        let key = self
            .tpm
            .run(&session::load_key(self.key), session::handle)?;
        let ticket = self
            .tpm
            .run(&session::verify(key, &self.approval), session::ticket);
        self.tpm.run(&session::flush(key), command::done)?;
        ticket
    }
}

/// Randomness of the TPM's and of the CPU's: each suffices.
fn fresh(tpm: &mut impl Exchange) -> Result<[u8; SECRET_SIZE as usize], TpmError> {
    let mut words = [0; 4];
    for (place, word) in words
        .iter_mut()
        .zip((0..).map_while(|_: u32| random::word()))
    {
        *place = word;
    }
    let random = tpm.run(&command::get_random(32), command::random_bytes)?;
    let own = words.map(u64::to_le_bytes);
    Ok(hash(&[b"ADYTON-FRESH-1", &random, own.as_flattened()]))
}

#[used]
static IMPRINT: Slot = Slot::EMPTY;

/// What `cargo xtask image` has written into this image.
#[must_use]
pub fn imprint() -> Imprint {
    // SAFETY: a static that nobody writes while the monitor runs. Its value is not what was compiled.
    unsafe { read_volatile(&raw const IMPRINT) }.imprint()
}

#[cfg(test)]
mod tests;
