//! The domains' monotonic counters: hardware counters of the TPM's, which domain 0 hands out. Design note 008.
//!
//! A counter is an index of the TPM's of a kind that only grows. Whose it is stands in its public part; its password is derived from the platform key, so
//! that nobody else can have made one: another system on this machine can delete a counter, and one that is made anew begins above
//! every value that a deleted one had.
//!
//! What must hold: a value that was returned is in the TPM's non-volatile storage; an index is used only if it is of that kind and knows the password.

use adyton_secrets::Hash;
use adyton_secrets::derivation::PlatformKey;
use adyton_secrets::index::{COUNTER_SIZE, Index, handle};

use crate::lock::Lock;
use crate::tpm::Exchange;
use crate::tpm::command::{self, AnswerError, Message};
use crate::tpm::device::TpmError;
use crate::tpm::storage::{self, Authorization};

/// How many there may be on a machine.
pub const LIMIT: usize = handle::COUNTER_LIMIT as usize;

/// One of the places for counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slot {
    /// Nothing is there.
    #[default]
    Free,
    /// The counter of this [holder](adyton_secrets::derivation::holder).
    Held(Hash),
    /// Something else is there: made by another system, or with a secret that is gone.
    Foreign,
}

/// The places of this machine.
pub static SLOTS: Lock<Slots> = Lock::new(Slots([Slot::Free; LIMIT]));

/// Why there is no place for a new counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken.
    Full,
    /// In one there may be a counter of the same holder with a greater value, whose password is lost. The TPM begins a new one above it
    /// only when it has been deleted.
    Foreign,
}

/// All places.
#[derive(Debug)]
pub struct Slots([Slot; LIMIT]);

impl Slots {
    /// A place by its number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Slot> {
        self.0.get(usize::try_from(number).ok()?).copied()
    }

    /// Where the counter of `holder` is.
    #[must_use]
    pub fn of(&self, holder: &Hash) -> Option<u32> {
        self.find(Slot::Held(*holder))
    }

    /// A place for a new counter.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn vacancy(&self) -> Result<u32, NoPlace> {
        if self.find(Slot::Foreign).is_some() {
            return Err(NoPlace::Foreign);
        }
        self.find(Slot::Free).ok_or(NoPlace::Full)
    }

    fn find(&self, wanted: Slot) -> Option<u32> {
        let found = self.0.iter().zip(0..).find(|(slot, _)| **slot == wanted);
        found.map(|(_, number)| number)
    }

    fn set(&mut self, number: u32, slot: Slot) {
        if let Some(place) = self.0.get_mut(number as usize) {
            *place = slot;
        }
    }
}

/// Finds the counters that are there, once, while the monitor boots. One that was never counted, since the power went while it was made,
/// was nobody's yet, and is taken away.
///
/// # Errors
/// If the TPM fails.
pub fn find(tpm: &mut impl Exchange, platform: &PlatformKey) -> Result<Slots, TpmError> {
    let mut slots = Slots([Slot::Free; LIMIT]);
    for number in 0..handle::COUNTER_LIMIT {
        slots.set(number, look(tpm, platform, number)?);
    }
    Ok(slots)
}

/// What is in a place: something foreign wherever the TPM refuses what it would not refuse about a counter of ours.
fn look(tpm: &mut impl Exchange, platform: &PlatformKey, number: u32) -> Result<Slot, TpmError> {
    let place = handle::COUNTERS + number;
    let found = tpm.run(&storage::read_public(place), |answer| {
        Ok(recognize(number, storage::public(answer)?))
    });
    let found = match found {
        Ok(Some((_, false))) => {
            let undefine = tpm.run(&storage::undefine(place), command::done);
            undefine.map(|()| Slot::Free)
        }
        Ok(Some((holder, true))) => {
            let password = platform.counter(place, &holder);
            let read = storage::read(place, Authorization::Password(&password), COUNTER_SIZE);
            tpm.run(&read, storage::count).map(|_| Slot::Held(holder))
        }
        Ok(None) => Ok(Slot::Foreign),
        Err(TpmError::Answer(AnswerError::Code(storage::NO_INDEX))) => Ok(Slot::Free),
        Err(error) => Err(error),
    };
    match found {
        Err(TpmError::Answer(_)) => Ok(Slot::Foreign),
        found => found,
    }
}

/// Whose a counter is, by the public part of its index, and whether it was ever counted; `None` if it is no counter of ours.
fn recognize(number: u32, public: &[u8]) -> Option<(Hash, bool)> {
    const POLICY: usize = 12;
    let holder: Hash = *public.get(POLICY..)?.first_chunk()?;
    let index = Index::counter(number, holder);
    let is_empty = public == index.encode().as_slice();
    let is_written = public == index.written().encode().as_slice();
    (is_empty || is_written).then_some((holder, is_written))
}

/// What may be done with a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read it.
    Read,
    /// Count, and read it.
    Increment,
    /// Make it, and read it.
    Create,
    /// Delete it.
    Destroy,
}

/// That, step by step.
pub struct Errand {
    wish: Wish,
    number: u32,
    holder: Hash,
    password: Hash,
    step: usize,
}

impl core::fmt::Debug for Errand {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "{:?} of counter {}", self.wish, self.number)
    }
}

/// A command of a wish's.
#[derive(Clone, Copy)]
enum Step {
    Define,
    Increment,
    Read,
    Undefine,
}

impl Wish {
    const fn steps(self) -> &'static [Step] {
        match self {
            Self::Read => &[Step::Read],
            Self::Increment => &[Step::Increment, Step::Read],
            Self::Create => &[Step::Define, Step::Increment, Step::Read],
            Self::Destroy => &[Step::Undefine],
        }
    }
}

impl Errand {
    /// `wish` about the counter of `holder` in this place.
    #[must_use]
    pub fn new(wish: Wish, number: u32, holder: Hash, platform: &PlatformKey) -> Self {
        Self {
            wish,
            number,
            holder,
            password: platform.counter(handle::COUNTERS + number, &holder),
            step: 0,
        }
    }

    pub(super) fn command(&self) -> Message {
        let place = handle::COUNTERS + self.number;
        let password = Authorization::Password(&self.password);
        match self.wish.steps().get(self.step) {
            Some(Step::Define) => {
                let index = Index::counter(self.number, self.holder);
                storage::define(&index, &self.password)
            }
            Some(Step::Increment) => storage::increment(place, password),
            Some(Step::Undefine) => storage::undefine(place),
            Some(Step::Read) | None => storage::read(place, password, COUNTER_SIZE),
        }
    }

    pub(super) fn answered(&mut self, answer: &Message) -> Result<bool, TpmError> {
        command::done(answer)?;
        self.step += 1;
        let is_last = self.step >= self.wish.steps().len();
        if is_last {
            match self.wish {
                Wish::Create => SLOTS.lock().set(self.number, Slot::Held(self.holder)),
                Wish::Destroy => SLOTS.lock().set(self.number, Slot::Free),
                Wish::Read | Wish::Increment => {}
            }
        }
        Ok(is_last)
    }
}

#[cfg(test)]
mod tests;
