//! The engine against a reference model: random calls, their effects applied in slices of random size, several operations
//! on their way at once, in random order, with waits.

mod calls;
mod compare;
mod reference;
#[path = "../support/mod.rs"]
mod support;
mod verdict;
mod watch;
mod world;

use proptest::prelude::*;

use world::World;

fn play(random: u64, calls: &[calls::Call]) {
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
            world.engine.check_invariants().unwrap();
        }
        if world.flights.is_empty() {
            world.learn();
            world.compare();
        }
    }
    world.drain();
    world.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn the_engine_does_what_the_reference_says(
        random in any::<u64>(),
        calls in prop::collection::vec(any::<calls::Call>(), 1..120),
    ) {
        play(random, &calls);
    }
}
