//! Sequences of calls on the engine, several on their way at once, against the reference model of its tests.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../capability/tests/model/calls.rs"]
mod calls;
#[path = "../../capability/tests/model/closures.rs"]
mod closures;
#[path = "../../capability/tests/model/compare.rs"]
mod compare;
#[path = "../../capability/tests/model/make.rs"]
mod make;
#[path = "../../capability/tests/model/play.rs"]
mod play;
#[path = "../../capability/tests/model/reference.rs"]
mod reference;
#[path = "../../capability/tests/support/mod.rs"]
mod support;
#[path = "../../capability/tests/model/verdict.rs"]
mod verdict;
#[path = "../../capability/tests/model/watch.rs"]
mod watch;
#[path = "../../capability/tests/model/world.rs"]
mod world;

fuzz_target!(|input: (u64, Vec<calls::Call>)| {
    let (random, calls) = input;
    play::play(random, &calls[..calls.len().min(200)]);
});
