//! One game: calls played one after another, carried on in random order, compared in between.

use std::collections::BTreeMap;

use crate::calls;
use crate::world::World;

/// How often calls of each kind succeeded, and how deep domains lay.
pub type Tally = BTreeMap<&'static str, u64>;

/// Plays the calls; `random` decides what happens between them.
pub fn play(random: u64, calls: &[calls::Call]) -> Tally {
    let mut world = World::new(random);
    for call in calls {
        world.call(*call);
        while world.flights.len() > 2 {
            world.step();
        }
        for _ in 0..world.chance(12) {
            if world.flights.is_empty() {
                break;
            }
            world.step();
            if world.chance(3) == 0 {
                world.engine.check_invariants().unwrap();
            }
        }
        if world.flights.is_empty() && world.chance(3) == 0 {
            world.learn();
            world.compare();
            world.compare_closures();
        }
    }
    world.drain();
    world.compare();
    world.compare_closures();
    world.tally
}
