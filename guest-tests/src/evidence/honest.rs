//! Evidence that is right, and what it says.

use adyton::convention::OFFER_WINDOW;
use adyton::{Attributes, Flags, Image, Placement, Program, READ_WRITE};
use adyton_evidence::closure::Edge;
use adyton_evidence::composition::{Composition, Domain, Sharing};
use adyton_evidence::token::Request;
use adyton_evidence::verdict::Code;
use anyhow::{Context, Result, ensure};

use super::{
    FLAGS, KEY, NONCE, REPORT, ROOM, Wanted, accepted, for_owner, hexadecimal, judge, judged,
    no_anchors, opened, refused_for, with, witness,
};
use crate::fixture::{payload, pool};
use crate::nesting::nest;

pub(super) const TESTS: &[crate::Test] = &[
    ("evidence-of-ones-own", of_ones_own),
    ("evidence-by-the-owner", by_the_owner),
    ("evidence-of-a-channel", of_a_channel),
    ("evidence-of-nested-domains", of_nested_domains),
    ("evidence-is-small", is_small),
];

/// A domain proves what it is, with the measurement that was computed beforehand.
fn of_ones_own() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let (policy, anchors) = (witness.policy(), no_anchors()?);
    let wanted = Wanted {
        report: Some(REPORT),
        key: Some(KEY),
    };
    let ask = |policy: &str, wanted| judge(&evidence, policy, &anchors, wanted);
    accepted(&ask(&policy, wanted)?)?;
    let other_key = Wanted {
        key: Some([1; 32]),
        ..wanted
    };
    refused_for(&ask(&policy, other_key)?, Code::BoundKeyMismatch)?;
    let other_report = Wanted {
        report: Some(b"else"),
        ..wanted
    };
    refused_for(&ask(&policy, other_report)?, Code::ReportDataMismatch)?;
    let strict = with(&policy, "unmeasured = true", "unmeasured = false");
    refused_for(&ask(&strict, wanted)?, Code::UnmeasuredBoot)?;
    let other = with(
        &policy,
        &hexadecimal(&witness.measurement),
        &"ab".repeat(32),
    );
    refused_for(&ask(&other, wanted)?, Code::MeasurementMismatch)?;
    // It binds nothing unless it wants to.
    let plain = witness.ask(NONCE, &[], None)?;
    accepted(&judge(&plain, &policy, &anchors, Wanted::default())?)?;
    refused_for(
        &judge(&plain, &policy, &anchors, wanted)?,
        Code::BoundKeyMismatch,
    )
}

/// The owner gets evidence too, which says so and is none of the domain's own.
fn by_the_owner() -> Result<()> {
    let witness = witness(FLAGS)?;
    let evidence = witness.running.domain().evidence(NONCE)?;
    let policy = witness.policy();
    refused_for(&judged(&evidence, &policy)?, Code::FetchedByOwner)?;
    let lenient = for_owner(&policy);
    let verdict = judged(&evidence, &lenient)?;
    accepted(&verdict)?;
    ensure!(verdict.seen.context("seen")?.by_owner, "who asked");
    let wanted = Wanted {
        report: None,
        key: Some(KEY),
    };
    let verdict = judge(&evidence, &lenient, &no_anchors()?, wanted)?;
    refused_for(&verdict, Code::FetchedByOwner)?;
    refused_for(&verdict, Code::BoundKeyMismatch)
}

/// Two domains with a channel that domain 0 does not reach: open until it is closed.
fn of_a_channel() -> Result<()> {
    let claim = pool()?.claim(crate::fixture::ROOM)?;
    let file = payload("agent")?;
    let build = || -> Result<_> {
        let mut program = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
        program.windows[OFFER_WINDOW] = ROOM;
        Ok(program.build(&claim)?)
    };
    let (left, right) = (build()?, build()?);
    let pages = claim.pages(ROOM)?;
    let clean = READ_WRITE | Attributes::CLEAN;
    let channel = claim.carve_for_nobody(pages.address(), ROOM, clean)?;
    for (domain, rights) in [(&left, READ_WRITE), (&right, Attributes::READ)] {
        let what = Placement {
            from: 0,
            size: ROOM,
            place: domain.plan.windows[OFFER_WINDOW].base,
            attributes: rights,
        };
        domain.domain.derive(channel, what)?;
        domain.domain.seal()?;
    }
    let sharing = |found: &Composition| -> Result<Sharing> {
        let tenant = found.tenant(0).context("a subject")?;
        let mut shared = tenant.regions.iter();
        let shared = shared.find(|region| region.peers.iter().any(|peer| peer.domain == 2));
        Ok(shared.context("the channel")?.sharing)
    };
    ensure!(sharing(&composition(&left.domain.evidence(NONCE)?)?)? == Sharing::Open);
    claim.close(channel)?;
    let found = composition(&left.domain.evidence(NONCE)?)?;
    ensure!(sharing(&found)? == Sharing::Shared, "it is closed");
    ensure!(found.domains.len() == 3, "{:?}", found.domains);
    let closure = adyton_evidence::closure::examine(&found);
    let closure = closure.map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    let expected = Edge::Memory {
        ends: [0, 2],
        rights: [READ_WRITE, Attributes::READ],
        size: ROOM,
    };
    ensure!(closure.edges.contains(&expected), "{:?}", closure.edges);
    Ok(())
}

/// The composition of evidence that was not judged.
fn composition(evidence: &[u8]) -> Result<Composition> {
    let bundle = opened(evidence)?;
    Composition::decode(bundle.claims).map_err(|reason| anyhow::anyhow!("{reason:?}"))
}

/// Three levels: each with the measurement that is computed beforehand, each commanded by the one above.
fn of_nested_domains() -> Result<()> {
    let mut running = nest(3, "pass", "confidential")?;
    running.words()?;
    let found = composition(&running.domain().evidence(NONCE)?)?;
    ensure!(found.domains.len() == 4, "{:?}", found.domains);
    let opaque = found
        .domains
        .iter()
        .position(|domain| *domain == Domain::Opaque)
        .context("domain 0")? as u64;
    let mut above = opaque;
    for level in 0..3 {
        let mut tenants = found.tenants();
        let (index, tenant) = tenants
            .find(|(_, tenant)| tenant.commanders == [above])
            .with_context(|| format!("level {level}"))?;
        ensure!(tenant.measurement.is_some() && tenant.is_confidential());
        // Each shares its windows with the one above and, out of its pool, with the one below.
        let regions = tenant.regions.iter();
        let peers = regions.flat_map(|region| &region.peers);
        let mut peers: Vec<_> = peers.map(|peer| peer.domain).collect();
        peers.sort_unstable();
        peers.dedup();
        ensure!(
            peers.contains(&above) && peers.len() == if level < 2 { 2 } else { 1 },
            "level {level}: {:?}",
            tenant.regions
        );
        above = index;
    }
    Ok(())
}

/// Without the log a leaf has less than 4 KiB, and nothing in it is an address of the machine's.
fn is_small() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let bundle = opened(&evidence)?;
    let log = bundle.measured.map_or(0, |sets| sets.log.len());
    let size = evidence.len() - log;
    println!("ADYTON-BENCH evidence-leaf-size {size} bytes");
    ensure!(size < 4096, "a leaf has {size} bytes");
    let sign = adyton_evidence::cose::Sign1::decode(bundle.token)
        .map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    let token = adyton_evidence::token::Token::decode(sign.payload)
        .map_err(|reason| anyhow::anyhow!("{reason:?}"))?;
    ensure!(
        token.request
            == Request::Subject {
                report_data: REPORT,
                key: Some(KEY)
            }
    );
    Ok(())
}
