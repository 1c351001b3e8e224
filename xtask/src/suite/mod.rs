//! The tests: what CI runs, and parts of it by name.
//!
//! Steps on the host come first, then guest tests: boots of QEMU, each with a list of commands that
//! run in domain 0 ([`definition`]). What a filter means is in [`selection`], how a console is read
//! in [`progress`], what its memory holds afterwards in [`remains`], how results are counted in [`report`].

mod boot;
mod definition;
mod host;
mod kept_secret;
mod model_check;
mod progress;
mod reboots;
mod remains;
mod report;
mod reproducible;
mod schedule;
mod searches;
mod selection;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use self::report::Summary;
use self::selection::{Chosen, Selection};
use crate::build::Monitors;
use crate::guest::Images;
use crate::setup;
use crate::workspace::Workspace;

pub use self::boot::run as run_boot;
pub use self::definition::{Boot, Tier, read as read_boots};
pub use self::progress::Measurement;
pub use self::report::{Outcome, Report};
pub use self::selection::Selection as Filter;

/// Prints the names that a filter means.
pub fn list(workspace: &Workspace, filter: Option<&str>) -> Result<ExitCode> {
    let (steps, boots) = choose(workspace, &Selection::new(filter))?;
    let steps = steps.iter().map(|step| step.name.to_owned());
    let mut output = io::stdout().lock();
    for name in steps.chain(boots.iter().flat_map(Chosen::names)) {
        // Who reads them may have seen enough.
        if writeln!(output, "{name}").is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the tests that a filter means. Its last line is `N passed, N failed, N skipped`.
///
/// Without the monitor the guests' tests run on bare machines.
pub fn run(workspace: &Workspace, filter: Option<&str>, with_monitor: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let selection = Selection::new(filter);
    setup::packages()?;
    let (steps, mut boots) = choose(workspace, &selection)?;
    for chosen in &mut boots {
        chosen.boot.settings.monitor &= with_monitor;
    }
    let mut summary = Summary::new(workspace, "host/");
    for step in steps {
        summary.add(step.reports(workspace));
    }
    if !boots.is_empty() {
        for chosen in &boots {
            // Fetched here, so that boots that run side by side find it; errors are told there.
            let _ = chosen.boot.settings.fetch_kernel(workspace);
            let _ = chosen.boot.settings.fetch_emulator(workspace);
            let _ = chosen.boot.settings.fetch_loader(workspace);
            if let Some(software) = chosen.boot.settings.software
                && software.download(workspace).is_ok()
                && let Err(error) = software.prepare(workspace)
            {
                eprintln!("-- {error:#}");
            }
        }
        let has = |under_test: bool| {
            let mut settings = boots.iter().map(|chosen| &chosen.boot.settings);
            settings.any(|settings| settings.monitor && settings.selfcheck == under_test)
        };
        let monitors = Monitors {
            product: has(false),
            under_test: has(true),
        };
        let images = Images::build(workspace, monitors)?;
        schedule::run(workspace, &images, boots, |result| {
            summary.add(result.reports)
        });
    }
    eprintln!("-- all: {:.0} s", started.elapsed().as_secs_f64());
    if selection.is_everything() && with_monitor {
        summary.keep(workspace, started.elapsed())?;
    }
    println!("{}", summary.last_line());
    Ok(if summary.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn choose(
    workspace: &Workspace,
    selection: &Selection,
) -> Result<(Vec<&'static host::Step>, Vec<Chosen>)> {
    let steps: Vec<_> = host::STEPS
        .iter()
        .filter(|step| selection.has_step(step))
        .collect();
    let boots = if matches!(selection, Selection::Name(_)) && !steps.is_empty() {
        Vec::new()
    } else {
        selection.boots(&read_boots(&workspace.source("tests"))?)
    };
    if steps.is_empty() && boots.is_empty() {
        bail!("no test has such a name; `cargo xtask test all --list` prints them");
    }
    Ok((steps, boots))
}
