//! `cargo xtask bench`: measurements, kept with their commit in `bench/results.json`.
//!
//! Boots that measure are written down in `bench/*.toml` in the format of the tests; what they
//! print as `ADYTON-BENCH name value unit` is collected. A boot with `compare = true` runs a second
//! time without the monitor, and the ratio of each value is printed beside it. How long domain 0
//! takes to come up is compared by itself, in wall time ([`startup`]). What is trusted is counted ([`trusted`]), and
//! all of it is drawn ([`figures`]).

mod engine;
mod figures;
mod results;
mod startup;
mod svg;
mod trusted;

use std::process::ExitCode;

use anyhow::Result;

use self::results::{Beside, Results};
use crate::build::Monitors;
use crate::guest::Images;
use crate::setup;
use crate::suite::{self, Boot, Filter, Outcome};
use crate::workspace::Workspace;

/// Runs the measurements whose boot's name contains the filter.
pub fn run(workspace: &Workspace, filter: Option<&str>) -> Result<ExitCode> {
    setup::packages()?;
    let boots: Vec<Boot> = suite::read_boots(&workspace.source("bench"))?
        .into_iter()
        .filter(|boot| filter.is_none_or(|part| boot.name.contains(part)))
        .collect();
    let images = Images::build(workspace, Monitors::PRODUCT)?;
    let mut results = Results::read(workspace)?;
    let mut failed = false;
    for boot in &boots {
        failed |= !measure(workspace, &images, boot, &mut results)?;
    }
    if filter.is_none_or(|part| startup::NAME.contains(part)) {
        startup::measure(workspace, &images, &mut results)?;
    }
    if filter.is_none_or(|part| engine::NAME.contains(part)) {
        engine::measure(workspace, &mut results)?;
    }
    if filter.is_none_or(|part| trusted::NAME.contains(part)) {
        trusted::measure(workspace, &images, &mut results)?;
    }
    results.write(workspace)?;
    figures::draw(workspace, &results)?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs one boot, bare as well if it is to be compared. Whether all of it worked and every goal was reached.
fn measure(
    workspace: &Workspace,
    images: &Images,
    boot: &Boot,
    results: &mut Results,
) -> Result<bool> {
    let (with_monitor, mut good) = values_at_last(workspace, images, boot);
    let mut bare = Vec::new();
    if boot.compare {
        let mut boot = boot.clone();
        boot.name.push_str("-bare");
        boot.settings.monitor = false;
        boot.goals.clear();
        let (values, also_good) = values(workspace, images, &boot);
        bare = values;
        good &= also_good;
    }
    for measured in with_monitor {
        let other = bare
            .iter()
            .find(|candidate| candidate.name == measured.name);
        let goal = boot.goals.iter().find(|goal| goal.name == measured.name);
        results.add(
            &boot.name,
            &measured,
            Beside {
                bare: other.map(|found| found.value),
                goal: goal.map(|goal| goal.at_most),
            },
        );
    }
    Ok(good)
}

/// As [`values`]. Where cores run in parallel the emulator now and then loses a core's state (docs/emulators.md), and the machine
/// ends without a figure: then it is started again. A figure that was measured is never measured again.
fn values_at_last(
    workspace: &Workspace,
    images: &Images,
    boot: &Boot,
) -> (Vec<suite::Measurement>, bool) {
    const ATTEMPTS: u32 = 4;
    let may_repeat = boot.settings.parallel && boot.settings.cpus > 1;
    for attempt in 1..ATTEMPTS {
        let found = values(workspace, images, boot);
        if !found.0.is_empty() || !may_repeat {
            return found;
        }
        println!("{}: attempt {attempt} measured nothing; again", boot.name);
    }
    values(workspace, images, boot)
}

/// What a boot measured, and whether all its tests passed; what did not is printed.
fn values(workspace: &Workspace, images: &Images, boot: &Boot) -> (Vec<suite::Measurement>, bool) {
    let chosen = Filter::new(Some("all")).boots(std::slice::from_ref(boot));
    let mut good = true;
    let mut measurements = Vec::new();
    for chosen in &chosen {
        let result = suite::run_boot(workspace, images, chosen);
        for report in result.reports {
            if report.outcome != Outcome::Passed {
                println!("{}\n{}", report.line(), report.detail);
                good = false;
            }
        }
        measurements.extend(result.measurements);
    }
    (measurements, good)
}
