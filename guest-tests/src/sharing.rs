//! Memory between domains: siblings, offers, closing, revoking.

use std::time::Duration;

use adyton::abi::PAGE_SIZE;
use adyton::abi::error::Error as Reason;
use adyton::convention::{OFFER_WINDOW, PAYLOAD};
use adyton::{Attributes, Claim, Exit, Flags, Image, Loaded, Placement, Program, READ_WRITE};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::fixture::{ROOM, Running, agent_with, ask, payload, pool, refused, words};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("siblings", siblings),
    ("close", close),
    ("offer", offer),
    ("withdraw", withdraw),
    ("offer-from-another-claim", offer_from_another_claim),
    ("read-only-share", read_only_share),
    ("revoke-while-running", revoke_while_running),
    ("vital", vital),
];

/// Pages that the tests place in the agents' room for offers.
const SHARED: u64 = 2 * PAGE_SIZE;

/// An agent in `claim` that is not sealed yet, with room for what is to come.
fn unsealed(claim: &Claim, file: &[u8], flags: Flags) -> Result<Loaded> {
    let mut program = Program::new(Image::parse(file)?, flags);
    program.windows[OFFER_WINDOW] = SHARED;
    Ok(program.build(claim)?)
}

fn room(loaded: &Loaded) -> u64 {
    loaded.plan.windows[OFFER_WINDOW].base
}

fn whole(loaded: &Loaded, attributes: Attributes) -> Placement {
    Placement {
        from: 0,
        size: SHARED,
        place: room(loaded),
        attributes,
    }
}

fn start(loaded: &mut Loaded) -> Result<()> {
    loaded.domain.seal()?;
    words(loaded.vcpus[0].enter(0)?)?;
    Ok(())
}

/// Two children share memory that their parent cannot read.
fn siblings() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let file = payload("agent")?;
    let mut first = unsealed(&claim, &file, Flags::CONFIDENTIAL)?;
    let mut second = unsealed(&claim, &file, Flags::CONFIDENTIAL)?;
    let pages = claim.pages(SHARED)?;
    pages.zero();
    let clean = READ_WRITE | Attributes::CLEAN;
    let common = claim.carve_for_nobody(pages.address(), SHARED, clean)?;
    first.domain.derive(common, whole(&first, READ_WRITE))?;
    second.domain.derive(common, whole(&second, READ_WRITE))?;
    claim.close(common)?;
    start(&mut first)?;
    start(&mut second)?;
    let place = room(&first);
    ask(&mut first.vcpus[0], [2, place, 0x5ec2e7, 0, 0, 0])?;
    let place = room(&second);
    let [seen, _] = ask(&mut second.vcpus[0], [1, place, 0, 0, 0, 0])?;
    ensure!(seen == 0x5ec2e7, "the sibling read {seen:#x}");
    let address = pages.address();
    let end = raw::in_copy(move || raw::load(address) as i32)?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
        "{end:?}"
    );
    claim.revoke(common)?;
    let exit = second.vcpus[0].answer([1, place, 0, 0, 0, 0], 0)?;
    ensure!(
        matches!(exit, Exit::Memory { .. }),
        "revoked memory: {exit:?}"
    );
    let left = pages.load(0);
    ensure!(left == 0, "revoked memory shows {left:#x}");
    Ok(())
}

fn close() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let file = payload("agent")?;
    let loaded = unsealed(&claim, &file, Flags::CONFIDENTIAL)?;
    let pages = claim.pages(SHARED)?;
    let common = claim.carve_for_nobody(pages.address(), SHARED, READ_WRITE)?;
    claim.close(common)?;
    refused(
        loaded.domain.derive(common, whole(&loaded, READ_WRITE)),
        Reason::Closed,
    )?;
    claim.revoke(common)?;
    Ok(())
}

fn accepting() -> Result<Running> {
    agent_with(Flags::CONFIDENTIAL | Flags::MAY_ACCEPT, |program| {
        program.heap = 64 << 10;
        program.windows[OFFER_WINDOW] = SHARED;
    })
}

/// A sealed domain gets nothing before it accepts, and accepts only what it expects.
fn offer() -> Result<()> {
    let mut running = accepting()?;
    let place = room(&running.loaded);
    let pages = running.claim.pages(SHARED)?;
    pages.zero();
    let region = running
        .claim
        .carve_for_nobody(pages.address(), SHARED, READ_WRITE)?;
    let control = running.domain().name().address;
    let offered = running.claim.grant(region, control, place)?;
    let [found, count] = running.ask([4, 0, 0, 0, 0, 0])?;
    ensure!(
        count == 1 && found == offered.0,
        "offers: {count}, first {found:#x}"
    );
    // The engine forces CLEAN on what a confidential domain holds exclusively.
    let attributes = (READ_WRITE | Attributes::CLEAN).word();
    let mismatch = Reason::Mismatch as u64;
    let [status, _] = running.ask([3, offered.0, place, PAGE_SIZE, attributes, 0])?;
    ensure!(status == mismatch, "accepted half: {status}");
    let [status, _] = running.ask([3, offered.0, place, SHARED, Attributes::READ.word(), 0])?;
    ensure!(status == mismatch, "accepted with other rights: {status}");
    let occupied = running.loaded.plan.private.base;
    let [status, _] = running.ask([3, offered.0, occupied, SHARED, attributes, 0])?;
    ensure!(status != 0, "accepted over its own code");
    let [status, _] = running.ask([3, offered.0, place, SHARED, attributes, 0])?;
    ensure!(status == 0, "accept: {status}");
    running.ask([2, place, 77, 0, 0, 0])?;
    let [seen, _] = running.ask([1, place, 0, 0, 0, 0])?;
    ensure!(seen == 77, "{seen}");
    let place = running.pool.environment();
    let record = adyton::listing::domains(place, running.claim.address())?;
    let epoch = record.first().context("a domain")?.epoch;
    ensure!(epoch == 1, "epoch {epoch}");
    running.loaded.domain.keep(pages);
    Ok(())
}

fn withdraw() -> Result<()> {
    let mut running = accepting()?;
    let place = room(&running.loaded);
    let pages = running.claim.pages(SHARED)?;
    let region = running
        .claim
        .carve_for_nobody(pages.address(), SHARED, READ_WRITE)?;
    let control = running.domain().name().address;
    let offered = running.claim.grant(region, control, place)?;
    running.claim.revoke(offered)?;
    let attributes = (READ_WRITE | Attributes::CLEAN).word();
    let [status, _] = running.ask([3, offered.0, place, SHARED, attributes, 0])?;
    ensure!(
        status == Reason::NotFound as u64,
        "accepted what was withdrawn: {status}"
    );
    pages.store(0, 1);
    Ok(())
}

/// Across claims nothing is placed directly: even before seal it takes the holder of the key to accept.
fn offer_from_another_claim() -> Result<()> {
    let pool = pool()?;
    let (giving, taking) = (pool.claim(ROOM)?, pool.claim(ROOM)?);
    let file = payload("agent")?;
    let mut loaded = unsealed(&taking, &file, Flags::CONFIDENTIAL)?;
    let place = room(&loaded);
    let pages = giving.pages(SHARED)?;
    pages.zero();
    pages.store(0, 99);
    let region = giving.carve_for_nobody(pages.address(), SHARED, READ_WRITE)?;
    let offered = giving.grant(region, loaded.domain.name().address, place)?;
    let accepted = adyton::Acceptance {
        place,
        size: SHARED,
        attributes: READ_WRITE | Attributes::CLEAN,
    };
    loaded.domain.accept(offered, accepted)?;
    start(&mut loaded)?;
    let [seen, _] = ask(&mut loaded.vcpus[0], [1, place, 0, 0, 0, 0])?;
    ensure!(seen == 99, "{seen}");
    // The giver keeps revocation.
    giving.revoke(offered)?;
    let exit = loaded.vcpus[0].answer([1, place, 0, 0, 0, 0], 0)?;
    ensure!(matches!(exit, Exit::Memory { .. }), "{exit:?}");
    ensure!(pages.load(0) == 0, "not clean");
    Ok(())
}

fn read_only_share() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let file = payload("agent")?;
    let mut loaded = unsealed(&claim, &file, Flags::CONFIDENTIAL)?;
    let pages = claim.pages(SHARED)?;
    pages.zero();
    pages.store(0, 42);
    let placement = Placement {
        from: pages.address(),
        ..whole(&loaded, Attributes::READ)
    };
    loaded.domain.share(placement)?;
    start(&mut loaded)?;
    let place = room(&loaded);
    let [seen, _] = ask(&mut loaded.vcpus[0], [1, place, 0, 0, 0, 0])?;
    ensure!(seen == 42, "{seen}");
    pages.store(0, 43);
    let [seen, _] = ask(&mut loaded.vcpus[0], [1, place, 0, 0, 0, 0])?;
    ensure!(seen == 43, "{seen}");
    let exit = loaded.vcpus[0].answer([2, place, 1, 0, 0, 0], 0)?;
    ensure!(matches!(exit, Exit::Memory { write: true, .. }), "{exit:?}");
    ensure!(pages.load(0) == 43);
    loaded.domain.keep(pages);
    Ok(())
}

/// A domain that reads a region all the time on another core loses it at once.
fn revoke_while_running() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let file = payload("agent")?;
    let mut loaded = unsealed(&claim, &file, Flags::CONFIDENTIAL)?;
    let pages = claim.pages(SHARED)?;
    let placement = Placement {
        from: pages.address(),
        ..whole(&loaded, READ_WRITE)
    };
    let region = loaded.domain.carve(placement)?;
    start(&mut loaded)?;
    let place = room(&loaded);
    let vcpu = &mut loaded.vcpus[0];
    let (kind, left) = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            loop {
                match vcpu.answer([7, place, SHARED / 8, 0, 0, 0], 0) {
                    Ok(Exit::Call([PAYLOAD, ..])) => {}
                    other => return other,
                }
            }
        });
        std::thread::sleep(Duration::from_millis(100));
        claim.revoke(region)?;
        let left = pages.load(0);
        anyhow::Ok((reader.join().expect("no panic")?, left))
    })?;
    ensure!(
        matches!(kind, Exit::Memory { write: false, .. }),
        "{kind:?}"
    );
    ensure!(left == 0, "{left:#x}");
    Ok(())
}

/// Losing a vital region kills.
fn vital() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let file = payload("agent")?;
    let mut loaded = unsealed(&claim, &file, Flags::CONFIDENTIAL)?;
    let pages = claim.pages(SHARED)?;
    let attributes = READ_WRITE | Attributes::VITAL;
    let placement = Placement {
        from: pages.address(),
        ..whole(&loaded, attributes)
    };
    let region = loaded.domain.carve(placement)?;
    start(&mut loaded)?;
    claim.revoke(region)?;
    let refusal = loaded.vcpus[0].enter(0).expect_err("it lost what is vital");
    ensure!(
        refusal.is(Reason::Dead) || refusal.is(Reason::NotFound),
        "{refusal}"
    );
    Ok(())
}
