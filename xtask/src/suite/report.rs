//! Results: how one is printed, when a skip is accepted, and the last line.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::workspace::Workspace;

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Passed,
    /// It did not, and why.
    Failed(String),
    /// It could not run here, and why.
    Skipped(String),
}

/// One test's result.
#[derive(Clone, Debug)]
pub struct Report {
    /// Full name.
    pub name: String,
    /// Result.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// For a failure: the command that repeats it, and the end of its log.
    pub detail: String,
}

impl Report {
    /// A result without details.
    pub fn new(name: impl Into<String>, outcome: Outcome, took: Duration) -> Self {
        Self {
            name: name.into(),
            outcome,
            took,
            detail: String::new(),
        }
    }

    /// The line that tells it.
    pub fn line(&self) -> String {
        let seconds = self.took.as_secs_f64();
        match &self.outcome {
            Outcome::Passed => format!("ok    {} ({seconds:.1} s)", self.name),
            Outcome::Failed(reason) => format!("FAIL  {} ({seconds:.1} s): {reason}", self.name),
            Outcome::Skipped(reason) => format!("skip  {}: {reason}", self.name),
        }
    }
}

/// All results of a run.
pub struct Summary {
    reports: Vec<Report>,
    explanations: String,
    quiet_about: &'static str,
}

impl Summary {
    /// An empty one; skips are explained in `docs/tests.md`. Passed tests whose names start with
    /// `quiet_about` are counted and not printed.
    pub fn new(workspace: &Workspace, quiet_about: &'static str) -> Self {
        let page = fs::read_to_string(workspace.source("docs/tests.md")).unwrap_or_default();
        Self {
            reports: Vec::new(),
            explanations: words(&page),
            quiet_about,
        }
    }

    /// Counts and prints results. A skip without explanation is a failure.
    pub fn add(&mut self, reports: Vec<Report>) {
        for mut report in reports {
            if let Outcome::Skipped(reason) = &report.outcome
                && !self.explanations.contains(&words(reason))
            {
                report.outcome = Outcome::Failed(format!(
                    "skipped, and docs/tests.md does not say why: {reason}"
                ));
            }
            if report.outcome != Outcome::Passed || !report.name.starts_with(self.quiet_about) {
                println!("{}", report.line());
            }
            if matches!(report.outcome, Outcome::Failed(_)) && !report.detail.is_empty() {
                println!("{}", report.detail);
            }
            self.reports.push(report);
        }
    }

    /// The counted results: passed, failed, skipped.
    fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for report in &self.reports {
            counts[match report.outcome {
                Outcome::Passed => 0,
                Outcome::Failed(_) => 1,
                Outcome::Skipped(_) => 2,
            }] += 1;
        }
        counts
    }

    /// The line that ends the run.
    pub fn last_line(&self) -> String {
        let [passed, failed, skipped] = self.counts();
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    /// Whether nothing failed.
    pub fn is_success(&self) -> bool {
        self.counts()[1] == 0
    }

    /// Writes the whole result to `docs/results/`, with the commit that it is about.
    pub fn keep(&self, workspace: &Workspace, took: Duration) -> Result<()> {
        let folder = workspace.source("docs/results");
        fs::create_dir_all(&folder)?;
        let mut page = format!(
            "# `cargo xtask test all`\n\nCommit {}, {:.0} s, {}.\n\n```text\n",
            workspace.commit(),
            took.as_secs_f64(),
            self.last_line()
        );
        for report in &self.reports {
            page.push_str(&report.line());
            page.push('\n');
        }
        page.push_str("```\n");
        Ok(fs::write(folder.join("test-all.md"), page)?)
    }
}

/// A text with single spaces: the page that explains a skip may break its lines anywhere.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
