//! The monitor is the same to the byte wherever it is built: reference values are worth nothing otherwise.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::report::{Outcome, Report};
use crate::build;
use crate::image;
use crate::workspace::Workspace;

/// Builds the monitor here, and in a copy of the checkout elsewhere with a Cargo home elsewhere, and compares the applications
/// that firmware would measure.
pub fn run(workspace: &Workspace) -> Result<Vec<Report>> {
    let started = Instant::now();
    let folder = workspace.target(format!("elsewhere-{}", std::process::id()));
    let outcome = compare(workspace, &folder);
    fs::remove_dir_all(&folder)?;
    let outcome = match outcome? {
        (here, elsewhere) if here == elsewhere => Outcome::Passed,
        _ => Outcome::Failed("another folder gives another monitor".to_owned()),
    };
    Ok(vec![Report::new(
        "reproducible",
        outcome,
        started.elapsed(),
    )])
}

fn compare(workspace: &Workspace, folder: &Path) -> Result<(Vec<u8>, Vec<u8>)> {
    let (source, home) = (folder.join("source"), folder.join("home"));
    fs::create_dir_all(&home)?;
    symlink(build::cargo_home()?.join("registry"), home.join("registry"))?;
    copy_sources(workspace, &source)?;
    let here = build::everything(workspace, build::Monitors::PRODUCT)?.monitor;
    let here = here.context("there is no monitor")?;
    let elsewhere = build::monitor_elsewhere(workspace, &source, &home, &folder.join("target"))?;
    let application = |path: PathBuf| image::application(&fs::read(path)?);
    Ok((application(here)?, application(elsewhere)?))
}

/// Copies what Git knows of, as it is in the checkout now, and what is new.
fn copy_sources(workspace: &Workspace, source: &Path) -> Result<()> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(workspace.source(""))
        .output()?;
    ensure!(output.status.success(), "git does not list the sources");
    for path in String::from_utf8(output.stdout)?.split_terminator('\0') {
        let (from, to) = (workspace.source(path), source.join(path));
        if !from.exists() {
            continue;
        }
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::copy(from, to)?;
    }
    Ok(())
}
