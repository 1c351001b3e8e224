//! How long domain 0 takes to come up, with and without the monitor.
//!
//! Wall time under emulation varies with the host's load. So runs with and without alternate, and
//! medians are compared.

use anyhow::{Context, Result};

use super::results::Results;
use crate::guest::{Images, Settings};
use crate::suite::{self, Boot, Filter, Measurement};
use crate::workspace::Workspace;

/// The name of this measurement.
pub const NAME: &str = "startup";

/// Odd, so that the median is a run.
const RUNS: usize = 9;

/// The largest ratio that is accepted.
const GOAL: f64 = 1.10;

/// Measures with one and with two cores. Whether the goal was reached.
pub fn measure(workspace: &Workspace, images: &Images, results: &mut Results) -> Result<bool> {
    let mut reached = true;
    for cpus in [1, 2] {
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            for monitor in [true, false] {
                seconds[usize::from(monitor)].push(once(workspace, images, cpus, monitor)?);
            }
        }
        let [bare, with_monitor] = seconds.map(median);
        let name = format!("{cpus}-cpus");
        let measured = Measurement {
            name,
            value: with_monitor,
            unit: "s".to_owned(),
        };
        results.add(NAME, &measured, Some(bare));
        if with_monitor > GOAL * bare {
            println!("FAIL  {NAME}: more than {GOAL} times the time without the monitor");
            reached = false;
        }
    }
    Ok(reached)
}

fn once(workspace: &Workspace, images: &Images, cpus: u32, monitor: bool) -> Result<f64> {
    let boot = Boot {
        name: format!("{NAME}-{cpus}-{monitor}"),
        tier: suite::Tier::Default,
        time_limit: 60,
        settings: Settings {
            cpus,
            monitor,
            append: "quiet".to_owned(),
            ..Settings::default()
        },
        tests: Vec::new(),
        goals: Vec::new(),
        memory: None,
        compare: false,
    };
    let chosen = Filter::new(Some("all")).boots(&[boot]);
    let result = suite::run_boot(workspace, images, &chosen[0]);
    result
        .ready_after
        .map(|took| took.as_secs_f64())
        .context("domain 0 did not come up")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    #[test]
    fn median_is_the_middle() {
        assert!((super::median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
