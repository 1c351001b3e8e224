//! What came of the calls, counted.

use adyton_abi::call::{CALL_BASE, Call};
use adyton_abi::error::Error;

const CALLS: usize = Call::ALL.len();
const CODES: usize = Error::ALL.len() + 1;

/// Numbers of calls. Statuses that are no error's, which stand for a fault, are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    tries: [u64; CALLS],
    successes: [u64; CALLS],
    codes: [u64; CODES],
    faults: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Words of [`Self::words`].
    pub const WORDS: usize = 2 * CALLS + CODES + 1;

    /// Nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tries: [0; CALLS],
            successes: [0; CALLS],
            codes: [0; CODES],
            faults: 0,
        }
    }

    /// Counts one.
    pub fn note(&mut self, call: Call, status: u64) {
        let index = (call as u64 - CALL_BASE) as usize;
        add(&mut self.tries, index, 1);
        if status == 0 {
            add(&mut self.successes, index, 1);
        }
        match usize::try_from(status) {
            Ok(code) if code < CODES => add(&mut self.codes, code, 1),
            _ => self.faults += 1,
        }
    }

    /// All numbers one after another, for a player that reports from elsewhere.
    #[must_use]
    pub fn words(&self) -> [u64; Self::WORDS] {
        let numbers = self.tries.iter().chain(&self.successes).chain(&self.codes);
        let mut words = [self.faults; Self::WORDS];
        for (word, number) in words.iter_mut().zip(numbers) {
            *word = *number;
        }
        words
    }

    /// Adds what [`Self::words`] gave.
    pub fn add_words(&mut self, words: &[u64; Self::WORDS]) {
        let numbers = self.tries.iter_mut().chain(&mut self.successes);
        let numbers = numbers.chain(&mut self.codes).chain([&mut self.faults]);
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
        let count = |error: &Error| self.codes.get(*error as usize).copied().unwrap_or(0);
        Error::ALL.iter().map(move |error| (*error, count(error)))
    }
}

fn add(numbers: &mut [u64], index: usize, more: u64) {
    if let Some(number) = numbers.get_mut(index) {
        *number += more;
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
        let mut other = Tally::new();
        other.add_words(&tally.words());
        assert_eq!(other, tally);
        assert_eq!((other.all(), other.faults()), (3, 1));
        assert!(other.errors().any(|found| found == (Error::Overlap, 1)));
        assert!(other.calls().any(|found| found == (Call::Carve, 2, 0)));
    }
}
