//! Evidence: how large it is, what it costs to make and to verify, by the number of domains in the closure.

use adyton::calls::Entry;
use adyton::domain::Domain as Building;
use adyton::{Attributes, Domain, Flags, Placement, READ_WRITE, listing, policy};
use adyton_evidence::bundle::Bundle;
use adyton_evidence::files::{hexadecimal, read_anchors, read_policy};
use adyton_evidence::verify::{Question, verify};
use adyton_guest_tests::fixture::pool;
use anyhow::{Context, Result, anyhow, ensure};

use crate::meter::{PAGE, now, report, report_instructions, report_longest_call};

const NONCE: &[u8] = b"a nonce of a measurement";
/// Pages of the claim for each domain, so that it has enough of the monitor's memory too.
const STRIDE: u64 = 16 * PAGE;
/// Pages of monitor memory for each domain.
const QUOTA: u64 = 8;
/// Of the hub, which has tables for a channel to each.
const HUB_QUOTA: u64 = 16;

/// A hub, and `count - 1` domains that each have a channel to it which nobody else reaches.
pub fn evidence(count: u64) -> Result<()> {
    let claim = pool()?.claim((8 << 20) + count * STRIDE)?;
    let build = |quota| -> Result<Domain> {
        let domain: Domain = Building::create(&claim, policy(Flags::CONFIDENTIAL), quota)?;
        domain.add_vcpu(Entry::default())?;
        domain.cores(0, 0)?;
        Ok(domain)
    };
    let hub = build(HUB_QUOTA)?;
    let mut leaves = Vec::new();
    for index in 1..count {
        let leaf = build(QUOTA)?;
        let pages = claim.pages(PAGE)?;
        let channel =
            claim.carve_for_nobody(pages.address(), PAGE, READ_WRITE | Attributes::CLEAN)?;
        for (domain, place) in [(&hub, index * PAGE), (&leaf, 0)] {
            domain.derive(
                channel,
                Placement {
                    from: 0,
                    size: PAGE,
                    place,
                    attributes: READ_WRITE,
                },
            )?;
        }
        claim.close(channel)?;
        leaf.seal()?;
        // It is carved away until the claim ends.
        std::mem::forget(pages);
        leaves.push(leaf);
    }
    hub.seal()?;
    let begin = now();
    let evidence = hub.evidence(NONCE)?;
    let creation = now() - begin;
    let verification = verified(&hub, leaves.first(), count, &evidence)?;
    let bundle = Bundle::decode(&evidence).map_err(|reason| anyhow!("{reason:?}"))?;
    let log = bundle.measured.map_or(0, |sets| sets.log.len());
    report(
        &format!("size-{count}"),
        (evidence.len() - log) as u64,
        "bytes",
    );
    report_instructions(&format!("creation-{count}"), creation);
    report_instructions(&format!("verification-{count}"), verification);
    report_longest_call()
}

/// Instructions that a verifier takes until it accepts.
fn verified(hub: &Domain, leaf: Option<&Domain>, count: u64, evidence: &[u8]) -> Result<u64> {
    let measurement = |domain: &Domain| -> Result<String> {
        let claim = domain.claim();
        let found = listing::measurement(claim.environment(), claim.address(), domain.id())?;
        Ok(hexadecimal(&found.context("a measurement")?))
    };
    let others = count - 1;
    let leaves = match leaf {
        None => String::new(),
        Some(leaf) => format!(
            r#"
[[domain]]
name = "leaf"
measurement = ["{}"]
least = {others}
most = {others}

[[memory]]
between = ["hub", "leaf"]
rights = ["rw-", "rw-"]
most = "4K"

[[command]]
from = "domain-0"
to = "leaf"

[[derivation]]
from = "domain-0"
to = "leaf"
"#,
            measurement(leaf)?
        ),
    };
    let text = format!(
        r#"version = 1
name = "hub"
subject = "hub"
security-version = 1
unmeasured = true
without-iommu = true
fetched-by-owner = true

[[domain]]
name = "hub"
measurement = ["{}"]

[[command]]
from = "domain-0"
to = "hub"

[[derivation]]
from = "domain-0"
to = "hub"
{leaves}"#,
        measurement(hub)?
    );
    let (policy, anchors) = (read_policy(&text)?, read_anchors("version = 1")?);
    let question = Question {
        nonce: NONCE,
        report_data: None,
        key: None,
        anchors: &anchors,
        policy: &policy,
    };
    let begin = now();
    let verdict = verify(evidence, &question);
    let taken = now() - begin;
    ensure!(verdict.is_accepted(), "{:?}", verdict.findings);
    Ok(taken)
}
