//! Random calls to the monitor that are right often enough to lead somewhere.
//!
//! A [`Player`] has a [`Ground`], memory in which it may claim, and remembers what its calls have made ([`World`]). It chooses a
//! call, gives it arguments that should do, spoils one of them now and then ([`choose`]), and counts what came back
//! ([`Tally`]). Several players may share a world, one call at a time: then they also meet each other's unfinished calls.
//!
//! Nothing is allocated and nothing panics, so that it can play in kernel mode and inside a domain.
#![no_std]
#![forbid(unsafe_code)]

mod choose;
mod dice;
mod learn;
mod question;
mod tally;
mod world;

use adyton_compose::environment::{Request, Response};

pub use dice::Dice;
pub use tally::Tally;
pub use world::{Ground, World};

/// Somebody who plays.
#[derive(Debug)]
pub struct Player {
    /// Where.
    pub ground: Ground,
    /// What decides.
    pub dice: Dice,
    /// What came of it.
    pub tally: Tally,
}

impl Player {
    /// Chooses a call.
    pub fn choose(&mut self, world: &World) -> Request {
        choose::call(self.ground, world, &mut self.dice)
    }

    /// Has what the call needs to find in memory stored there: address and word.
    pub fn ask(&self, request: &Request, store: impl FnMut(u64, u64)) {
        question::ask(&self.ground, request, store);
    }

    /// Notes what came back, and what it says about the world.
    pub fn learn(&mut self, world: &mut World, request: &Request, response: &Response) {
        self.tally.note(request.call, response.status);
        learn::from(self.ground, world, &mut self.dice, request, response);
    }
}
