//! Whom a flush is patient with, and for how long.

use std::cell::Cell;

use super::{Answer, Flushing, Peer, Time};
use crate::flush::{Generation, Tag};
use crate::presence::{Epoch, Presence};

const DOMAIN: u64 = 7;
const PATIENCE: u64 = 100;

/// A core that runs the domain, and counts how often it is asked to come out.
struct Runner {
    presence: Presence,
    tag: Tag,
    kicks: Cell<u64>,
}

impl Runner {
    fn new(generation: &Generation) -> Self {
        let mut runner = Self {
            presence: Presence::new(0, 4),
            tag: Tag::new(),
            kicks: Cell::new(0),
        };
        runner.enter(generation);
        runner
    }

    fn enter(&mut self, generation: &Generation) {
        if !self.presence.enter(&self.tag, DOMAIN, generation) {
            let _ = self.presence.renew(&mut self.tag, generation);
        }
    }
}

impl Peer for Runner {
    fn presence(&self) -> &Presence {
        &self.presence
    }

    fn kick_out(&self) {
        self.kicks.set(self.kicks.get() + 1);
    }
}

/// A domain from which things are taken.
#[derive(Default)]
struct Taken {
    generation: Generation,
    epoch: Epoch,
    flushing: Flushing,
}

impl Taken {
    fn take_more(&mut self, now: u64) {
        self.flushing.need();
        assert!(self.flushing.begin(&self.generation, &self.epoch, now));
    }

    fn look(&mut self, core: &Runner, now: u64) -> Answer {
        let time = Time {
            now,
            patience: PATIENCE,
        };
        let others = core::iter::once(core);
        self.flushing
            .look(DOMAIN, &self.generation, others, false, time)
    }
}

#[test]
fn who_takes_more_and_more_does_not_renew_the_patience() {
    let mut taken = Taken::default();
    let silent = Runner::new(&taken.generation);
    for now in 0..=PATIENCE {
        taken.take_more(now);
        assert_eq!(taken.look(&silent, now), Answer::NotYet, "at {now}");
    }
    taken.take_more(PATIENCE + 1);
    assert_eq!(taken.look(&silent, PATIENCE + 1), Answer::TooLate);
    assert_eq!(silent.kicks.get(), PATIENCE + 2);
}

#[test]
fn a_core_that_answers_is_not_given_up_however_much_is_taken() {
    let mut taken = Taken::default();
    let mut slow = Runner::new(&taken.generation);
    for now in 0..20 * PATIENCE {
        taken.take_more(now);
        // It is always behind what was taken last, and never long behind what was taken before.
        assert_eq!(taken.look(&slow, now), Answer::NotYet, "at {now}");
        if now.is_multiple_of(PATIENCE / 2) {
            slow.presence.exit(&taken.epoch);
            slow.enter(&taken.generation);
            taken.take_more(now);
        }
    }
    slow.presence.exit(&taken.epoch);
    slow.enter(&taken.generation);
    assert_eq!(taken.look(&slow, 20 * PATIENCE), Answer::All);
}

/// A wait that was given up leaves nothing of its beginning to the next.
#[test]
fn the_next_flush_after_one_that_was_too_late_has_its_own_patience() {
    let mut taken = Taken::default();
    let mut core = Runner::new(&taken.generation);
    taken.take_more(0);
    assert_eq!(taken.look(&core, PATIENCE + 1), Answer::TooLate);
    // Long afterwards it has come out and gone in again, and something else is taken.
    core.presence.exit(&taken.epoch);
    core.enter(&taken.generation);
    let later = 50 * PATIENCE;
    taken.take_more(later);
    assert_eq!(taken.look(&core, later), Answer::NotYet);
    assert_eq!(taken.look(&core, later + PATIENCE), Answer::NotYet);
    assert_eq!(taken.look(&core, later + PATIENCE + 1), Answer::TooLate);
}

/// While nobody takes more, one look after another is patient with the same beginning.
#[test]
fn the_patience_ends() {
    let mut taken = Taken::default();
    let core = Runner::new(&taken.generation);
    taken.take_more(5);
    assert!(!taken.flushing.begin(&taken.generation, &taken.epoch, 50));
    assert_eq!(taken.look(&core, 5 + PATIENCE), Answer::NotYet);
    assert_eq!(taken.look(&core, 6 + PATIENCE), Answer::TooLate);
    assert!(taken.flushing.is_begun());
}
