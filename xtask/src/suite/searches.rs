//! The steps that look for what no test thought of: exploration, fuzzing, mutations of the engine.
//!
//! Each has a short form, which CI runs, and a long one. Tools that Debian does not have are installed from crates.io the first time.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::host::judge;
use super::report::{Outcome, Report};
use crate::progress;
use crate::workspace::Workspace;

/// Fuzz targets that run side by side.
const FUZZERS: usize = 2;

/// Host tests that mutants are tried with. They leave out the slowest, which finds nothing that the others do not.
const MUTANT_TESTS: [&str; 8] = [
    "--lib",
    "--test",
    "calls",
    "--test",
    "model",
    "--",
    "--skip",
    "the_random_calls_reach_everything",
];

/// 10^5 states.
pub fn explore(workspace: &Workspace) -> Result<Vec<Report>> {
    explore_so_far(workspace, "explore", "short")
}

/// 10^7 states, and six operations of every scenario.
pub fn explore_long(workspace: &Workspace) -> Result<Vec<Report>> {
    explore_so_far(workspace, "explore-long", "long")
}

/// Explores the engine's small worlds: a report for each, which says how far it went.
fn explore_so_far(workspace: &Workspace, name: &str, form: &str) -> Result<Vec<Report>> {
    let mut command = workspace.cargo();
    command.env("ADYTON_EXPLORE", form);
    command.args(["test", "--quiet", "--profile", "careful"]);
    command.args(["--package", "adyton-capability", "--lib"]);
    command.args(["--", "explore::", "--nocapture"]);
    let (whole, output) = judge(workspace, name, &mut command)?;
    if whole.outcome != Outcome::Passed {
        return Ok(vec![whole]);
    }
    // The harness may have begun the line.
    let told = output
        .lines()
        .filter_map(|line| line.split_once("explored: "));
    let mut reports: Vec<Report> = told
        .map(|(_, line)| Report::new(format!("{name}: {line}"), Outcome::Passed, Duration::ZERO))
        .collect();
    reports.push(whole);
    Ok(reports)
}

/// 20 seconds for each target.
pub fn fuzz(workspace: &Workspace) -> Result<Vec<Report>> {
    fuzz_for(workspace, "fuzz", 20)
}

/// A minute for each target.
pub fn fuzz_long(workspace: &Workspace) -> Result<Vec<Report>> {
    fuzz_for(workspace, "fuzz-long", 60)
}

/// Lets each fuzz target replay its corpus and then invent inputs for so many seconds.
fn fuzz_for(workspace: &Workspace, name: &'static str, seconds: u64) -> Result<Vec<Report>> {
    let fetched = || {
        let mut command = workspace.cargo();
        command.args([
            "fetch",
            "--quiet",
            "--target",
            "x86_64-unknown-linux-gnu",
            "--manifest-path",
            "fuzz/Cargo.toml",
        ]);
        command.output().is_ok_and(|output| output.status.success())
    };
    if !has_tool(workspace, "fuzz") || !fetched() {
        return Ok(skipped(name, "The fuzzer cannot be fetched from crates.io"));
    }
    let mut build = workspace.cargo();
    build.args(["fuzz", "build", "--sanitizer", "none"]);
    let (built, _) = judge(workspace, name, &mut build)?;
    if built.outcome != Outcome::Passed {
        return Ok(vec![built]);
    }
    let queue = Mutex::new(fuzz_targets(workspace)?.into_iter());
    let next = || {
        queue
            .lock()
            .expect("no fuzzer panics with the queue")
            .next()
    };
    let run = || -> Result<Vec<Report>> {
        std::iter::from_fn(next)
            .map(|target| fuzz_one(workspace, name, &target, seconds))
            .collect()
    };
    let results: Vec<Result<Vec<Report>>> = scope(|scope| {
        let workers: Vec<_> = (0..FUZZERS).map(|_| scope.spawn(run)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|result| result.expect("a fuzzer's thread does not panic"))
            .collect()
    });
    let mut reports = Vec::new();
    for result in results {
        reports.extend(result?);
    }
    reports.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(reports)
}

/// The targets' names, which are those of their files.
fn fuzz_targets(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace.source("fuzz/fuzz_targets"))? {
        let path = entry?.path();
        names.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}

/// What it finds goes to the build directory; the corpus in the checkout is only read.
fn fuzz_one(workspace: &Workspace, step: &str, target: &str, seconds: u64) -> Result<Report> {
    let found = workspace.target(format!("fuzz-corpus/{target}"));
    let kept = workspace.source(format!("fuzz/corpus/{target}"));
    fs::create_dir_all(&found)?;
    let mut command = workspace.cargo();
    command.args(["fuzz", "run", "--sanitizer", "none", target]);
    command.args([&found, &kept]);
    command.args(["--", "-print_final_stats=1", "-timeout=10"]);
    command.arg(format!("-max_total_time={seconds}"));
    let name = format!("{step}-{target}");
    let (mut report, _) = judge(workspace, &name, &mut command)?;
    let log = fs::read_to_string(workspace.target(format!("logs/{name}.log")))?;
    report.name = match statistic(&log, "number_of_executed_units") {
        Some(runs) => format!("{step}/{target}: {runs} inputs"),
        None => format!("{step}/{target}"),
    };
    report.detail = report.detail.replace(
        &format!("cargo xtask test {name}"),
        &format!("cargo fuzz run --sanitizer none {target} FILE (its name is in the log)"),
    );
    Ok(report)
}

/// A number that libFuzzer prints at its end.
fn statistic(log: &str, name: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.contains(name))?;
    line.split_whitespace().last()?.parse().ok()
}

/// Breaks the engine in every way that concerns what changed since the main branch, and looks whether a test fails.
/// A mutant that no test catches must be explained in `docs/mutants.md`.
pub fn mutants(workspace: &Workspace) -> Result<Vec<Report>> {
    const STEP: &str = "mutants";
    let started = Instant::now();
    let changes = changes_of_the_engine(workspace)?;
    if changes.is_empty() {
        let name = format!("{STEP}: the engine is unchanged");
        return Ok(vec![Report::new(name, Outcome::Passed, started.elapsed())]);
    }
    if !has_tool(workspace, "mutants") {
        return Ok(skipped(
            STEP,
            "cargo-mutants cannot be fetched from crates.io",
        ));
    }
    let folder = workspace.target("mutants-of-changes");
    fs::create_dir_all(&folder)?;
    let difference = folder.join("changes.diff");
    fs::write(&difference, changes)?;
    let mut command = workspace.cargo();
    command.env("PROPTEST_CASES", "30");
    command.args([
        "mutants",
        "--package",
        "adyton-capability",
        "--profile",
        STEP,
    ]);
    command.args(["--timeout", "60", "--colors", "never", "--in-diff"]);
    command.arg(&difference).arg("--output").arg(&folder);
    command.arg("--").args(MUTANT_TESTS);
    let (mut report, _) = judge(workspace, STEP, &mut command)?;
    let missed = fs::read_to_string(folder.join("mutants.out/missed.txt")).unwrap_or_default();
    let explained = fs::read_to_string(workspace.source("docs/mutants.md"))?;
    let unexplained: Vec<String> = missed
        .lines()
        .map(without_position)
        .filter(|mutant| !explained.contains(mutant))
        .collect();
    if !missed.is_empty() {
        // Its exit status tells that some were missed.
        report.outcome = match unexplained.as_slice() {
            [] => Outcome::Passed,
            _ => Outcome::Failed("no test fails with these changes".to_owned()),
        };
        report.detail = unexplained
            .iter()
            .map(|line| format!("      | {line}\n"))
            .collect();
    }
    Ok(vec![report])
}

/// `FILE:LINE:COLUMN: WHAT` without what moves with every change.
fn without_position(line: &str) -> String {
    let mut parts = line.splitn(4, ':');
    let file = parts.next().unwrap_or_default();
    let file = file.rsplit("capability/src/").next().unwrap_or_default();
    let what = parts.nth(2).unwrap_or_default();
    format!("{file}:{what}")
}

/// What differs in the engine from the main branch, or, on that branch itself, from the commit before.
fn changes_of_the_engine(workspace: &Workspace) -> Result<String> {
    let git = |arguments: &[&str]| -> Option<String> {
        let mut command = Command::new("git");
        command.current_dir(workspace.source("")).args(arguments);
        let output = command
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let head = git(&["rev-parse", "HEAD"]);
    let fork = ["origin/main", "main"]
        .iter()
        .find_map(|branch| git(&["merge-base", "HEAD", branch]))
        .filter(|fork| Some(fork) != head.as_ref());
    let base = fork.map_or("HEAD~1".to_owned(), |fork| fork.trim().to_owned());
    let difference = git(&["diff", &base, "--", "capability/src"]);
    difference.context("git cannot tell what has changed")
}

/// Whether cargo has the subcommand; if not, tries to install it.
fn has_tool(workspace: &Workspace, subcommand: &str) -> bool {
    let succeeds = |arguments: &[&str]| {
        let output = workspace.cargo().args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    let package = format!("cargo-{subcommand}");
    succeeds(&[subcommand, "--version"])
        || progress::step(&format!("installing {package}"), || {
            succeeds(&["install", "--quiet", "--locked", &package])
        })
}

fn skipped(step: &str, reason: &str) -> Vec<Report> {
    let outcome = Outcome::Skipped(reason.to_owned());
    vec![Report::new(step, outcome, Duration::ZERO)]
}

#[cfg(test)]
mod tests {
    use super::{statistic, without_position};

    #[test]
    fn a_mutant_is_known_wherever_it_stands() {
        let line = "capability/src/tree/check.rs:55:17: replace && with || in check_one";
        let known = "tree/check.rs: replace && with || in check_one";
        assert_eq!(without_position(line), known);
    }

    #[test]
    fn what_the_fuzzer_says_is_read() {
        let log = "INFO: seed\nstat::number_of_executed_units: 4711\nstat::peak_rss_mb: 3";
        assert_eq!(statistic(log, "number_of_executed_units"), Some(4711));
        assert_eq!(statistic(log, "slowest_unit_time_sec"), None);
    }
}
