//! The steps that run on the host: format, lints, licences, the host's tests, and the demonstration as its user starts it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::definition::Tier;
use super::model_check;
use super::report::{Outcome, Report};
use super::searches;
use crate::demo::{self, Screen};
use crate::installation;
use crate::licences;
use crate::workspace::Workspace;

/// Packages that run without an operating system.
const FREESTANDING: [&str; 3] = ["adyton-runtime", "adyton-payloads", "adyton-monitor"];

/// Lines that a failure shows.
const TAIL: usize = 40;

/// Every run.
const ALWAYS: &[Tier] = &[Tier::Quick, Tier::Default, Tier::All];

/// A step of its own name.
pub struct Step {
    /// The name, which is also a filter.
    pub name: &'static str,
    /// The runs that it belongs to.
    pub tiers: &'static [Tier],
    /// What it does.
    pub run: fn(&Workspace) -> Result<Vec<Report>>,
}

/// All steps, cheapest first.
pub const STEPS: &[Step] = &[
    Step {
        name: "format",
        tiers: ALWAYS,
        run: format,
    },
    Step {
        name: "clippy",
        tiers: ALWAYS,
        run: clippy,
    },
    Step {
        name: "licences",
        tiers: ALWAYS,
        run: check_licences,
    },
    Step {
        name: "deny",
        tiers: ALWAYS,
        run: deny,
    },
    Step {
        name: "reproducible",
        tiers: &[Tier::Default, Tier::All],
        run: super::reproducible::run,
    },
    Step {
        name: "host",
        tiers: ALWAYS,
        run: host_tests,
    },
    Step {
        name: "loom",
        tiers: &[Tier::Default],
        run: model_check::short,
    },
    Step {
        name: "loom-long",
        tiers: &[Tier::All],
        run: model_check::long,
    },
    Step {
        name: "explore",
        tiers: &[Tier::Default],
        run: searches::explore,
    },
    Step {
        name: "fuzz",
        tiers: &[Tier::Default],
        run: searches::fuzz,
    },
    Step {
        name: "explore-long",
        tiers: &[Tier::All],
        run: searches::explore_long,
    },
    Step {
        name: "fuzz-long",
        tiers: &[Tier::All],
        run: searches::fuzz_long,
    },
    Step {
        name: "mutants",
        tiers: &[Tier::All],
        run: searches::mutants,
    },
    Step {
        name: "reboots",
        tiers: &[Tier::Default, Tier::All],
        run: super::reboots::run,
    },
    Step {
        name: "installation",
        tiers: &[Tier::Default, Tier::All],
        run: installation::run,
    },
    Step {
        name: "demo",
        tiers: &[Tier::Default, Tier::All],
        run: demonstrate,
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
    // As the monitor uses it: without allocator and files.
    let plain = vec!["--lib", "--package", "adyton-evidence"];
    let alone = FREESTANDING.iter().flat_map(|package| {
        [
            vec!["--package", package],
            vec!["--tests", "--package", package],
        ]
    });
    let started = Instant::now();
    for packages in [hosted, plain].into_iter().chain(alone) {
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

/// The demonstration, to its end.
fn demonstrate(workspace: &Workspace) -> Result<Vec<Report>> {
    let started = Instant::now();
    let outcome = match demo::perform(workspace, &demo::Options::default(), &Screen::None)? {
        Ok(()) => Outcome::Passed,
        Err(why) => Outcome::Failed(why),
    };
    let mut report = Report::new("demo", outcome, started.elapsed());
    report.detail = "      repeat with: cargo xtask demo\n".to_owned();
    Ok(vec![report])
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
pub(super) fn read_test_line(line: &str) -> Option<Report> {
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
pub(super) fn judge(
    workspace: &Workspace,
    name: &str,
    command: &mut Command,
) -> Result<(Report, String)> {
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
