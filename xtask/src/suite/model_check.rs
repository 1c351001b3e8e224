//! The steps that try the protocols between cores under the model checker loom (`synchronization/tests/loom/`).

use anyhow::Result;

use super::host::{judge, read_test_line};
use super::report::{Outcome, Report};
use crate::workspace::Workspace;

/// The models that take minutes.
const LONG: &str = "long::";

/// The models that take seconds.
pub fn short(workspace: &Workspace) -> Result<Vec<Report>> {
    run(workspace, "loom", &["--skip", LONG])
}

/// The models that take minutes.
pub fn long(workspace: &Workspace) -> Result<Vec<Report>> {
    run(workspace, "loom-long", &[LONG])
}

/// Builds apart from everything else, since `cfg(loom)` is for all crates; each test is counted.
fn run(workspace: &Workspace, name: &str, chosen: &[&str]) -> Result<Vec<Report>> {
    let mut command = workspace.cargo();
    command
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", workspace.target("loom"))
        .args(["test", "--quiet", "--profile=program", "--test=loom"])
        .args(["--package=adyton-synchronization", "--"])
        .args(["--format=pretty", "--test-threads=2", "--nocapture"])
        .args(chosen);
    let (whole, output) = judge(workspace, name, &mut command)?;
    if matches!(whole.outcome, Outcome::Failed(_)) {
        return Ok(vec![whole]);
    }
    let tests = output.lines().filter_map(read_test_line).count();
    eprintln!("-- {tests} models: {:.1} s", whole.took.as_secs_f64());
    Ok(vec![whole])
}
