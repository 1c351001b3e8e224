//! Everything that can happen to the real engine in small worlds: each call in each order, each interrupted at each slice
//! and interleaved with what another core does, every invariant checked in every state.
//!
//! [`seeds`] say where it begins and which calls there are, [`action`] what can happen in a state, [`world`] lets it
//! happen to the engine and to a [`machine`] that caches whatever it may, [`check`] judges, [`canonical`] knows which states are the
//! same, [`search`] goes through all of them. [`planted`] makes mistakes that must be found.
//!
//! How far it goes is said by `ADYTON_EXPLORE`: `short` is what CI runs, `long` goes on until six operations of each scenario
//! are explored whole, and far beyond.

mod action;
mod canonical;
mod check;
mod corrupted;
mod machine;
mod pages;
mod planted;
mod search;
mod seeds;
mod world;

use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use search::{Count, Limits, Scenario, explore};
use seeds::SCENARIOS;

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Enough to see that it works, without optimisation.
    Glimpse,
    Short,
    Long,
}

impl Form {
    fn asked() -> Self {
        match std::env::var("ADYTON_EXPLORE").as_deref() {
            Ok("long") => Self::Long,
            Ok("short") => Self::Short,
            _ => Self::Glimpse,
        }
    }

    const fn limits(self) -> Limits {
        let (states, ends) = match self {
            Self::Glimpse => (400, 16),
            Self::Short => (25_000, 64),
            Self::Long => (2_500_000, 64),
        };
        Limits { states, ends }
    }
}

/// Explores one scenario and prints what was seen.
fn run(scenario: &Scenario, form: Form) -> Count {
    let started = Instant::now();
    let count = match explore(scenario, form.limits(), None) {
        Ok(count) => count,
        Err(finding) => panic!("{}: {finding:?}", scenario.name),
    };
    let far = if count.closed {
        "nothing is left".to_owned()
    } else {
        format!("{} operations whole", count.operations)
    };
    println!(
        "explored: {}: {} states, {} transitions, {} refused, {} brought to their end; {far}; {:?} in {:.0} s",
        scenario.name,
        count.states,
        count.transitions,
        count.refused,
        count.ends,
        count.layers,
        started.elapsed().as_secs_f64(),
    );
    count
}

#[test]
fn every_invariant_holds_whatever_happens() {
    let form = Form::asked();
    let wanted = std::env::var("ADYTON_SCENARIO").unwrap_or_default();
    let queue = SCENARIOS
        .iter()
        .filter(|scenario| scenario.name.contains(&wanted));
    let queue = Mutex::new(queue);
    let next = || queue.lock().unwrap().next();
    let work = || -> Vec<Count> {
        std::iter::from_fn(next)
            .map(|scenario| run(scenario, form))
            .collect()
    };
    let counts: Vec<Count> = thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut counts = work();
        counts.extend(other.join().unwrap());
        counts
    });
    let states: usize = counts.iter().map(|count| count.states).sum();
    let transitions: usize = counts.iter().map(|count| count.transitions).sum();
    println!("explored: all: {states} states, {transitions} transitions");
    if !wanted.is_empty() {
        return;
    }
    match form {
        Form::Glimpse => {}
        Form::Short => assert!(states >= 100_000),
        Form::Long => {
            assert!(states >= 10_000_000);
            let whole = |count: &Count| count.closed || count.operations >= 6;
            assert!(counts.iter().all(whole));
        }
    }
}
