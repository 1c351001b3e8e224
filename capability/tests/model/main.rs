//! The engine against a reference model: random calls, their effects applied in slices of random size, several operations
//! on their way at once, in random order, with waits.

mod calls;
mod closures;
mod compare;
mod make;
mod play;
mod reference;
mod silence;
#[path = "../support/mod.rs"]
mod support;
mod verdict;
mod watch;
mod world;

use proptest::prelude::*;

use play::{Tally, play};

/// Cases of the property; the environment may ask for more.
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|cases| cases.parse().ok()).unwrap_or(150)
}

fn configuration() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases())
    }
}

proptest! {
    #![proptest_config(configuration())]

    #[test]
    fn the_engine_does_what_the_reference_says(
        random in any::<u64>(),
        calls in prop::collection::vec(any::<calls::Call>(), 1..150),
    ) {
        play(random, &calls);
    }
}

proptest! {
    #![proptest_config(configuration())]

    #[test]
    fn what_a_silent_core_may_reach_is_never_used_again(
        random in any::<u64>(),
        calls in prop::collection::vec(any::<calls::Call>(), 1..100),
    ) {
        silence::fall(random, &calls);
    }
}

/// The property says nothing if the calls all fail: with fixed numbers, each kind succeeds often, and domains nest.
#[test]
fn the_random_calls_reach_everything() {
    let mut total = Tally::new();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut byte = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    for round in 1..60 {
        let mut call = || (byte(), [(); 7].map(|()| byte()));
        let calls: Vec<calls::Call> = (0..200).map(|_| call()).collect();
        for (what, count) in play(round, &calls) {
            *total.entry(what).or_default() += count;
        }
    }
    let enough = [
        "claim",
        "claim in a domain",
        "create",
        "create at depth 3",
        "vcpu",
        "carve",
        "share",
        "derive from a region",
        "grant",
        "offer",
        "accept",
        "accept sealed",
        "close",
        "revoke",
        "seal",
        "destroy",
        "release",
        "cores",
        "assign",
        "death by a vital region",
        "larger closure",
    ];
    for what in enough {
        let count = total.get(what).copied().unwrap_or(0);
        assert!(count >= 10, "{what}: {count} of {total:?}");
    }
}
