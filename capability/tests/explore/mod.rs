//! Everything that can happen to the real engine in small worlds: each call in each order, each interrupted at each slice
//! and interleaved with what another core does, every invariant checked in every state.

mod action;
mod canonical;
mod check;
mod machine;
mod pages;
mod planted;
mod search;
mod seeds;
mod world;

use search::{Limits, explore};
use seeds::SCENARIOS;

#[test]
fn try_it() {
    let states = std::env::var("STATES")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(500);
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    for scenario in SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(&wanted))
    {
        let started = std::time::Instant::now();
        let limits = Limits { states, ends: 64 };
        let found = explore(scenario, limits, None);
        println!("{}: {found:?} {:?}", scenario.name, started.elapsed());
    }
}
