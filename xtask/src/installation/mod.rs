//! Installing Adyton on a Debian machine: a disk with the distribution's own system and boot loader, and what it does from the
//! package's installation to its removal (`tests/installation/`).

mod debian;
mod disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::build::{self, Monitors};
use crate::image::Signing;
use crate::package;
use crate::progress;
use crate::qemu::{Board, Ending, Event, FIRMWARE_VARIABLES, Load, Machine, Session, Timing, Tpm};
use crate::suite::{Outcome, Report};
use crate::workspace::Workspace;

/// How long one start may take, however slow the host.
const PATIENCE: Duration = Duration::from_secs(900);
/// Lines of the console that a failure shows.
const TAIL: usize = 40;
/// As in `tests/installation/fstab`.
const COMMAND_LINE: &str =
    "root=UUID=41445954-4f4e-4000-8000-000000000003 ro console=ttyS0 panic=-1 no_timer_check quiet";

/// The stages of a machine that UEFI starts, and of one that a legacy BIOS does, once the package is on it.
const UEFI: &[&str] = &["domain0", "updated", "plain"];
const BIOS: &[&str] = &["domain0", "plain"];

/// Installs, starts, updates and removes, in both ways a machine can start.
pub fn run(workspace: &Workspace) -> Result<Vec<Report>> {
    let started = Instant::now();
    let folder = workspace.target("boots/installation");
    fs::create_dir_all(&folder)?;
    let system = match debian::root(workspace) {
        Ok(system) => system,
        Err(error) => {
            eprintln!("-- {error:#}");
            let outcome = Outcome::Skipped("Debian's packages cannot be reached".to_owned());
            return Ok(vec![Report::new(
                "installation",
                outcome,
                started.elapsed(),
            )]);
        }
    };
    let programs = build::everything(workspace, Monitors::PRODUCT)?;
    let package = folder.join("adyton.deb");
    package::write(workspace, &programs, &Signing::default(), &package)?;
    let disk = folder.join("disk");
    let boot = progress::step("writing Debian to a disk", || {
        disk::write(workspace, &system, &package, &folder, &disk)
    })?;
    let mut reports = Vec::new();
    let prepared = Place::new(&folder, "install", disk.clone(), None).stage(
        "install",
        Some(&boot),
        &mut reports,
    )?;
    if prepared {
        for (name, stages) in [("uefi", UEFI), ("bios", BIOS)] {
            follow(&folder, name, stages, &disk, &mut reports)?;
        }
    }
    // Gigabytes that are quickly made again; what failed is in the logs.
    fs::remove_file(&disk)?;
    Ok(reports)
}

/// The starts of one machine after the installation, until one fails.
fn follow(
    folder: &Path,
    name: &'static str,
    stages: &[&'static str],
    disk: &Path,
    reports: &mut Vec<Report>,
) -> Result<()> {
    let own = folder.join(format!("{name}.disk"));
    fs::copy(disk, &own)?;
    let variables = match name {
        "uefi" => {
            let variables = folder.join("variables");
            fs::copy(FIRMWARE_VARIABLES, &variables).context(FIRMWARE_VARIABLES)?;
            Some(variables)
        }
        _ => None,
    };
    let place = Place::new(folder, name, own.clone(), variables);
    for stage in stages {
        if !place.stage(stage, None, reports)? {
            break;
        }
    }
    fs::remove_file(own)?;
    Ok(())
}

/// A machine and where its logs go.
struct Place {
    folder: PathBuf,
    name: &'static str,
    disk: PathBuf,
    variables: Option<PathBuf>,
}

impl Place {
    fn new(folder: &Path, name: &'static str, disk: PathBuf, variables: Option<PathBuf>) -> Self {
        Self {
            folder: folder.to_path_buf(),
            name,
            disk,
            variables,
        }
    }

    fn machine(&self, boot: Option<&disk::Boot>) -> Machine {
        let (load, extra) = match boot {
            None => (Load::Disks(vec![self.disk.clone()]), Vec::new()),
            Some(boot) => {
                let load = Load::Direct {
                    kernel: boot.kernel.clone(),
                    initrd: boot.initrd.clone(),
                    append: COMMAND_LINE.to_owned(),
                };
                let drive = format!(
                    "if=none,id=disk0,format=raw,cache=unsafe,file={}",
                    self.disk.display()
                );
                let device = "virtio-blk-pci,drive=disk0".to_owned();
                (
                    load,
                    vec!["-drive".to_owned(), drive, "-device".to_owned(), device],
                )
            }
        };
        Machine {
            qemu: PathBuf::from("qemu-system-x86_64"),
            board: Board::Q35,
            processor: "EPYC,+svm".to_owned(),
            cpus: 1,
            memory: "1G".to_owned(),
            load,
            variables: self.variables.clone(),
            // A machine with an old BIOS measures nothing.
            tpm: self.variables.as_ref().map(|_| Tpm::Crb),
            tpm_state: None,
            timing: Timing::Alternating,
            memory_file: None,
            extra,
        }
    }

    /// Starts it once, and reads which steps it made. Whether the next stage makes sense.
    fn stage(
        &self,
        stage: &str,
        boot: Option<&disk::Boot>,
        reports: &mut Vec<Report>,
    ) -> Result<bool> {
        let started = Instant::now();
        let name = match self.name {
            name if name == stage => format!("installation/{stage}"),
            name => format!("installation/{name}-{stage}"),
        };
        let log = self.folder.join(format!("{}-{stage}.log", self.name));
        let mut session = Session::start(&self.machine(boot), &log)?;
        let deadline = started + PATIENCE;
        let mut console = Console::default();
        loop {
            match session.next(deadline) {
                Event::Line(line) => console.read(line),
                Event::Closed => break,
                Event::Deadline => {
                    session.kill()?;
                    break;
                }
            }
        }
        let ending = session.finish()?;
        let missing = match (&console.finished, &ending) {
            (Some(finished), Ending::Reset | Ending::PowerOff) if finished == stage => None,
            _ => Some(format!("it did not come to its end: {ending:?}")),
        };
        let whole = missing.map_or(Outcome::Passed, Outcome::Failed);
        let steps = console.steps.iter().map(|(step, passed)| {
            let outcome = match passed {
                true => Outcome::Passed,
                false => Outcome::Failed("the step failed".to_owned()),
            };
            Report::new(format!("{name}/{step}"), outcome, Duration::ZERO)
        });
        let mut all: Vec<Report> = steps.collect();
        all.push(Report::new(&name, whole, started.elapsed()));
        let passed = all.iter().all(|report| report.outcome == Outcome::Passed);
        if let (false, Some(last)) = (passed, all.last_mut()) {
            let tail = console.lines[console.lines.len().saturating_sub(TAIL)..].join("\n      | ");
            last.detail = format!(
                "      repeat with: cargo xtask test installation\n      log: {}\n      | {tail}",
                log.display()
            );
        }
        eprintln!("-- {name}: {:.1} s", started.elapsed().as_secs_f64());
        reports.extend(all);
        Ok(passed)
    }
}

/// What a machine prints.
#[derive(Default)]
struct Console {
    lines: Vec<String>,
    /// Names, and whether they were made.
    steps: Vec<(String, bool)>,
    /// The stage that came to its end.
    finished: Option<String>,
}

impl Console {
    fn read(&mut self, line: String) {
        // systemd's messages may stand before it.
        if let Some((_, said)) = line.split_once("ADYTON-STEP ") {
            match said.split_once(' ') {
                Some(("ok", name)) => self.steps.push((name.to_owned(), true)),
                Some((_, name)) => self.steps.push((name.to_owned(), false)),
                None => {}
            }
        } else if let Some((_, stage)) = line.split_once("ADYTON-STAGE ") {
            self.finished = Some(stage.to_owned());
        }
        self.lines.push(line);
    }
}
