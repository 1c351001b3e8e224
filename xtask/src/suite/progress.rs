//! What a booted machine's console says about its tests.
//!
//! The guest prints, each at the start of a line:
//! `ADYTON-READY`, `ADYTON-TEST name begin`, `ADYTON-TEST name ok`, `ADYTON-TEST name FAIL reason`,
//! `ADYTON-TEST name SKIP reason`, `ADYTON-BENCH name value unit`, `ADYTON-CUT`, `ADYTON-DONE`.

use std::time::{Duration, Instant};

use super::definition::{Boot, End, Test};
use super::report::Outcome;
use crate::qemu::Ending;

/// The guest ends a test at its limit; QEMU is ended this much later.
const GRACE: Duration = Duration::from_secs(10);

/// How the reason of a test that had no chance begins.
pub const NEVER_RAN: &str = "never ran";

/// A value that a test measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// What.
    pub name: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: String,
}

/// Where a boot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Booting,
    Between,
    Testing(usize),
    Done,
}

/// Follows one boot.
pub struct Progress<'boot> {
    boot: &'boot Boot,
    stage: Stage,
    deadline: Instant,
    began: Instant,
    ready_after: Option<Duration>,
    outcomes: Vec<Option<(Outcome, Duration)>>,
    missing: Vec<String>,
    measurements: Vec<Measurement>,
    power_is_cut: bool,
}

/// What a boot came to.
pub struct Verdict {
    /// How long domain 0 took to come up; how long it was tried, and why it did not.
    pub boot: Result<Duration, (Duration, String)>,
    /// One per test.
    pub outcomes: Vec<(Outcome, Duration)>,
    /// Why the machine's end was not the right one.
    pub wrong_end: Option<String>,
    /// What was measured.
    pub measurements: Vec<Measurement>,
}

impl<'boot> Progress<'boot> {
    /// A machine that starts now.
    pub fn new(boot: &'boot Boot) -> Self {
        let now = Instant::now();
        Self {
            boot,
            stage: Stage::Booting,
            deadline: now + Duration::from_secs(boot.time_limit),
            began: now,
            ready_after: None,
            outcomes: vec![None; boot.tests.len()],
            missing: Vec::new(),
            measurements: Vec::new(),
            power_is_cut: false,
        }
    }

    /// Whether the machine must be ended now, from outside.
    pub fn power_is_cut(&self) -> bool {
        self.power_is_cut
    }

    /// When the present stage must have ended.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes note of a console line.
    pub fn observe(&mut self, line: &str) {
        self.missing.retain(|text| !line.contains(text.as_str()));
        let Some(at) = line.find("ADYTON-") else {
            return;
        };
        let words: Vec<&str> = line[at..].split_whitespace().collect();
        match words[..] {
            ["ADYTON-READY", ..] => {
                // A second kernel says it too.
                self.ready_after.get_or_insert(self.began.elapsed());
                self.enter(Stage::Between, GRACE);
            }
            ["ADYTON-TEST", name, "begin"] => self.begin(name),
            ["ADYTON-TEST", name, result, ref reason @ ..] => {
                self.end(name, result, reason.join(" "));
            }
            ["ADYTON-BENCH", name, value, unit] => {
                if let Ok(value) = value.parse() {
                    let (name, unit) = (name.to_owned(), unit.to_owned());
                    self.measurements.push(Measurement { name, value, unit });
                }
            }
            ["ADYTON-CUT", ..] => self.power_is_cut = self.expected_end() == Some(End::PowerCut),
            ["ADYTON-DONE", ..] => self.enter(Stage::Done, GRACE),
            _ => {}
        }
    }

    /// Draws the conclusion when the machine has ended, by itself or by us.
    pub fn conclude(mut self, ending: &Ending) -> Verdict {
        let mut wrong_end = None;
        let why = match ending {
            Ending::Killed => "it hung".to_owned(),
            other => format!("the machine ended ({other:?})"),
        };
        match self.stage {
            Stage::Testing(index) => {
                // One that hung is killed too.
                let expected = self.expected_end().is_some_and(|end| end.is(ending))
                    && self.power_is_cut == (*ending == Ending::Killed);
                let outcome = if expected {
                    self.complete()
                } else {
                    Outcome::Failed(why.clone())
                };
                self.outcomes[index] = Some((outcome, self.began.elapsed()));
            }
            Stage::Done if *ending != Ending::PowerOff => wrong_end = Some(why.clone()),
            _ => {}
        }
        let place = match self.stage {
            Stage::Booting => "it did not boot",
            _ => "an earlier test ended the machine",
        };
        let never = (
            Outcome::Failed(format!("{NEVER_RAN}: {place}, {why}")),
            Duration::ZERO,
        );
        let outcomes = self
            .outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| never.clone()))
            .collect();
        let boot = self.ready_after.ok_or((self.began.elapsed(), why));
        Verdict {
            boot,
            outcomes,
            wrong_end,
            measurements: self.measurements,
        }
    }

    /// How the test that runs is expected to end the machine.
    fn expected_end(&self) -> Option<End> {
        match self.stage {
            Stage::Testing(index) => self.boot.tests[index].ends,
            _ => None,
        }
    }

    fn begin(&mut self, name: &str) {
        if let Some((index, test)) = self.find(name) {
            self.missing = test.expect.clone();
            self.enter(
                Stage::Testing(index),
                Duration::from_secs(test.time_limit) + GRACE,
            );
        }
    }

    fn end(&mut self, name: &str, result: &str, reason: String) {
        let Some((index, test)) = self.find(name) else {
            return;
        };
        let outcome = match result {
            "ok" if test.ends.is_some() => Outcome::Failed("the machine did not end".to_owned()),
            "ok" => self.complete(),
            "SKIP" => Outcome::Skipped(reason),
            _ => Outcome::Failed(reason),
        };
        // A program may tell its own result, with a better reason than its status that follows. The
        // latter counts only where it is the worse.
        match &mut self.outcomes[index] {
            Some((Outcome::Passed, _)) if outcome == Outcome::Passed => {}
            Some((told @ Outcome::Passed, _)) => *told = outcome,
            Some(_) => {}
            none => *none = Some((outcome, self.began.elapsed())),
        }
        self.enter(Stage::Between, GRACE);
    }

    /// Success, if the console showed what it had to.
    fn complete(&self) -> Outcome {
        match self.missing.first() {
            None => Outcome::Passed,
            Some(text) => Outcome::Failed(format!("the console did not show `{text}`")),
        }
    }

    fn enter(&mut self, stage: Stage, patience: Duration) {
        self.stage = stage;
        self.began = Instant::now();
        self.deadline = self.began + patience;
    }

    fn find(&self, name: &str) -> Option<(usize, &'boot Test)> {
        self.boot
            .tests
            .iter()
            .enumerate()
            .find(|(_, test)| test.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;
    use crate::guest::Settings;
    use crate::qemu::Ending;
    use crate::suite::definition::{Boot, End, Test, Tier};
    use crate::suite::report::Outcome;

    fn boot(tests: &[(&str, Option<End>)]) -> Boot {
        let test = |(name, ends): &(&str, Option<End>)| Test {
            name: (*name).to_owned(),
            run: String::new(),
            time_limit: 1,
            ends: *ends,
            expect: Vec::new(),
        };
        Boot {
            name: "boot".to_owned(),
            tier: Tier::Quick,
            time_limit: 1,
            settings: Settings::default(),
            tests: tests.iter().map(test).collect(),
            goals: Vec::new(),
            memory: None,
            compare: false,
        }
    }

    fn outcomes(boot: &Boot, lines: &[&str], ending: &Ending) -> Vec<Outcome> {
        let mut progress = Progress::new(boot);
        lines.iter().for_each(|line| progress.observe(line));
        progress
            .conclude(ending)
            .outcomes
            .into_iter()
            .map(|(outcome, _)| outcome)
            .collect()
    }

    #[test]
    fn results_are_taken_from_the_console() {
        let boot = boot(&[("a", None), ("b", None), ("c", None)]);
        let lines = [
            "ADYTON-READY 1.0",
            "ADYTON-TEST a begin",
            "[ 1.0] ADYTON-TEST a ok",
            "ADYTON-TEST b begin",
            "ADYTON-TEST b SKIP no such device",
            "ADYTON-TEST c begin",
            "ADYTON-TEST c FAIL status 1",
        ];
        let expected = [
            Outcome::Passed,
            Outcome::Skipped("no such device".to_owned()),
            Outcome::Failed("status 1".to_owned()),
        ];
        assert_eq!(outcomes(&boot, &lines, &Ending::PowerOff), expected);
    }

    #[test]
    fn the_better_reason_and_the_worse_result_count() {
        let boot = boot(&[("a", None), ("b", None)]);
        let lines = [
            "ADYTON-TEST a begin",
            "ADYTON-TEST a FAIL expected 1, got 2",
            "ADYTON-TEST a FAIL status 1",
            "ADYTON-TEST b begin",
            "ADYTON-TEST b ok",
            "ADYTON-TEST b FAIL status 139",
        ];
        let failed = |reason: &str| Outcome::Failed(reason.to_owned());
        let expected = [failed("expected 1, got 2"), failed("status 139")];
        assert_eq!(outcomes(&boot, &lines, &Ending::PowerOff), expected);
    }

    #[test]
    fn a_power_cut_counts_only_when_asked_for() {
        let meant = boot(&[("a", Some(End::PowerCut))]);
        let lines = ["ADYTON-READY", "ADYTON-TEST a begin", "ADYTON-CUT"];
        assert_eq!(outcomes(&meant, &lines, &Ending::Killed), [Outcome::Passed]);
        let hung = outcomes(&meant, &lines[..2], &Ending::Killed);
        assert_ne!(hung, [Outcome::Passed]);
        let other = boot(&[("a", Some(End::Reset))]);
        assert_ne!(outcomes(&other, &lines, &Ending::Killed), [Outcome::Passed]);
    }

    #[test]
    fn a_reset_counts_only_where_it_is_meant() {
        let meant = boot(&[("a", Some(End::Reset))]);
        let lines = ["ADYTON-READY", "ADYTON-TEST a begin"];
        assert_eq!(outcomes(&meant, &lines, &Ending::Reset), [Outcome::Passed]);
        assert_ne!(
            outcomes(&meant, &lines, &Ending::PowerOff),
            [Outcome::Passed]
        );
        let other = boot(&[("a", None), ("b", None)]);
        let results = outcomes(&other, &lines, &Ending::Reset);
        assert!(
            results
                .iter()
                .all(|outcome| matches!(outcome, Outcome::Failed(_)))
        );
    }
}
