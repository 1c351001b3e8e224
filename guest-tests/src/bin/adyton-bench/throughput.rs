//! Round trips in a second, on one, two and four cores that share nothing, beside calls that do nothing: does the path have a
//! lock or a line that cores fight for?
//!
//! The machine has a core more than are measured. The first one is left alone: a wrong update of its state by the others is
//! what QEMU 7.2 gets wrong (`docs/emulators.md`), and an idle core hardly enters or leaves a guest.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use adyton::abi::call::Information;
use adyton::{Flags, Linux, calls};
use adyton_guest_tests::fixture::{Running, run};
use adyton_guest_tests::raw;
use anyhow::{Result, ensure};

use crate::meter::report;

/// How long one measurement lasts.
const SPAN: Duration = Duration::from_millis(100);
/// Calls between two looks at the clock.
const BATCH: u64 = 200;
/// So often, since others use the host as well: of rates the best counts, of ratios within a round the middle.
const ROUNDS: usize = 40;
/// How many cores are measured at once.
const CORES: [usize; 3] = [1, 2, 4];

/// What a core does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    NullCall,
    Enter,
}

/// Measures all numbers of cores in turns, so that a disturbance meets each of them.
pub fn throughput() -> Result<()> {
    let most = CORES[CORES.len() - 1];
    let mut domains: Vec<Running> = (0..most)
        .map(|_| run("echo", &["plain"], Flags::CONFIDENTIAL))
        .collect::<Result<_>>()?;
    for running in &mut domains {
        running.words()?;
    }
    let mut best = [[0.0_f64; 2]; CORES.len()];
    let mut scaling = [const { Vec::new() }; CORES.len()];
    for _ in 0..ROUNDS {
        let mut rates = [[0.0; 2]; CORES.len()];
        for (rates, cores) in rates.iter_mut().zip(CORES) {
            for (rate, work) in rates.iter_mut().zip([Work::NullCall, Work::Enter]) {
                *rate = measure(&mut domains[..cores], work)?;
            }
        }
        for (index, [calls, entries]) in rates.into_iter().enumerate() {
            best[index] = [best[index][0].max(calls), best[index][1].max(entries)];
            scaling[index].push(entries / rates[0][1] / (calls / rates[0][0]));
        }
    }
    for (([calls, entries], cores), mut scaling) in best.iter().zip(CORES).zip(scaling) {
        report(&format!("null-calls-{cores}-cores"), *calls as u64, "1/s");
        report(&format!("entries-{cores}-cores"), *entries as u64, "1/s");
        if cores == 1 {
            continue;
        }
        scaling.sort_by(f64::total_cmp);
        let middle = scaling[scaling.len() / 2];
        println!("ADYTON-BENCH entries-against-null-calls-{cores}-cores {middle:.2} times");
        // The same turned round, for which there can be a bound.
        let lost = 1.0 / middle;
        println!("ADYTON-BENCH null-calls-against-entries-{cores}-cores {lost:.2} times");
    }
    Ok(())
}

/// Calls a second of all cores together, each with a domain of its own.
fn measure(domains: &mut [Running], work: Work) -> Result<f64> {
    let start = Barrier::new(domains.len());
    let counts: Vec<Result<f64>> = thread::scope(|scope| {
        let threads: Vec<_> = domains
            .iter_mut()
            .enumerate()
            .map(|(number, running)| {
                let start = &start;
                scope.spawn(move || {
                    // The first core stays idle.
                    raw::stay_on(number + 1)?;
                    let place = Linux::without_memory()?;
                    start.wait();
                    count(running, &place, work)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a measuring thread does not panic"))
            .collect()
    });
    counts.into_iter().sum()
}

/// Calls a second of this core.
fn count(running: &mut Running, place: &Linux, work: Work) -> Result<f64> {
    let vcpu = running.vcpu();
    let (mut done, mut refused) = (0, 0);
    let begin = Instant::now();
    while begin.elapsed() < SPAN {
        for _ in 0..BATCH {
            match work {
                Work::NullCall => {
                    calls::information(place, Information::Version, 0)?;
                }
                Work::Enter => refused |= vcpu.enter_raw(0).status,
            }
        }
        done += BATCH;
    }
    ensure!(refused == 0, "an entry was refused");
    Ok(done as f64 / begin.elapsed().as_secs_f64())
}
