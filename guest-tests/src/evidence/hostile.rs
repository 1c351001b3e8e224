//! Evidence that must not be had, and evidence that must not be believed.

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Call;
use adyton::abi::error::Error as Reason;
use adyton::abi::evidence::Question;
use adyton::convention::OFFER_WINDOW;
use adyton::{
    Acceptance, Asked, Attributes, Environment, Flags, Image, Key, Linux, Name, Placement, Program,
    READ_WRITE, Request, calls, evidence,
};
use adyton_evidence::verdict::Code;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::{
    FLAGS, NONCE, ROOM, Wanted, accepted, for_owner, judge, judged, measured, no_anchors, place,
    policy, refused_for, was_refused, with, witness, witness_with,
};
use crate::fixture::{agent_with, payload, pool, refused};
use crate::raw;

pub(super) const TESTS: &[crate::Test] = &[
    ("evidence-needs-authority", needs_authority),
    ("evidence-owner-binds-nothing", owner_binds_nothing),
    ("evidence-questions-out-of-bounds", questions_out_of_bounds),
    ("evidence-buffers", buffers),
    ("answers-into-carved-memory", answers_into_carved_memory),
    ("evidence-replayed", replayed),
    ("evidence-bit-flips", bit_flips),
    ("evidence-of-another-kind", of_another_kind),
    ("evidence-of-more-sharing", of_more_sharing),
    ("evidence-changed-after-seal", changed_after_seal),
    ("evidence-policies", policies),
];

fn asked() -> Asked<'static> {
    Asked {
        nonce: NONCE,
        ..Asked::default()
    }
}

/// Nobody gets evidence about a domain that he does not command.
fn needs_authority() -> Result<()> {
    let mut first = witness(FLAGS)?;
    let second = witness(FLAGS)?;
    let place = place(&first.running).clone();
    let ask = |name: Name| evidence(&place, Some(name), &asked());
    let name = first.running.domain().name();
    ask(name)?;
    let Key([low, high]) = name.key;
    let wrong = Name {
        key: Key([low ^ 1, high]),
        ..name
    };
    refused(ask(wrong), Reason::BadKey)?;
    let stranger = Name {
        address: second.running.domain().name().address,
        ..name
    };
    // Another claim's control page, by its virtual address in this process.
    ensure!(ask(stranger).is_err(), "evidence by another claim's key");
    let beside = Name {
        address: first.running.claim.address(),
        ..name
    };
    refused(ask(beside), Reason::NotFound)?;
    // Domain 0 is opaque.
    refused(evidence(&place, None, &asked()), Reason::Invalid)?;
    let file = payload("agent")?;
    let unsealed = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
    let claim = pool()?.claim(crate::fixture::ROOM)?;
    let unsealed = unsealed.build(&claim)?;
    refused(unsealed.domain.evidence(NONCE), Reason::WrongState)?;
    unsealed.domain.seal()?;
    unsealed.domain.evidence(NONCE)?;
    // A domain whose policy does not let it ask.
    let mut silent = witness(Flags::CONFIDENTIAL)?;
    was_refused(silent.testify(), Reason::Policy)?;
    first.testify()?;
    silent.running.domain().evidence(NONCE)?;
    let name = silent.running.domain().name();
    silent.running.domain().destroy()?;
    ensure!(ask(name).is_err(), "evidence about what is destroyed");
    Ok(())
}

/// Only a domain's own vCPU binds data and keys to evidence about it.
fn owner_binds_nothing() -> Result<()> {
    let witness = witness(FLAGS)?;
    let name = Some(witness.running.domain().name());
    let place = place(&witness.running);
    for bound in [
        Asked {
            report_data: b"owner",
            ..asked()
        },
        Asked {
            key: Some([1; 32]),
            ..asked()
        },
    ] {
        refused(evidence(place, name, &bound), Reason::Invalid)?;
    }
    evidence(place, name, &asked())?;
    Ok(())
}

/// Lengths that lie.
fn questions_out_of_bounds() -> Result<()> {
    let witness = witness(FLAGS)?;
    let (place, name) = (place(&witness.running), witness.running.domain().name());
    let good = Question::new(NONCE, &[], None).context("a question")?;
    let ask = |question: &Question| {
        let call = |address| calls::evidence(place, Some(name), address, 1 << 20);
        place.filled(1 << 20, &question.to_bytes(), call).0
    };
    ask(&good)?;
    let spoil: [fn(&mut Question); 7] = [
        |question| question.nonce_size = 0,
        |question| question.nonce_size = 7,
        |question| question.nonce_size = 65,
        |question| question.nonce_size = u64::MAX,
        |question| question.report_size = u64::MAX,
        |question| question.has_key = 1,
        |question| question.has_key = 2,
    ];
    for spoil in spoil {
        let mut question = good.clone();
        spoil(&mut question);
        refused(ask(&question), Reason::Invalid)?;
    }
    Ok(())
}

/// Buffers that are too small, not aligned, not there, or not writable.
fn buffers() -> Result<()> {
    let witness = witness(FLAGS)?;
    let place = Linux::without_memory()?;
    let name = Some(witness.running.domain().name());
    let question = Question::new(NONCE, &[], None).context("a question")?;
    let ask = |offset: u64, size: u64| {
        let call = |address: u64| calls::evidence(&place, name, address + offset, size);
        place.filled(1 << 20, &question.to_bytes(), call).0
    };
    ask(0, 1 << 20)?;
    refused(ask(0, 0), Reason::Invalid)?;
    refused(ask(0, 8), Reason::Alignment)?;
    refused(ask(8, PAGE_SIZE), Reason::Alignment)?;
    refused(ask(0, u64::MAX << 12), Reason::Invalid)?;
    // Whether one page is enough is for the log to say; the call never writes behind it.
    let small = || {
        place.filled(2 * PAGE_SIZE as usize, &question.to_bytes(), |address| {
            calls::evidence(&place, name, address, PAGE_SIZE)
        })
    };
    let (outcome, memory) = small();
    ensure!(
        memory[PAGE_SIZE as usize..].iter().all(|byte| *byte == 0),
        "it wrote behind the buffer"
    );
    if let Err(refusal) = outcome {
        ensure!(refusal.is(Reason::TooLarge), "{refusal}");
    }
    // A page that the caller may not write raises the fault of a store.
    let read_only = raw::map_pool(witness.running.pool.device(), 0, 2 << 20, false)?;
    let end = raw::in_copy(|| {
        let copy = Linux::without_memory()
            .map(|place| calls::evidence(&place, name, read_only, PAGE_SIZE).is_ok());
        i32::from(copy.unwrap_or(false))
    })?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
        "a read-only buffer: {end:?}"
    );
    Ok(())
}

/// The monitor writes its answers only where the caller may: not into memory that was carved away, though the caller's page tables
/// still lead there.
fn answers_into_carved_memory() -> Result<()> {
    const MARK: u64 = 0x6d61_726b;
    let mut agent = agent_with(Flags::CONFIDENTIAL, |program| program.heap = 64 << 10)?;
    let inside = agent.loaded.plan.heap.base;
    agent.ask([2, inside, MARK, 0, 0, 0])?;
    let name = agent.domain().name();
    let place = agent.pool.environment().clone();
    // The loader takes the claim's pages in order: some of these are the domain's.
    let pages =
        (1..agent.claim.size() / PAGE_SIZE).map(|page| agent.claim.address() + page * PAGE_SIZE);
    let mut refusals = 0;
    for page in pages {
        let quote = Request::new(Call::Quote, [page]).with_token(place.entropy());
        let log = Request::new(Call::EventLog, [page, 0]);
        let evidence = |place: &Linux| calls::evidence(place, Some(name), page, PAGE_SIZE);
        let [quote, log] = [quote, log].map(|request| calls::once(&place, request).map(drop));
        for outcome in [quote, log, evidence(&place).map(drop)] {
            refusals += u64::from(outcome.is_err_and(|refusal| refusal.is(Reason::NotPool)));
        }
    }
    let carved = (agent.loaded.plan.private.size + agent.loaded.plan.heap.size) / PAGE_SIZE;
    ensure!(
        refusals == 3 * carved,
        "{refusals} refusals for three calls on {carved} pages"
    );
    let [word, _] = agent.ask([1, inside, 0, 0, 0, 0])?;
    ensure!(word == MARK, "the domain finds {word:#x}");
    Ok(())
}

/// An answer to one nonce is none to another.
fn replayed() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let old = witness.ask(b"the nonce of yesterday", &[], None)?;
    refused_for(&judged(&old, &witness.policy())?, Code::StaleNonce)?;
    let new = witness.ask(NONCE, &[], None)?;
    accepted(&judged(&new, &witness.policy())?)
}

/// Each byte of real evidence matters.
fn bit_flips() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let (policy, anchors) = (witness.policy(), no_anchors()?);
    let judge = |bytes: &[u8]| judge(bytes, &policy, &anchors, Wanted::default());
    accepted(&judge(&evidence)?)?;
    for place in 0..evidence.len() {
        let mut spoilt = evidence.clone();
        spoilt[place] ^= 1 << (place % 8);
        ensure!(
            !judge(&spoilt)?.is_accepted(),
            "byte {place} does not matter"
        );
    }
    println!("{} bytes", evidence.len());
    Ok(())
}

/// A sandbox, and a domain that its owner can read, say so.
fn of_another_kind() -> Result<()> {
    let mut good = witness(FLAGS)?;
    accepted(&judged(&good.testify()?, &good.policy())?)?;
    let mut sandbox = witness(Flags::MAY_ATTEST)?;
    refused_for(
        &judged(&sandbox.testify()?, &sandbox.policy())?,
        Code::NotConfidential,
    )?;
    let mut debug = witness(FLAGS | Flags::DEBUG)?;
    refused_for(
        &judged(&debug.testify()?, &debug.policy())?,
        Code::DebugDomain,
    )?;
    let mut able = witness(FLAGS | Flags::MAY_ACCEPT)?;
    let verdict = judged(&able.testify()?, &able.policy())?;
    refused_for(&verdict, Code::ForbiddenAbility)?;
    refused_for(&verdict, Code::MutableDomain)
}

/// More memory in common than the policy allows: with domain 0, and with a third domain.
fn of_more_sharing() -> Result<()> {
    let mut wide = witness_with(FLAGS, |program| program.windows[2] = 512 << 10)?;
    refused_for(
        &judged(&wide.testify()?, &wide.policy())?,
        Code::ForbiddenMemory,
    )?;
    // A channel that belongs to nobody: given to the witness before it is sealed, to another domain afterwards.
    let file = payload("witness")?;
    let claim = pool()?.claim(2 * crate::fixture::ROOM)?;
    let mut program = Program::new(Image::parse(&file)?, FLAGS);
    program.windows[OFFER_WINDOW] = ROOM;
    let subject = program.build(&claim)?;
    let stranger = program.build(&claim)?;
    let pages = claim.pages(ROOM)?;
    let channel = claim.carve_for_nobody(pages.address(), ROOM, READ_WRITE)?;
    let room = Placement {
        from: 0,
        size: ROOM,
        place: subject.plan.windows[OFFER_WINDOW].base,
        attributes: READ_WRITE,
    };
    subject.domain.derive(channel, room)?;
    subject.domain.seal()?;
    let found =
        adyton::listing::measurement(claim.environment(), claim.address(), subject.domain.id())?;
    let strict = for_owner(&policy(&found.context("a measurement")?));
    let lenient = with(
        &strict,
        "may = [\"attest\"]",
        "may = [\"attest\"]\nopen = true",
    );
    let before = subject.domain.evidence(NONCE)?;
    refused_for(&judged(&before, &strict)?, Code::OpenMemory)?;
    accepted(&judged(&before, &lenient)?)?;
    stranger.domain.derive(channel, room)?;
    stranger.domain.seal()?;
    let after = subject.domain.evidence(NONCE)?;
    let verdict = judged(&after, &lenient)?;
    refused_for(&verdict, Code::ForbiddenMemory)?;
    refused_for(&verdict, Code::TooManyDomains)?;
    // Closed, and the stranger gone: as it should be.
    stranger.domain.destroy()?;
    claim.close(channel)?;
    accepted(&judged(&subject.domain.evidence(NONCE)?, &strict)?)
}

/// Memory that was accepted after seal leaves the measurement as it is, and shows.
fn changed_after_seal() -> Result<()> {
    let mut agent = agent_with(FLAGS | Flags::MAY_ACCEPT, |program| {
        program.heap = 64 << 10;
        program.windows[OFFER_WINDOW] = ROOM;
    })?;
    let text = with(
        &policy(&measured(&agent)?),
        "may = [\"attest\"]",
        "may = [\"attest\", \"accept\"]\nstill = [\"accept\"]",
    );
    let text = for_owner(&text);
    let before = agent.domain().evidence(NONCE)?;
    accepted(&judged(&before, &text)?)?;
    let pages = agent.claim.pages(ROOM)?;
    pages.zero();
    let attributes = READ_WRITE | Attributes::CLEAN;
    let region = agent
        .claim
        .carve_for_nobody(pages.address(), ROOM, attributes)?;
    let at = agent.loaded.plan.windows[OFFER_WINDOW].base;
    let offer = agent
        .claim
        .grant(region, agent.domain().name().address, at)?;
    let expected = Acceptance {
        place: at,
        size: ROOM,
        attributes,
    };
    let words = [
        3,
        offer.0,
        expected.place,
        expected.size,
        expected.attributes.word(),
        0,
    ];
    let [status, _] = agent.ask(words)?;
    ensure!(status == 0, "accept: {status}");
    let after = agent.domain().evidence(NONCE)?;
    refused_for(&judged(&after, &text)?, Code::ChangedAfterSeal)?;
    let lenient = with(&text, "still = ", "changed = true\nstill = ");
    accepted(&judged(&after, &lenient)?)?;
    Ok(())
}

/// Policies that say nothing, or something that is no word.
fn policies() -> Result<()> {
    let mut witness = witness(FLAGS)?;
    let evidence = witness.testify()?;
    let good = witness.policy();
    accepted(&judged(&evidence, &good)?)?;
    let empty = "version = 1\nname = \"\"\nsubject = \"\"\nsecurity-version = 1\nunmeasured = true";
    refused_for(&judged(&evidence, empty)?, Code::EmptyPolicy)?;
    let nothing = good.replace(&super::hexadecimal(&witness.measurement), "");
    let nothing = nothing.replace("[\"\"]", "[]");
    refused_for(&judged(&evidence, &nothing)?, Code::PolicyAllowsNothing)?;
    for misspelt in [
        good.replace("unmeasured", "unmesured"),
        good.replace("[[memory]]", "[[memories]]"),
        String::new(),
    ] {
        ensure!(judged(&evidence, &misspelt).is_err(), "{misspelt}");
    }
    ensure!(judge(&evidence, &good, &no_anchors()?, Wanted::default())?.is_accepted());
    Ok(())
}
