//! Tracking: whether every thread that could still use an old translation has left the enclave (SDM, section 36.5.1).
//!
//! A SECS has an epoch, and counts the threads inside that entered in the current epoch apart from those that entered earlier. ETRACK begins
//! a new epoch, once nobody is left of those that the last ETRACK waits for. A page notes the epoch in which it was blocked
//! (or restricted, or modified): it is tracked when that epoch is over and all who entered by then have left.

use core::sync::atomic::{AtomicU64, Ordering};

const COUNT_BITS: u32 = 12;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const EPOCH_SHIFT: u32 = 2 * COUNT_BITS;

/// A view of the tracking word of a SECS: epoch, threads of earlier epochs, threads of this one.
#[derive(Debug)]
pub struct Tracking<'e>(&'e AtomicU64);

impl<'e> Tracking<'e> {
    pub(crate) fn new(word: &'e AtomicU64) -> Self {
        Self(word)
    }

    pub(crate) fn reset(&self) {
        self.0.store(1 << EPOCH_SHIFT, Ordering::SeqCst);
    }

    fn parts(word: u64) -> (u64, u64, u64) {
        (
            word >> EPOCH_SHIFT,
            word >> COUNT_BITS & COUNT,
            word & COUNT,
        )
    }

    fn word(epoch: u64, earlier: u64, current: u64) -> u64 {
        epoch << EPOCH_SHIFT | earlier << COUNT_BITS | current
    }

    /// The epoch now, from 1.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        Self::parts(self.0.load(Ordering::SeqCst)).0
    }

    /// Threads in the enclave.
    #[must_use]
    pub fn threads(&self) -> u64 {
        let (_, earlier, current) = Self::parts(self.0.load(Ordering::SeqCst));
        earlier + current
    }

    /// A thread enters; the epoch that it entered in, `None` if there are more threads than can be counted.
    pub(crate) fn enter(&self) -> Option<u64> {
        let word = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                (word & COUNT != COUNT).then_some(word + 1)
            });
        word.ok().map(|word| word >> EPOCH_SHIFT)
    }

    /// A thread that entered in an epoch leaves.
    pub(crate) fn leave(&self, epoch: u64) {
        let _ = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                let one = if word >> EPOCH_SHIFT == epoch {
                    1
                } else {
                    1 << COUNT_BITS
                };
                // Never below zero.
                (word & (one * COUNT) != 0).then(|| word - one)
            });
    }

    /// ETRACK: begins an epoch; false while threads of the time before the last one are inside.
    pub(crate) fn advance(&self) -> bool {
        self.0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                let (epoch, earlier, current) = Self::parts(word);
                (earlier == 0).then(|| Self::word(epoch + 1, current, 0))
            })
            .is_ok()
    }

    /// Whether ETRACK would find the last one unfinished.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        Self::parts(self.0.load(Ordering::SeqCst)).1 != 0
    }

    /// Whether everybody has left who was inside in an epoch or before, and it is over.
    #[must_use]
    pub fn is_over(&self, then: u64) -> bool {
        let (epoch, earlier, _) = Self::parts(self.0.load(Ordering::SeqCst));
        epoch > then && (epoch > then + 1 || earlier == 0)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::sync::atomic::AtomicU64;
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::{COUNT, Tracking};

    proptest! {
        /// Against a list of who entered when.
        #[test]
        fn a_page_is_tracked_when_all_who_were_inside_have_left(steps in proptest::collection::vec(0_u8..8, 1..80)) {
            let word = AtomicU64::new(0);
            let tracking = Tracking::new(&word);
            tracking.reset();
            let mut inside: Vec<u64> = Vec::new();
            let mut epoch = 1;
            for step in steps {
                match step {
                    0..=2 => inside.push(tracking.enter().expect("room")),
                    3..=5 if !inside.is_empty() => {
                        let thread = inside.remove(usize::from(step) % inside.len());
                        tracking.leave(thread);
                    }
                    _ => {
                        let done = inside.iter().all(|entered| *entered == epoch);
                        prop_assert_eq!(tracking.is_incomplete(), !done);
                        prop_assert_eq!(tracking.advance(), done);
                        epoch += u64::from(done);
                    }
                }
                prop_assert_eq!(tracking.epoch(), epoch);
                prop_assert_eq!(tracking.threads(), inside.len() as u64);
                for then in 0..=epoch {
                    let left = inside.iter().all(|entered| *entered > then);
                    prop_assert_eq!(tracking.is_over(then), then < epoch && left);
                }
            }
        }
    }

    #[test]
    fn more_threads_than_can_be_counted_do_not_enter() {
        let word = AtomicU64::new(0);
        let tracking = Tracking::new(&word);
        tracking.reset();
        for _ in 0..COUNT {
            assert_eq!(tracking.enter(), Some(1));
        }
        assert_eq!(tracking.enter(), None);
        assert_eq!((tracking.epoch(), tracking.threads()), (1, COUNT));
    }
}
