//! What survives a reboot and what does not: one machine, started again and again with the same TPM.
//!
//! | start | system | must find |
//! | --- | --- | --- |
//! | 1 | release 1 | new keys, and a counter; says who it is. Once it has ended, nothing of the secret is in its memory |
//! | 2 | release 2, another command line and initrd | the same keys and the counter: an update loses nothing. It answers a challenge that only this machine can. Then the power is cut: the key that the monitor keeps is in its memory, and the secret is not |
//! | | the same machine without us, with the owner's authority | that it can read nothing, and can delete |
//! | 3 | release 1 | no keys: it is older now |
//! | 4 | release 2, after the secret was deleted | other keys: what was deleted is gone, not exposed; no counter goes back |
//!
//! The TPM's own part of it, power cuts after each command included, is tested on the host: `monitor/src/attestation/secret/tests.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use adyton_enrolment::files::{self, AnswerFile, ChallengeFile, IdentityFile};
use adyton_enrolment::{answer, certificate, challenge};
use adyton_secrets::index::handle;
use anyhow::{Context, Result, bail, ensure};

use super::kept_secret::{Found as Remains, KeptSecret};
use super::report::{Outcome, Report};
use crate::build::Monitors;
use crate::guest::{Firmware, Images, Settings};
use crate::image;
use crate::qemu::{Event, Session, Tpm, TpmEmulator, manufacture};
use crate::setup::Kernel;
use crate::workspace::Workspace;

/// What a program of the guest's prints before a name and what it found.
const FOUND: &str = "ADYTON-KEPT ";
const COUNTER: &str = "ADYTON-COUNT ";
const BEGIN: &str = "ADYTON-FILE begin";
const END: &str = "ADYTON-FILE end";
const STATUS: &str = "ADYTON-REBOOT status ";
/// Seconds that a start may take.
const PATIENCE: u64 = 240;

/// What a start has found.
#[derive(Default)]
struct Found {
    /// Keys, by name.
    keys: BTreeMap<String, String>,
    /// What a domain's counter was at first, 0 if there was none, and at last.
    counter: [u64; 2],
    /// A file that was printed.
    file: String,
    /// What the machine's memory held of the platform secret afterwards.
    remains: Option<Remains>,
}

/// How a start ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    PowerOff,
    /// Of which the monitor knows nothing.
    PowerCut,
}

impl Found {
    /// Whether the machine's memory held the key that is made of the platform secret as `key` says, and the secret not at all.
    fn holds(&self, key: bool) -> Result<()> {
        let expected = Remains { secret: false, key };
        let remains = self.remains.as_ref();
        ensure!(remains == Some(&expected), "in memory: {remains:?}");
        Ok(())
    }
}

/// The machine.
struct Computer<'a> {
    images: &'a Images,
    kernel: Kernel,
    folder: PathBuf,
}

/// Starts the machine as told above, and judges each start.
pub fn run(workspace: &Workspace) -> Result<Vec<Report>> {
    let images = Images::build(workspace, Monitors::PRODUCT)?;
    let folder = workspace.target("boots/reboots");
    let _absent = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let kernel = Settings::default().fetch_kernel(workspace)?;
    let computer = Computer {
        images: &images,
        kernel,
        folder,
    };
    manufacture(&computer.maker(), &computer.state())?;
    let mut reports = Vec::new();
    let mut judge = |name: &str, begin: Instant, outcome: Result<()>| {
        let outcome = match outcome {
            Ok(()) => Outcome::Passed,
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        let mut report = Report::new(format!("reboots/{name}"), outcome, begin.elapsed());
        report.detail = "      repeat with: cargo xtask test reboots\n".to_owned();
        reports.push(report);
    };
    let begin = Instant::now();
    let command = format!("{KEYS} && {IDENTITY}");
    let first = computer.start("first", 1, &command, &[], End::PowerOff)?;
    let is_whole = first.keys.len() == 2 && first.counter[0] == 0;
    judge("first", begin, require(is_whole, "there are no keys"));
    judge("memory", begin, first.holds(false));
    let begin = Instant::now();
    let enrolment = Enrolment::begin(&first.file, &computer.maker())?;
    let files = [("adyton/challenge", enrolment.challenge.as_str())];
    let command = format!("{KEYS} && {ACTIVATE}");
    let updated = computer.start("update", 2, &command, &files, End::PowerCut)?;
    // The control: the key is found where nobody has wiped it.
    judge("memory-while-running", begin, updated.holds(true));
    judge("enrolment", begin, enrolment.finish(&updated.file));
    let is_same = updated.keys == first.keys;
    judge("update", begin, require(is_same, "keys were lost"));
    let goes_on = updated.counter[0] == first.counter[1];
    judge("counter", begin, require(goes_on, "a counter was lost"));
    let begin = Instant::now();
    judge("other-system", begin, computer.other_system(true));
    let begin = Instant::now();
    let older = computer.start("older", 1, NO_KEYS, &[], End::PowerOff);
    judge("older", begin, older.map(drop));
    let begin = Instant::now();
    judge("deletion", begin, computer.other_system(false));
    let begin = Instant::now();
    let anew = computer.start("deleted", 2, KEYS, &[], End::PowerOff)?;
    let differs = |name: &String| {
        let key = anew.keys.get(name);
        key.is_some() && key != first.keys.get(name)
    };
    let all_differ = first.keys.keys().all(differs);
    judge("deleted", begin, require(all_differ, "an old key is back"));
    let begins_above = anew.counter[0] == 0 && anew.counter[1] > updated.counter[1];
    judge(
        "no-counter-goes-back",
        begin,
        require(begins_above, "a counter has gone back"),
    );
    Ok(reports)
}

fn require(holds: bool, otherwise: &'static str) -> Result<()> {
    if holds { Ok(()) } else { bail!(otherwise) }
}

const IDENTITY: &str = "echo 'ADYTON-FILE begin' && adyton identity && echo 'ADYTON-FILE end'";
const ACTIVATE: &str =
    "echo 'ADYTON-FILE begin' && adyton activate /adyton/challenge && echo 'ADYTON-FILE end'";
const KEYS: &str = "kept-secrets keys && kept-secrets signers && kept-secrets counters";
const NO_KEYS: &str = "kept-secrets none";

impl Computer<'_> {
    fn state(&self) -> PathBuf {
        self.folder.join("tpm")
    }

    /// Where the maker of the TPM keeps his keys and certificates.
    fn maker(&self) -> PathBuf {
        self.folder.join("maker")
    }

    /// Starts a release, and runs a command, which must succeed. Each start has another initrd and command line.
    fn start(
        &self,
        name: &str,
        release: u64,
        command: &str,
        files: &[(&str, &str)],
        end: End,
    ) -> Result<Found> {
        let settings = Settings {
            firmware: Firmware::Uefi,
            tpm: Some(Tpm::Crb),
            release,
            append: format!("quiet start={name}"),
            ..Settings::default()
        };
        let last = match end {
            End::PowerOff => "poweroff -f",
            End::PowerCut => "sleep 60",
        };
        let script = format!("{command}; echo \"{STATUS}$?\"; {last}");
        let start = vec![image::start(&script, files)];
        let initrd = self.images.initrd(&self.kernel, start)?;
        let folder = self.folder.join(name);
        let mut machine = self
            .images
            .machine(&settings, &self.kernel.image, &initrd, &folder)?;
        machine.tpm_state = Some(self.state());
        let memory = folder.join("memory");
        machine.memory_file = Some(memory.clone());
        let log = folder.join("console.log");
        let mut session = Session::start(&machine, &log)?;
        let found = follow(&mut session, end);
        session.finish()?;
        for file in machine.packed() {
            fs::remove_file(file)?;
        }
        let mut found = found.with_context(|| format!("console: {}", log.display()))?;
        if found.keys.is_empty() {
            fs::remove_file(memory)?;
        } else {
            found.remains = Some(KeptSecret::read(&self.state())?.search(&memory)?);
        }
        Ok(found)
    }

    /// Another system on the same machine, with the owner's authority: it reads nothing and writes nothing. What it can do is delete.
    fn other_system(&self, leaves: bool) -> Result<()> {
        let secret = handle::SECRET;
        let tpm = TpmEmulator::alone(&self.state())?;
        let tool =
            |line: &str| Ok::<_, anyhow::Error>(tpm.command(line).output()?.status.success());
        // The control: it talks to that TPM.
        ensure!(
            tool(&format!("tpm2_nvreadpublic {secret:#x}"))?,
            "the index is not there"
        );
        for line in [
            format!("tpm2_nvread -C o {secret:#x}"),
            format!("tpm2_nvread -C {secret:#x} {secret:#x}"),
        ] {
            ensure!(!tool(&line)?, "another system has read the secret");
        }
        if !leaves {
            ensure!(
                tool(&format!("tpm2_nvundefine -C o {secret:#x}"))?,
                "the owner could not delete the secret"
            );
        }
        Ok(())
    }
}

/// The enrolment of the machine, by somebody who trusts the maker of its TPM.
struct Enrolment {
    key: Vec<u8>,
    content: [u8; challenge::SIZE],
    challenge: String,
}

impl Enrolment {
    /// Makes a challenge from what the machine says of itself.
    fn begin(identity: &str, maker: &Path) -> Result<Self> {
        let identity: IdentityFile = files::read("the identity", identity)?;
        let certificates = |name: &str| {
            Ok::<_, anyhow::Error>(certificate::read_all(&fs::read(maker.join(name))?)?)
        };
        let key = certificate::endorsement_key(
            &certificate::read_shown(&identity.certificate.0)?,
            &certificates("issuer.pem")?,
            &certificates("swtpm-localca-rootca-cert.pem")?,
            SystemTime::now(),
        )?;
        let content = challenge::random();
        let name = answer::name(&identity.attestation_key.0)?;
        let made = challenge::make(&key, &name, &content)?;
        Ok(Self {
            key: identity.attestation_key.0,
            content,
            challenge: files::write(&ChallengeFile::from(made)),
        })
    }

    /// Judges the answer.
    fn finish(&self, answer: &str) -> Result<()> {
        let file: AnswerFile = files::read("the answer", answer)?;
        answer::judge(&file.answer()?, &self.key, &self.content)?;
        Ok(())
    }
}

/// Reads the console to its end.
fn follow(session: &mut Session, end: End) -> Result<Found> {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    let (mut found, mut status) = (Found::default(), None);
    let mut is_file = false;
    loop {
        match session.next(deadline) {
            Event::Line(line) => {
                if let Some((name, value)) = line
                    .strip_prefix(FOUND)
                    .and_then(|rest| rest.split_once(' '))
                {
                    found.keys.insert(name.to_owned(), value.to_owned());
                }
                if let Some(numbers) = line.strip_prefix(COUNTER) {
                    let mut numbers = numbers.split(' ').map(str::parse);
                    for place in &mut found.counter {
                        *place = numbers.next().context("a number is missing")??;
                    }
                }
                is_file &= line != END;
                if is_file {
                    found.file.push_str(&line);
                    found.file.push('\n');
                }
                is_file |= line == BEGIN;
                if let Some(number) = line.strip_prefix(STATUS) {
                    status = Some(number.to_owned());
                    if end == End::PowerCut {
                        session.kill()?;
                    }
                }
            }
            Event::Closed => break,
            Event::Deadline => {
                session.kill()?;
                bail!("it took longer than {PATIENCE} seconds");
            }
        }
    }
    ensure!(
        status.as_deref() == Some("0"),
        "the test in domain 0 failed: status {status:?}"
    );
    Ok(found)
}
