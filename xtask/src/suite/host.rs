//! The steps that run on the host: format, lints, licences and the host's tests.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::{Outcome, Report};
use crate::licences;
use crate::workspace::Workspace;

/// Packages that run without an operating system.
const FREESTANDING: [&str; 3] = ["adyton-runtime", "adyton-payloads", "adyton-monitor"];

/// Lines that a failure shows.
const TAIL: usize = 40;

/// A step of its own name.
pub struct Step {
    /// The name, which is also a filter.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&Workspace) -> Result<Vec<Report>>,
}

/// All steps, cheapest first.
pub const STEPS: &[Step] = &[
    Step {
        name: "format",
        run: format,
    },
    Step {
        name: "clippy",
        run: clippy,
    },
    Step {
        name: "licences",
        run: check_licences,
    },
    Step {
        name: "deny",
        run: deny,
    },
    Step {
        name: "reproducible",
        run: super::reproducible::run,
    },
    Step {
        name: "host",
        run: host_tests,
    },
];

impl Step {
    /// Runs it; an error of its own is a failure.
    pub fn reports(&self, workspace: &Workspace) -> Vec<Report> {
        let started = Instant::now();
        eprintln!("-- {} ...", self.name);
        (self.run)(workspace).unwrap_or_else(|error| {
            let outcome = Outcome::Failed(format!("{error:#}"));
            vec![Report::new(self.name, outcome, started.elapsed())]
        })
    }
}

fn format(workspace: &Workspace) -> Result<Vec<Report>> {
    let mut command = workspace.cargo();
    command.args(["fmt", "--all", "--check"]);
    Ok(vec![judge(workspace, "format", &mut command)?.0])
}

/// Lints everything. What runs without an operating system is looked at apart from the rest: in one
/// command Cargo would unite the features of common dependencies, and so bring `std` in.
fn clippy(workspace: &Workspace) -> Result<Vec<Report>> {
    let mut hosted = vec!["--all-targets", "--workspace"];
    for package in FREESTANDING {
        hosted.extend(["--exclude", package]);
    }
    let alone = FREESTANDING.iter().flat_map(|package| {
        [
            vec!["--package", package],
            vec!["--tests", "--package", package],
        ]
    });
    let started = Instant::now();
    for packages in std::iter::once(hosted).chain(alone) {
        let mut command = workspace.cargo();
        command.args(["clippy", "--quiet"]).args(packages);
        command.args(["--", "-D", "warnings"]);
        let (report, _) = judge(workspace, "clippy", &mut command)?;
        if report.outcome != Outcome::Passed {
            return Ok(vec![report]);
        }
    }
    Ok(vec![Report::new(
        "clippy",
        Outcome::Passed,
        started.elapsed(),
    )])
}

fn check_licences(workspace: &Workspace) -> Result<Vec<Report>> {
    let started = Instant::now();
    let findings = licences::findings(workspace)?;
    let outcome = match findings.is_empty() {
        true => Outcome::Passed,
        false => Outcome::Failed(findings.join("; ")),
    };
    Ok(vec![Report::new("licences", outcome, started.elapsed())])
}

fn deny(workspace: &Workspace) -> Result<Vec<Report>> {
    let is_installed = workspace
        .cargo()
        .args(["deny", "--version"])
        .output()?
        .status
        .success();
    if !is_installed {
        let outcome = Outcome::Skipped("cargo-deny is not installed".to_owned());
        return Ok(vec![Report::new("deny", outcome, Duration::ZERO)]);
    }
    let mut command = workspace.cargo();
    command.args(["deny", "--offline", "check", "bans", "licenses", "sources"]);
    Ok(vec![judge(workspace, "deny", &mut command)?.0])
}

/// The unit and integration tests of all crates, each counted.
fn host_tests(workspace: &Workspace) -> Result<Vec<Report>> {
    let mut command = workspace.cargo();
    command.args([
        "test",
        "--quiet",
        "--workspace",
        "--tests",
        "--no-fail-fast",
    ]);
    // The short form of the harness prints dots; we want names.
    command.args(["--", "--format=pretty"]);
    let (whole, output) = judge(workspace, "host", &mut command)?;
    let mut reports: Vec<Report> = output.lines().filter_map(read_test_line).collect();
    if !matches!(whole.outcome, Outcome::Failed(_)) {
        eprintln!(
            "-- {} host tests: {:.1} s",
            reports.len(),
            whole.took.as_secs_f64()
        );
        return Ok(reports);
    }
    let failed = |report: &&mut Report| matches!(report.outcome, Outcome::Failed(_));
    let mut told = false;
    for report in reports.iter_mut().filter(failed) {
        told = true;
        report.detail = said(&output, report.name.trim_start_matches("host/"));
    }
    if !told {
        // It did not come to the tests: something does not compile.
        reports.push(whole);
    }
    Ok(reports)
}

/// What a failed test printed, with the command that repeats it.
fn said(output: &str, name: &str) -> String {
    let mut text = format!("      repeat with: cargo test --workspace --tests {name}\n");
    let begin = format!("---- {name} stdout ----");
    let lines = output.lines().skip_while(|line| *line != begin).skip(1);
    // The harness ends the part with the next test's or with the list of those that failed.
    let ends = |line: &&str| line.starts_with("---- ") || *line == "failures:";
    for line in lines
        .take_while(|line| !ends(line))
        .take(TAIL)
        .filter(|line| !line.is_empty())
    {
        text.push_str(&format!("      | {line}\n"));
    }
    text
}

/// Reads one line of the test harness: `test NAME ... ok`, `FAILED`, `ignored` or
/// `ignored, REASON`.
fn read_test_line(line: &str) -> Option<Report> {
    let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let outcome = match result.split_once(", ").unwrap_or((result, "")) {
        ("ok", _) => Outcome::Passed,
        ("ignored", "") => Outcome::Skipped("ignored without a reason".to_owned()),
        ("ignored", reason) => Outcome::Skipped(reason.to_owned()),
        _ => Outcome::Failed("it panicked".to_owned()),
    };
    Some(Report::new(
        format!("host/{}", name.trim_end_matches(" - should panic")),
        outcome,
        Duration::ZERO,
    ))
}

/// Runs a command to its end; its output goes to a log, and the log's end into a failure.
fn judge(workspace: &Workspace, name: &str, command: &mut Command) -> Result<(Report, String)> {
    let started = Instant::now();
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let log = workspace.target(format!("logs/{name}.log"));
    fs::create_dir_all(workspace.target("logs"))?;
    fs::write(&log, format!("{stdout}\n{stderr}"))?;
    let mut report = Report::new(name, Outcome::Passed, started.elapsed());
    if !output.status.success() {
        report.outcome = Outcome::Failed(output.status.to_string());
        let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n      | ");
        report.detail = format!(
            "      repeat with: cargo xtask test {name}\n      log: {}\n      | {tail}",
            log.display()
        );
    }
    Ok((report, stdout))
}

#[cfg(test)]
mod tests {
    use super::{Outcome, read_test_line};

    #[test]
    fn the_harness_is_understood() {
        let outcome = |line| read_test_line(line).map(|report| report.outcome);
        assert_eq!(outcome("test a::b ... ok"), Some(Outcome::Passed));
        assert_eq!(
            outcome("test a::b ... ignored, takes hours"),
            Some(Outcome::Skipped("takes hours".to_owned()))
        );
        assert!(matches!(
            outcome("test a ... FAILED"),
            Some(Outcome::Failed(_))
        ));
        assert_eq!(outcome("test result: ok. 3 passed"), None);
    }
}
