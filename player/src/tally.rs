//! What came of the calls, counted.

use adyton_abi::call::Call;
use adyton_abi::error::Error;

// Numbers have gaps: what is counted stands in the order of all calls and of all errors.
const CALLS: usize = Call::ALL.len();
const ERRORS: usize = Error::ALL.len();

/// Numbers of calls. Statuses that are no error's, which stand for a fault, are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    tries: [u64; CALLS],
    successes: [u64; CALLS],
    errors: [u64; ERRORS],
    faults: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Words of [`Self::words`].
    pub const WORDS: usize = 2 * CALLS + ERRORS + 1;

    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tries: [0; CALLS],
            successes: [0; CALLS],
            errors: [0; ERRORS],
            faults: 0,
        }
    }

    /// Counts one.
    pub fn note(&mut self, call: Call, status: u64) {
        add(&mut self.tries, Call::ALL, call);
        if status == 0 {
            add(&mut self.successes, Call::ALL, call);
            return;
        }
        let is_it = |error: &&Error| **error as u64 == status;
        match Error::ALL.iter().find(is_it) {
            Some(error) => add(&mut self.errors, Error::ALL, *error),
            None => self.faults += 1,
        }
    }

    /// All numbers one after another, for a player that reports from elsewhere.
    #[must_use]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let numbers = self.tries.iter().chain(&self.successes).chain(&self.errors);
        let mut words = [self.faults; Self::WORDS];
        for (word, number) in words.iter_mut().zip(numbers) {
            *word = *number;
        }
        words
    }

    /// Adds what [`Self::words`] gave.
    pub fn add_words(&mut self, words: &[u64; Self::WORDS]) {
        let numbers = self.tries.iter_mut().chain(&mut self.successes);
        let numbers = numbers.chain(&mut self.errors).chain([&mut self.faults]);
        for (number, word) in numbers.zip(words) {
            *number += word;
        }
    }

    /// All calls.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.tries.iter().sum()
    }

    /// Calls that raised a fault instead of returning.
    #[must_use]
    pub const fn faults(&self) -> u64 {
        self.faults
    }

    /// Each call with its tries and its successes.
    pub fn calls(&self) -> impl Iterator<Item = (Call, u64, u64)> {
        let counts = self.tries.iter().zip(&self.successes);
        let calls = Call::ALL.iter().zip(counts);
        calls.map(|(call, (tries, successes))| (*call, *tries, *successes))
    }

    /// Each error with how often it came.
    pub fn errors(&self) -> impl Iterator<Item = (Error, u64)> {
        let errors = Error::ALL.iter().zip(&self.errors);
        errors.map(|(error, count)| (*error, *count))
    }
}

fn add<T: PartialEq>(numbers: &mut [u64], all: &[T], one: T) {
    let index = all.iter().position(|other| *other == one);
    if let Some(number) = index.and_then(|index| numbers.get_mut(index)) {
        *number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_carry_everything() {
        let mut tally = Tally::new();
        tally.note(Call::Claim, 0);
        tally.note(Call::Carve, Error::Overlap as u64);
        tally.note(Call::Carve, u64::MAX);
        let (last, error) = (Call::ALL.last().unwrap(), Error::ALL.last().unwrap());
        tally.note(*last, *error as u64);
        let mut other = Tally::new();
        other.add_words(&tally.words());
        assert_eq!(other, tally);
        assert_eq!((other.all(), other.faults()), (4, 1));
        assert!(other.errors().any(|found| found == (Error::Overlap, 1)));
        assert!(other.calls().any(|found| found == (Call::Carve, 2, 0)));
        assert!(other.calls().any(|found| found == (*last, 1, 0)));
        assert!(other.errors().any(|found| found == (*error, 1)));
    }
}
