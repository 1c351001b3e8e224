//! Runs one boot and its tests.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::definition::Boot;
use super::progress::{Measurement, NEVER_RAN, Progress, Verdict};
use super::remains;
use super::report::{Outcome, Report};
use super::selection::{BOOT, Chosen, MEMORY};
use crate::guest::Images;
use crate::image;
use crate::qemu::{Event, Session};
use crate::setup::{Emulator, Flavour, Kernel};
use crate::workspace::Workspace;

/// Lines of the log that a failure shows.
const TAIL: usize = 25;

/// What a test prints for an NMI from outside.
const NMI_REQUEST: &str = "ADYTON-NMI";

/// The file that tells where the cores of a machine that hung were.
const REGISTERS: &str = "registers.log";

/// What a boot gave.
#[derive(Default)]
pub struct BootResult {
    /// Its tests' results.
    pub reports: Vec<Report>,
    /// What they measured.
    pub measurements: Vec<Measurement>,
    /// How long domain 0 took to come up.
    pub ready_after: Option<Duration>,
}

/// Runs the chosen tests of a boot. What goes wrong on the way is a failure of those tests.
pub fn run(workspace: &Workspace, images: &Images, chosen: &Chosen) -> BootResult {
    let boot = &chosen.boot;
    let unreachable = |error: &anyhow::Error, what: &str| {
        eprintln!("-- {error:#}");
        all(
            chosen,
            &Outcome::Skipped(format!("{what} cannot be reached")),
        )
    };
    let kernel = match boot.settings.fetch_kernel(workspace) {
        Err(error) if boot.settings.kernel == Flavour::Trixie => {
            return unreachable(&error, "Debian 13's kernel package");
        }
        other => other,
    };
    let emulator = match boot.settings.fetch_emulator(workspace) {
        Err(error) if boot.settings.emulator != Emulator::System => {
            return unreachable(&error, "QEMU 10");
        }
        other => other,
    };
    if let Err(error) = boot.settings.fetch_loader(workspace) {
        return unreachable(&error, "Debian's packages");
    }
    if let Some(software) = boot.settings.software
        && let Err(error) = software.download(workspace)
    {
        return unreachable(&error, software.what());
    }
    let outcome = || {
        let run = Run::new(workspace, boot)?;
        let software = boot.settings.software.map(|one| one.segments(workspace));
        let software = software.transpose()?.unwrap_or_default();
        let verdict = run.watch(images, &kernel?, emulator?, software)?;
        Ok(run.report(chosen, verdict))
    };
    outcome()
        .unwrap_or_else(|error: anyhow::Error| all(chosen, &Outcome::Failed(format!("{error:#}"))))
}

/// The same outcome for everything that was chosen.
fn all(chosen: &Chosen, outcome: &Outcome) -> BootResult {
    let report = |name| Report::new(name, outcome.clone(), Duration::ZERO);
    BootResult {
        reports: chosen.names().into_iter().map(report).collect(),
        ..Default::default()
    }
}

/// One boot with its files.
struct Run<'boot> {
    boot: &'boot Boot,
    folder: PathBuf,
}

impl<'boot> Run<'boot> {
    fn new(workspace: &Workspace, boot: &'boot Boot) -> Result<Self> {
        let folder = workspace.target("boots").join(&boot.name);
        fs::create_dir_all(&folder)?;
        Ok(Self { boot, folder })
    }

    fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// What the machine's memory is, where it is looked at.
    fn memory_file(&self) -> PathBuf {
        self.folder.join("memory")
    }

    /// Boots, follows the console to the end, and says what happened.
    fn watch(
        &self,
        images: &Images,
        kernel: &Kernel,
        emulator: PathBuf,
        software: Vec<Vec<u8>>,
    ) -> Result<Verdict> {
        let settings = &self.boot.settings;
        let plan = plan(self.boot);
        let reference = images.reference(settings, &kernel.image)?;
        let loader = images.loader_reference(settings)?;
        let files = [
            ("adyton/plan", plan.as_str()),
            ("adyton/reference", &reference),
            ("adyton/loader", &loader),
        ];
        let mut start = software;
        start.push(image::host_programs(&settings.host_programs)?);
        start.push(image::start("exec run-plan", &files));
        if settings.second_kernel {
            start.push(image::second_kernel(kernel)?);
        }
        let initrd = images.initrd(kernel, start)?;
        let mut machine = images.machine(settings, &kernel.image, &initrd, &self.folder)?;
        machine.qemu = emulator;
        machine.memory_file = self.boot.memory.as_ref().map(|_| self.memory_file());
        let registers = self.folder.join(REGISTERS);
        let _ = fs::remove_file(&registers);
        let mut session = Session::start(&machine, &self.log())?;
        let mut progress = Progress::new(self.boot);
        loop {
            match session.next(progress.deadline()) {
                Event::Line(line) => {
                    progress.observe(&line);
                    if line.contains(NMI_REQUEST) {
                        session.inject_nmi()?;
                    }
                    if progress.power_is_cut() {
                        session.kill()?;
                        break;
                    }
                }
                Event::Closed => break,
                Event::Deadline => {
                    fs::write(&registers, session.registers())?;
                    session.kill()?;
                    break;
                }
            }
        }
        let ending = session.finish()?;
        // What is packed for a boot is large and quickly packed again.
        for file in machine.packed() {
            let _ = fs::remove_file(file);
        }
        Ok(progress.conclude(&ending))
    }

    fn report(&self, chosen: &Chosen, verdict: Verdict) -> BootResult {
        let name = |name: &str| format!("{}/{name}", self.boot.name);
        let mut reports = Vec::new();
        match &verdict.boot {
            Ok(took) if chosen.counts_boot => {
                reports.push(Report::new(name(BOOT), Outcome::Passed, *took));
            }
            Ok(_) => {}
            Err((took, why)) => {
                let outcome = Outcome::Failed(format!("domain 0 did not come up: {why}"));
                reports.push(Report::new(name(BOOT), outcome, *took));
            }
        }
        for (test, (outcome, took)) in self.boot.tests.iter().zip(verdict.outcomes) {
            reports.push(Report::new(name(&test.name), outcome, took));
        }
        if let Some(why) = verdict.wrong_end {
            reports.push(Report::new(
                name("end"),
                Outcome::Failed(why),
                Duration::ZERO,
            ));
        }
        reports.extend(self.goals(&verdict.measurements));
        if let Some(memory) = &self.boot.memory {
            let started = Instant::now();
            let outcome = remains::judge(&self.memory_file(), memory)
                .unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
            reports.push(Report::new(name(MEMORY), outcome, started.elapsed()));
        }
        self.explain_failures(&mut reports);
        BootResult {
            reports,
            measurements: verdict.measurements,
            ready_after: verdict.boot.ok(),
        }
    }

    /// Compares what was measured with what was promised.
    fn goals(&self, measurements: &[Measurement]) -> Vec<Report> {
        let judge = |name: &str, at_most: f64| match measurements
            .iter()
            .find(|measured| measured.name == name)
        {
            Some(found) if found.value <= at_most => Outcome::Passed,
            Some(found) => Outcome::Failed(format!(
                "{} {} where at most {at_most} are allowed",
                found.value, found.unit
            )),
            None => Outcome::Failed("nothing was measured".to_owned()),
        };
        let report = |name: &str, at_most| {
            Report::new(
                format!("{}/{name}", self.boot.name),
                judge(name, at_most),
                Duration::ZERO,
            )
        };
        self.boot
            .goals
            .iter()
            .map(|goal| report(&goal.name, goal.at_most))
            .collect()
    }

    /// Gives each failure its command, its part of the console and, after a hang, where the cores
    /// were.
    fn explain_failures(&self, reports: &mut [Report]) {
        let bytes = fs::read(self.log()).unwrap_or_default();
        let console = String::from_utf8_lossy(&bytes);
        for report in reports {
            let Outcome::Failed(reason) = &report.outcome else {
                continue;
            };
            let name = report.name.clone();
            report.detail = format!("      repeat with: cargo xtask test {name}\n");
            if !reason.starts_with(NEVER_RAN) {
                let test = name
                    .trim_start_matches(&self.boot.name)
                    .trim_start_matches('/');
                report
                    .detail
                    .push_str(&self.evidence(&console_part(&console, test)));
            }
        }
    }

    /// Where the logs are, and what they say about a failure.
    fn evidence(&self, console: &[&str]) -> String {
        let mut text = format!("      console: {}\n", self.log().display());
        for line in console {
            text.push_str(&format!("      | {}\n", line.trim_end()));
        }
        let registers = self.folder.join(REGISTERS);
        if let Ok(contents) = fs::read_to_string(&registers) {
            text.push_str(&format!("      registers: {}\n", registers.display()));
            let is_place = |line: &&str| ["CPU#", "IP="].iter().any(|word| line.contains(word));
            for line in contents.lines().filter(is_place) {
                text.push_str(&format!("      | {line}\n"));
            }
        }
        text
    }
}

/// The end of what the console showed while a test ran; of everything, if it never began.
fn console_part<'text>(console: &'text str, test: &str) -> Vec<&'text str> {
    let begin = format!("ADYTON-TEST {test} begin");
    let end = format!("ADYTON-TEST {test} ");
    let lines: Vec<&str> = console.lines().collect();
    let first = lines
        .iter()
        .position(|line| line.contains(&begin))
        .map_or(0, |index| index + 1);
    let last = lines[first..]
        .iter()
        .position(|line| first > 0 && line.contains(&end));
    let part = &lines[first..last.map_or(lines.len(), |length| first + length)];
    part[part.len().saturating_sub(TAIL)..].to_vec()
}

/// The list that the guest works through: name, limit in seconds and command, with tabs between.
fn plan(boot: &Boot) -> String {
    let line = |test: &super::definition::Test| {
        format!(
            "{}\t{}\t{}\n",
            test.name,
            test.time_limit,
            test.run.replace('\n', ";")
        )
    };
    boot.tests.iter().map(line).collect()
}

/// Whether two machines can run beside each other: each host core carries one guest core.
pub fn is_narrow(boot: &Boot) -> bool {
    boot.settings.cpus == 1 || boot.settings.icount || !boot.settings.parallel
}
