//! Evidence of a machine whose boot was measured: the whole chain, from this machine's TPM to a domain.

use adyton_evidence::anchors::Anchors;
use adyton_evidence::bundle::{Bundle, Measured};
use adyton_evidence::cose::Sign1;
use adyton_evidence::files;
use adyton_evidence::software;
use adyton_evidence::token::{Boot, Token};
use adyton_evidence::verdict::{Code, Machine};
use anyhow::{Context, Result, anyhow, ensure};

use super::{
    FLAGS, KEY, REPORT, Wanted, Witness, accepted, judge, opened, refused_for, with, witness,
};
use crate::fixture::longest_call;
use crate::measured;

/// The policy of a witness on a machine that is measured. Which IOMMU it has is not what this is about.
pub(super) fn policy(witness: &Witness) -> String {
    with(&witness.policy(), "unmeasured = true", "unmeasured = false")
}

pub(super) fn anchors() -> Result<(String, Anchors)> {
    let text = measured::anchors_text()?;
    let anchors = files::read_anchors(&text)?;
    Ok((text, anchors))
}

pub(super) const WANTED: Wanted<'static> = Wanted {
    report: Some(REPORT),
    key: Some(KEY),
};

/// The chain holds, and breaks where one link is another.
///
/// # Errors
/// What is not so.
pub fn chain() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let (policy, (text, anchors)) = (policy(&witness), anchors()?);
    let verdict = judge(&evidence, &policy, &anchors, WANTED)?;
    accepted(&verdict)?;
    let seen = verdict.seen.context("seen")?;
    ensure!(
        matches!(seen.machine, Machine::Known { .. }),
        "which machine"
    );
    println!("ADYTON-BENCH evidence-with-log {} bytes", evidence.len());
    // Another machine, another monitor, another firmware, another configuration.
    for (key, code) in [
        ("key", Code::UnknownAttestationKey),
        ("image", Code::UnknownBootEvent),
        ("configuration", Code::ConfigurationMismatch),
        ("pcrs", Code::FirmwareMismatch),
    ] {
        let other = files::read_anchors(&other_anchor(&text, key)?)?;
        refused_for(&judge(&evidence, &policy, &other, WANTED)?, code)?;
    }
    // Another kernel: the policy may say that it does not matter.
    let reference = with(&policy, "domain-0 = \"any\"", "domain-0 = \"reference\"");
    let other = with(&text, "[[boot]]", &format!("[[boot]]\n{OTHER_KERNEL}"));
    let other = files::read_anchors(&other)?;
    refused_for(
        &judge(&evidence, &reference, &other, WANTED)?,
        Code::DomainZeroMismatch,
    )?;
    Ok(())
}

const OTHER_KERNEL: &str = "\
kernel = \"abababababababababababababababababababababababababababababababab\"
initrd = \"abababababababababababababababababababababababababababababababab\"
command-line = \"abababababababababababababababababababababababababababababababab\"";

/// The anchors with the first digest behind `key` changed.
fn other_anchor(text: &str, key: &str) -> Result<String> {
    let at = text.find(&format!("{key} = ")).context("no such anchor")?;
    let digest = at + text[at..].find('"').context("a digest")? + 1;
    let mut other = text.to_owned();
    let digit = if &text[digest..=digest] == "0" {
        "1"
    } else {
        "0"
    };
    other.replace_range(digest..=digest, digit);
    Ok(other)
}

/// What somebody in domain 0 can put together from genuine parts is refused.
///
/// # Errors
/// What is not.
pub fn forgeries() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let (policy, (_, anchors)) = (policy(&witness), anchors()?);
    let ask = |evidence: &[u8]| judge(evidence, &policy, &anchors, Wanted::default());
    accepted(&ask(&evidence)?)?;
    let genuine = opened(&evidence)?;
    let sets = genuine.measured.context("a measured boot")?;
    // A key of his own, with the TPM's genuine statement for the same nonce.
    let forged = resigned(&genuine, |_| ())?;
    refused_for(&ask(&forged)?, Code::KeyNotBound)?;
    // Without what the boot says.
    let unmeasured = Bundle {
        measured: None,
        ..genuine
    };
    refused_for(&ask(&encoded(&unmeasured)?)?, Code::DigestMismatch)?;
    let unmeasured = resigned(&unmeasured, |token| token.boot = Boot::Unmeasured)?;
    refused_for(&ask(&unmeasured)?, Code::UnmeasuredBoot)?;
    // Parts of other evidence of the same monitor.
    let other = witness.ask(b"a nonce of another", &[], None)?;
    let other = opened(&other)?;
    let mixed = Bundle {
        measured: other.measured,
        ..genuine
    };
    refused_for(&ask(&encoded(&mixed)?)?, Code::DigestMismatch)?;
    let mixed = Bundle {
        token: other.token,
        ..genuine
    };
    refused_for(&ask(&encoded(&mixed)?)?, Code::StaleNonce)?;
    // A log that is shorter, longer, in another order.
    let longer = [sets.log, &[0; 64]].concat();
    for log in [&sets.log[..sets.log.len() - 64], &longer, sets.platform] {
        let spoilt = Bundle {
            measured: Some(Measured {
                log,
                platform: sets.platform,
            }),
            ..genuine
        };
        refused_for(&ask(&encoded(&spoilt)?)?, Code::DigestMismatch)?;
    }
    Ok(())
}

fn encoded(bundle: &Bundle<'_>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = bundle.encode(&mut bytes);
    written.map_err(|_| anyhow!("memory takes all"))?;
    Ok(bytes)
}

/// The same claims but for `change`, signed by somebody else.
fn resigned(bundle: &Bundle<'_>, change: impl FnOnce(&mut Token<'_>)) -> Result<Vec<u8>> {
    let signed = Sign1::decode(bundle.token).map_err(|reason| anyhow!("{reason:?}"))?;
    let mut token = Token::decode(signed.payload).map_err(|reason| anyhow!("{reason:?}"))?;
    change(&mut token);
    let mut forged = Vec::new();
    let written = token.sign(&mut forged, &software::Monitor::genuine().key);
    written.map_err(|_| anyhow!("memory takes all"))?;
    encoded(&Bundle {
        token: &forged,
        ..*bundle
    })
}

/// Every byte of evidence with a measured boot matters; of its log, whose digest is signed, each 64th is tried.
///
/// # Errors
/// Which does not.
pub fn bit_flips() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let (policy, (_, anchors)) = (policy(&witness), anchors()?);
    let ask = |evidence: &[u8]| judge(evidence, &policy, &anchors, Wanted::default());
    accepted(&ask(&evidence)?)?;
    let bundle = opened(&evidence)?;
    let log = bundle.measured.context("a measured boot")?.log;
    let first = evidence
        .windows(64)
        .position(|part| part == &log[..64])
        .context("the log")?;
    let mut tried = 0;
    for place in 0..evidence.len() {
        let in_log = (first..first + log.len()).contains(&place);
        if in_log && place % 64 != 0 {
            continue;
        }
        let mut spoilt = evidence.clone();
        spoilt[place] ^= 1 << (place % 8);
        ensure!(!ask(&spoilt)?.is_accepted(), "byte {place} does not matter");
        tried += 1;
    }
    println!("{tried} of {} bytes", evidence.len());
    Ok(())
}

/// Something ran before the monitor that no anchor knows.
///
/// # Errors
/// If the evidence is believed.
pub fn evil_first() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let (_, anchors) = anchors()?;
    let verdict = judge(&evidence, &policy(&witness), &anchors, WANTED)?;
    refused_for(&verdict, Code::UnknownBootEvent)
}

/// Measures the longest time that a slice of this call holds a core.
///
/// # Errors
/// If there is no evidence.
pub fn slices() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let before = longest_call()?;
    witness.testify()?;
    println!("the longest call before: {before}");
    let longest = longest_call()?;
    println!("ADYTON-BENCH evidence-slice {longest} instructions");
    Ok(())
}
