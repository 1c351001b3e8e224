//! Evidence of a machine on which Debian's GRUB started the monitor.

use adyton_evidence::files;
use adyton_evidence::verdict::{Code, Machine, Verdict};
use anyhow::{Context, Result, ensure};

use super::whole::{WANTED, anchors, policy};
use super::{FLAGS, Witness, accepted, judge, refused_for, with, witness};
use crate::measured::loader_anchors;

/// What the operator would call it.
const NAME: &str = "read from evidence";

/// Asks for evidence, and has it judged by several anchors.
struct Case {
    witness: Witness,
    evidence: Vec<u8>,
    /// Those that the host has computed.
    expected: String,
}

impl Case {
    fn new() -> Result<Self> {
        let mut witness = witness(FLAGS)?;
        let evidence = witness.testify()?;
        let (expected, _) = anchors()?;
        Ok(Self {
            witness,
            evidence,
            expected,
        })
    }

    fn ask(&self, anchors: &str) -> Result<Verdict> {
        let anchors = files::read_anchors(anchors)?;
        judge(&self.evidence, &policy(&self.witness), &anchors, WANTED)
    }

    /// The anchors with what the operator's tool makes of the evidence in the place of what the host expects.
    fn taken_over(&self) -> Result<String> {
        let found = files::loader(&self.evidence, NAME)?;
        Ok(self.expected.replace(&loader_anchors()?, &found))
    }
}

fn loader(verdict: Verdict) -> Result<Option<String>> {
    accepted(&verdict)?;
    match verdict.seen.context("seen")?.machine {
        Machine::Known { loader, .. } => Ok(loader),
        Machine::Unknown => Ok(None),
    }
}

/// GRUB did what the host says that it should: accepted, and not by anchors that know less.
///
/// # Errors
/// What is not so.
pub fn known() -> Result<()> {
    let case = Case::new()?;
    let expected = &case.expected;
    ensure!(loader(case.ask(expected)?)?.as_deref() == Some("GRUB"));
    let (without, _) = expected.split_once("[[loader]]").context("a loader")?;
    refused_for(&case.ask(without)?, Code::UnknownBootEvent)?;
    let (images, _) = expected.split_once("commands = ").context("commands")?;
    refused_for(&case.ask(images)?, Code::LoaderWithoutRules)?;
    let shorter = with(expected, "\"grub_cmd: set fallback=1\",", "");
    refused_for(&case.ask(&shorter)?, Code::LoaderMismatch)?;
    // What the tool reads is what the host expects, by other words.
    ensure!(loader(case.ask(&case.taken_over()?)?)?.as_deref() == Some(NAME));
    Ok(())
}

/// Somebody has changed GRUB's script: it loads another module first, and starts the same monitor.
///
/// # Errors
/// If that is not refused, or if anything else is wrong.
pub fn changed() -> Result<()> {
    let case = Case::new()?;
    let verdict = case.ask(&case.expected)?;
    refused_for(&verdict, Code::LoaderMismatch)?;
    let detail = &verdict.findings.first().context("a finding")?.detail;
    println!("{detail}");
    ensure!(detail.contains("grub_cmd: insmod hello"), "{detail}");
    // The control: but for that the evidence is as it should be.
    let taken = case.taken_over()?;
    println!("{taken}");
    ensure!(loader(case.ask(&taken)?)?.as_deref() == Some(NAME));
    ensure!(taken.contains("x86_64-efi/hello.mod"), "its file");
    Ok(())
}
