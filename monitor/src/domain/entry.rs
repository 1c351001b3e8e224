//! The protocol of one vCPU's entries: which call is new, which continues an unfinished one, which comes too late.
//!
//! Pure bookkeeping (design note 004). The core that owns the vCPU ([`Owner`](adyton_synchronization::owner::Owner)) is the only one to touch an [`Entry`].

use adyton_abi::error::Error;
use adyton_abi::exit::ExitKind;

/// What an `enter` that was let in is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The answer to the last exit: its reply is delivered now.
    New,
    /// The repetition of an entry that was interrupted: nothing is delivered.
    Continue,
}

/// A vCPU's place in the protocol.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Entry {
    /// Number of the last exit; 0 before the first.
    sequence: u64,
    /// Token of the unfinished entry, 0 if there is none.
    token: u64,
    /// What is left of the caller's limit, in TSC ticks.
    remaining: u64,
    /// When the present stretch of running began.
    since: u64,
    /// Kind of the last exit: what a reply answers.
    kind: ExitKind,
}

/// The limit of an entry that has none.
pub const NO_LIMIT: u64 = 0;

/// `remaining` of an entry without a limit.
const UNLIMITED: u64 = u64::MAX;

impl Default for Entry {
    fn default() -> Self {
        Self {
            sequence: 0,
            token: 0,
            remaining: UNLIMITED,
            since: 0,
            kind: ExitKind::None,
        }
    }
}

impl Entry {
    /// Judges an `enter` with this `sequence`, `token` (not 0) and `limit` (0 for none). `now` tells the time; it
    /// is not asked where there is no limit.
    ///
    /// # Errors
    /// `Busy` if another entry is unfinished, `Stale` if the sequence is not that of the last exit, `WrongState` if the
    /// vCPU cannot go on.
    #[inline]
    pub fn begin(
        &mut self,
        sequence: u64,
        token: u64,
        limit: u64,
        now: impl FnOnce() -> u64,
    ) -> Result<Begin, Error> {
        if sequence != self.sequence {
            // A repetition that comes after its own exit is late; another caller's is in the way.
            return Err(if self.token == 0 {
                Error::Stale
            } else {
                Error::Busy
            });
        }
        if self.token != 0 {
            if self.token != token {
                return Err(Error::Busy);
            }
            if self.remaining != UNLIMITED {
                self.since = now();
            }
            return Ok(Begin::Continue);
        }
        if self.kind == ExitKind::Shutdown {
            return Err(Error::WrongState);
        }
        self.start(token, limit, now);
        Ok(Begin::New)
    }

    /// What [`Self::begin`] does where the entry is new.
    #[inline]
    pub fn start(&mut self, token: u64, limit: u64, now: impl FnOnce() -> u64) {
        self.token = token;
        self.remaining = UNLIMITED;
        if limit != 0 {
            self.remaining = limit;
            self.since = now();
        }
    }

    /// Whether an `enter` with this `sequence` would be [`Begin::New`] and answer a call.
    #[inline]
    pub fn is_answer(&self, sequence: u64) -> bool {
        sequence == self.sequence && self.token == 0 && self.kind == ExitKind::Call
    }

    /// Charges the stretch that ends `now`, for an interrupt; whether the limit is used up.
    #[inline]
    pub fn charge(&mut self, now: u64) -> bool {
        if self.remaining == UNLIMITED {
            return false;
        }
        self.remaining = self
            .remaining
            .saturating_sub(now.saturating_sub(self.since));
        self.since = now;
        self.remaining == 0
    }

    /// Ends the entry with an exit of this kind; its number.
    #[inline]
    pub fn finish(&mut self, kind: ExitKind) -> u64 {
        self.sequence = self.sequence.wrapping_add(1);
        self.token = 0;
        self.kind = kind;
        self.sequence
    }

    /// Undoes a [`Begin::New`] that came to nothing: the reply was not delivered.
    #[inline]
    pub fn retract(&mut self) {
        self.token = 0;
    }

    /// Whether an entry is unfinished.
    #[must_use]
    pub const fn is_unfinished(&self) -> bool {
        self.token != 0
    }

    /// Kind of the last exit: what the next reply answers.
    #[inline]
    #[must_use]
    pub const fn last(&self) -> ExitKind {
        self.kind
    }

    /// Number of the last exit.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_continues_and_is_never_taken_for_a_new_entry() {
        let mut entry = Entry::default();
        assert_eq!(entry.begin(0, 7, 0, || 100), Ok(Begin::New));
        assert_eq!(entry.begin(0, 7, 0, || 200), Ok(Begin::Continue));
        assert_eq!(
            entry.begin(0, 8, 0, || 200),
            Err(Error::Busy),
            "a signal handler with a token of its own"
        );
        assert_eq!(entry.finish(ExitKind::Call), 1);
        assert_eq!(
            entry.begin(0, 7, 0, || 300),
            Err(Error::Stale),
            "the repetition came after its exit"
        );
        assert_eq!(entry.begin(1, 9, 0, || 300), Ok(Begin::New));
        assert_eq!(entry.begin(0, 7, 0, || 300), Err(Error::Busy));
    }

    #[test]
    fn the_limit_counts_over_interrupts_and_only_while_running() {
        let mut entry = Entry::default();
        entry.begin(0, 1, 100, || 1000).unwrap();
        assert!(!entry.charge(1060));
        entry.begin(0, 1, 100, || 5000).unwrap();
        assert!(!entry.charge(5039));
        entry.begin(0, 1, 100, || 9000).unwrap();
        assert!(entry.charge(9001));
        assert_eq!(entry.finish(ExitKind::Budget), 1);
        entry.begin(1, 2, 0, || 9100).unwrap();
        assert!(!entry.charge(u64::MAX));
    }

    #[test]
    fn a_vcpu_that_shut_down_stays_down() {
        let mut entry = Entry::default();
        entry.begin(0, 1, 0, || 0).unwrap();
        let last = entry.finish(ExitKind::Shutdown);
        assert_eq!(entry.begin(last, 2, 0, || 0), Err(Error::WrongState));
    }
}
