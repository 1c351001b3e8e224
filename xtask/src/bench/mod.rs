//! `cargo xtask bench`: measurements, kept with their commit in `bench/results.json`.
//!
//! Boots that measure are written down in `bench/*.toml` in the format of the tests; what they
//! print as `ADYTON-BENCH name value unit` is collected. A boot with `compare = true` runs a second
//! time without the monitor, and the ratio of each value is printed beside it. How long domain 0
//! takes to come up is compared by itself, in wall time ([`startup`]).

mod results;
mod startup;

use std::process::ExitCode;

use anyhow::Result;

use self::results::Results;
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
    let images = Images::build(workspace, true)?;
    let mut results = Results::read(workspace)?;
    let mut failed = false;
    for boot in &boots {
        failed |= !measure(workspace, &images, boot, &mut results)?;
    }
    if filter.is_none_or(|part| startup::NAME.contains(part)) {
        startup::measure(workspace, &images, &mut results)?;
    }
    results.write(workspace)?;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs one boot, bare as well if it is to be compared. Whether all of it worked.
fn measure(
    workspace: &Workspace,
    images: &Images,
    boot: &Boot,
    results: &mut Results,
) -> Result<bool> {
    let Some(with_monitor) = values(workspace, images, boot) else {
        return Ok(false);
    };
    let mut bare = Vec::new();
    if boot.compare {
        let mut boot = boot.clone();
        boot.name.push_str("-bare");
        boot.settings.monitor = false;
        boot.goals.clear();
        let Some(values) = values(workspace, images, &boot) else {
            return Ok(false);
        };
        bare = values;
    }
    for measured in with_monitor {
        let other = bare
            .iter()
            .find(|candidate| candidate.name == measured.name);
        results.add(&boot.name, &measured, other.map(|found| found.value));
    }
    Ok(true)
}

/// What a boot measured; none when one of its tests failed, which is printed.
fn values(workspace: &Workspace, images: &Images, boot: &Boot) -> Option<Vec<suite::Measurement>> {
    let chosen = Filter::new(Some("all")).boots(std::slice::from_ref(boot));
    let result = suite::run_boot(workspace, images, chosen.first()?);
    let mut good = true;
    for report in result.reports {
        if report.outcome != Outcome::Passed {
            println!("{}\n{}", report.line(), report.detail);
            good = false;
        }
    }
    good.then_some(result.measurements)
}
