//! Evidence about real domains, from the monitor that runs here, decided about by the code that relying parties use.

mod honest;
mod hostile;
pub mod loader;
mod local;
pub mod whole;

use adyton::convention::OFFER_WINDOW;
use adyton::{Environment, Flags, Program};
use adyton_evidence::anchors::Anchors;
use adyton_evidence::bundle::Bundle;
use adyton_evidence::files::{self, hexadecimal};
use adyton_evidence::verdict::{Code, Verdict};
use adyton_evidence::verify::{Question, verify};
use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::fixture::{Running, run_with};

/// Tests that run on any machine: where the boot is not measured, the policy has to bear with it.
pub(crate) fn tests() -> impl Iterator<Item = crate::Test> {
    let rooms = [honest::TESTS, hostile::TESTS, local::TESTS];
    rooms.into_iter().flatten().copied()
}

pub(crate) const NONCE: &[u8] = b"a nonce of this test";
const REPORT: &[u8] = b"what the witness wants to be told";
const KEY: [u8; 32] = [0x4b; 32];

/// Room in a domain for what a test gives it besides.
pub(crate) const ROOM: u64 = 8192;

/// A domain that asks for evidence about itself, and the measurement that it must have.
pub(crate) struct Witness {
    /// The domain.
    pub running: Running,
    /// Computed without the monitor.
    pub measurement: [u8; 32],
}

/// What a confidential witness may do.
pub(crate) const FLAGS: Flags = Flags::CONFIDENTIAL.union(Flags::MAY_ATTEST);

/// Builds, seals and starts one.
pub(crate) fn witness(flags: Flags) -> Result<Witness> {
    witness_with(flags, |_| ())
}

/// As [`witness`], after `change` has changed what it gets.
pub(crate) fn witness_with(flags: Flags, change: impl FnOnce(&mut Program<'_>)) -> Result<Witness> {
    let mut measurement = None;
    let mut running = run_with("witness", &[], flags, |program| {
        program.heap = 1 << 20;
        program.windows[1] = 4096;
        program.windows[2] = 128 << 10;
        program.windows[OFFER_WINDOW] = ROOM;
        change(program);
        measurement = adyton::measurement(program).ok();
    })?;
    running.words()?;
    Ok(Witness {
        running,
        measurement: measurement.context("a measurement")?,
    })
}

impl Witness {
    /// Has it ask; a status that is not 0 is refused by the monitor.
    pub fn ask(&mut self, nonce: &[u8], report: &[u8], key: Option<[u8; 32]>) -> Result<Vec<u8>> {
        let question = self.running.loaded.window(1).context("a window")?;
        question.write(0, nonce);
        question.write(64, report);
        question.write(128, &key.unwrap_or_default());
        let lengths = [nonce.len() as u64, report.len() as u64];
        let words = [1, lengths[0], lengths[1], u64::from(key.is_some()), 0, 0];
        let [status, size] = self.running.ask(words)?;
        if status != 0 {
            return Err(anyhow!(Refused(status)));
        }
        let mut evidence = vec![0; size as usize];
        let answer = self.running.loaded.window(2).context("a window")?;
        answer.read(0, &mut evidence);
        Ok(evidence)
    }

    /// As a witness should.
    pub fn testify(&mut self) -> Result<Vec<u8>> {
        self.ask(NONCE, REPORT, Some(KEY))
    }

    /// The policy that it satisfies where nobody measured the boot.
    pub fn policy(&self) -> String {
        policy(&self.measurement)
    }
}

/// The monitor refused a domain what it asked for.
#[derive(Debug)]
pub(crate) struct Refused(pub u64);

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the monitor refused it: {}", self.0)
    }
}

impl std::error::Error for Refused {}

/// For one domain of that measurement, which shares its windows with domain 0.
pub(crate) fn policy(measurement: &[u8; 32]) -> String {
    format!(
        r#"version = 1
name = "a witness"
subject = "witness"
security-version = 1
unmeasured = true
without-iommu = true
domain-0 = "any"

[[domain]]
name = "witness"
measurement = ["{}"]
may = ["attest"]

[[memory]]
between = ["witness", "domain-0"]
rights = ["rw-", "rwx"]
most = "192K"

[[command]]
from = "domain-0"
to = "witness"

[[derivation]]
from = "domain-0"
to = "witness"
"#,
        hexadecimal(measurement)
    )
}

/// No anchors: enough where the policy does without a measured boot.
pub(crate) fn no_anchors() -> Result<Anchors> {
    Ok(files::read_anchors("version = 1")?)
}

/// What a relying party asks besides.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    pub report: Option<&'a [u8]>,
    pub key: Option<[u8; 32]>,
}

/// The verdict of a relying party that sent [`NONCE`].
pub(crate) fn judge(
    evidence: &[u8],
    policy: &str,
    anchors: &Anchors,
    wanted: Wanted<'_>,
) -> Result<Verdict> {
    let policy = files::read_policy(policy)?;
    Ok(verify(
        evidence,
        &Question {
            nonce: NONCE,
            report_data: wanted.report,
            key: wanted.key.as_ref(),
            anchors,
            policy: &policy,
        },
    ))
}

/// Without anchors.
pub(crate) fn judged(evidence: &[u8], policy: &str) -> Result<Verdict> {
    judge(evidence, policy, &no_anchors()?, Wanted::default())
}

pub(crate) fn accepted(verdict: &Verdict) -> Result<()> {
    ensure!(verdict.is_accepted(), "{:?}", verdict.findings);
    Ok(())
}

/// Refused, for this reason among others.
pub(crate) fn refused_for(verdict: &Verdict, code: Code) -> Result<()> {
    ensure!(
        !verdict.is_accepted() && verdict.has(code),
        "expected {code:?}: {:?}",
        verdict.findings
    );
    Ok(())
}

/// Whether the monitor refused with this status.
pub(crate) fn was_refused<T>(outcome: Result<T>, reason: adyton::abi::error::Error) -> Result<()> {
    match outcome {
        Ok(_) => bail!("expected {reason:?}, but it succeeded"),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(Refused(status)) if *status == reason as u64 => Ok(()),
            _ => bail!("expected {reason:?}: {error}"),
        },
    }
}

/// The policy with one passage changed.
pub(crate) fn with(policy: &str, from: &str, to: &str) -> String {
    assert!(policy.contains(from), "{from} is not in the policy");
    policy.replacen(from, to, 1)
}

/// The measurement that the monitor has taken.
pub(crate) fn measured(running: &Running) -> Result<[u8; 32]> {
    let (place, address) = (running.pool.environment(), running.claim.address());
    let found = adyton::listing::measurement(place, address, running.domain().id())?;
    found.context("a measurement")
}

/// The parts of evidence.
pub(crate) fn opened(evidence: &[u8]) -> Result<Bundle<'_>> {
    Bundle::decode(evidence).map_err(|reason| anyhow!("{reason:?}"))
}

/// The same policy for evidence that the owner has fetched.
pub(crate) fn for_owner(policy: &str) -> String {
    with(
        policy,
        "version = 1",
        "version = 1\nfetched-by-owner = true",
    )
}

/// A place to make calls from.
pub(crate) fn place(running: &Running) -> &impl Environment {
    running.pool.environment()
}
