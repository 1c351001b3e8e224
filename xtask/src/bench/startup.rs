//! How long domain 0 takes to come up, with and without the monitor.
//!
//! Wall time under emulation varies with the host's load. So runs with and without alternate, and
//! medians are compared.

use anyhow::{Context, Result};

use super::results::{Beside, Results};
use crate::guest::{Images, Settings};
use crate::setup::{self, Emulator};
use crate::suite::{self, Boot, Filter, Measurement};
use crate::workspace::Workspace;

/// The name of this measurement.
pub const NAME: &str = "startup";

/// Odd, so that the median is a run.
const RUNS: usize = 9;

/// Measures with one and with two cores, in the system's emulator and in QEMU 10.
///
/// Nothing is judged here: most of the difference is the emulator's own work (`docs/emulators.md`). What the monitor
/// adds in instructions is the goal of the boot `domain0`.
pub fn measure(workspace: &Workspace, images: &Images, results: &mut Results) -> Result<()> {
    for emulator in [Emulator::System, Emulator::Qemu10] {
        if let Err(error) = setup::emulator(workspace, emulator) {
            println!("skip  {NAME}: {error:#}");
            continue;
        }
        measure_in(workspace, images, results, emulator)?;
    }
    Ok(())
}

fn measure_in(
    workspace: &Workspace,
    images: &Images,
    results: &mut Results,
    emulator: Emulator,
) -> Result<()> {
    for cpus in [1, 2] {
        let mut seconds = [Vec::new(), Vec::new()];
        for _ in 0..RUNS {
            for monitor in [true, false] {
                seconds[usize::from(monitor)]
                    .push(once(workspace, images, emulator, cpus, monitor)?);
            }
        }
        let [bare, with_monitor] = seconds.map(median);
        let suffix = match emulator {
            Emulator::System => "",
            Emulator::Qemu10 => "-qemu-10",
        };
        let name = format!("{cpus}-cpus{suffix}");
        let measured = Measurement {
            name,
            value: with_monitor,
            unit: "s".to_owned(),
        };
        let bare = Some(bare);
        results.add(NAME, &measured, Beside { bare, goal: None });
    }
    Ok(())
}

fn once(
    workspace: &Workspace,
    images: &Images,
    emulator: Emulator,
    cpus: u32,
    monitor: bool,
) -> Result<f64> {
    let boot = Boot {
        name: format!("{NAME}-{cpus}-{monitor}"),
        tier: suite::Tier::Default,
        time_limit: 60,
        settings: Settings {
            emulator,
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
