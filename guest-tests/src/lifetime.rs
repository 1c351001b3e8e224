//! What stays behind: nothing.

use adyton::abi::PAGE_SIZE;
use adyton::abi::error::Error as Reason;
use adyton::{Domain, Flags, Image, Monitor, Program, policy};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;

use crate::fixture::{ROOM, Running, agent, agent_with, payload, pool, run};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("memory-comes-back-clean", memory_comes_back_clean),
    ("pool-is-whole-again", pool_is_whole_again),
    ("quota-comes-back", quota_comes_back),
    ("many-domains", many_domains),
    ("killed-owner-is-collected", killed_owner_is_collected),
    (
        "same-program-same-measurement",
        same_program_same_measurement,
    ),
    ("fork-cleans-up-nothing", fork_cleans_up_nothing),
    ("released-by-others", released_by_others),
];

/// The heap's words, as the domain's owner sees them afterwards.
fn memory_comes_back_clean() -> Result<()> {
    let mut running = agent_with(Flags::CONFIDENTIAL, |program| program.heap = 64 << 10)?;
    let heap = running.loaded.plan.heap;
    for offset in (0..heap.size).step_by(1024) {
        running.ask([2, heap.base + offset, 0x5ec2_e75e, 0, 0, 0])?;
    }
    // The exit page is the owner's own, and still shows the last reply.
    running.vcpu().reply([0; 6]);
    let claim = running.claim.clone();
    running.domain().destroy()?;
    let crate::fixture::Running {
        loaded,
        claim: _first,
        pool: _pool,
    } = running;
    drop(loaded);
    let all = claim.pages(claim.available())?;
    for offset in (0..all.size()).step_by(8) {
        let word = all.load(offset);
        ensure!(word != 0x5ec2_e75e, "the secret is at {offset:#x}");
    }
    Ok(())
}

fn pool_is_whole_again() -> Result<()> {
    let before = Monitor::ask()?;
    for _ in 0..5 {
        let mut running = run("hello", &[], Flags::CONFIDENTIAL)?;
        running.vcpu().enter(0)?;
        ensure!(Monitor::ask()?.claimed > before.claimed);
    }
    let after = Monitor::ask()?;
    ensure!(
        after.claimed == before.claimed,
        "{} then {}",
        before.claimed,
        after.claimed
    );
    ensure!(
        after.quota == before.quota,
        "{:?} then {:?}",
        before.quota,
        after.quota
    );
    Ok(())
}

fn quota_comes_back() -> Result<()> {
    let pool = pool()?;
    let claim = pool.claim(ROOM)?;
    let used = || -> Result<u64> {
        let claims = pool.claims()?;
        let ours = claims
            .iter()
            .find(|found| found.record.address == claim.address());
        Ok(ours.context("our claim")?.record.used)
    };
    let file = payload("agent")?;
    let program = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
    drop(program.build(&claim)?);
    let before = used()?;
    for _ in 0..50 {
        let loaded = program.build(&claim)?;
        loaded.domain.seal()?;
    }
    let after = used()?;
    ensure!(after == before, "{before} pages, then {after}");
    Ok(())
}

/// As many as the account pays for, and each of them gone afterwards.
fn many_domains() -> Result<()> {
    let pool = pool()?;
    let claim = pool.claim(pool.size() / 2)?;
    let mut domains = Vec::new();
    loop {
        match Domain::create(&claim, policy(Flags::CONFIDENTIAL), 16) {
            Ok(domain) => domains.push(domain),
            Err(adyton::Failure::Refused(refusal)) if refusal.is(Reason::Quota) => break,
            Err(other) => return Err(other.into()),
        }
    }
    ensure!(domains.len() >= 50, "only {} domains", domains.len());
    let listed = adyton::listing::domains(pool.environment(), claim.address())?;
    ensure!(
        listed.len() == domains.len(),
        "{} of {} listed",
        listed.len(),
        domains.len()
    );
    println!("{} domains at once", domains.len());
    drop(domains);
    ensure!(claim.available() == claim.size() - PAGE_SIZE);
    Ok(())
}

/// A claim whose owner was killed is found and released; that of a living process stays.
fn killed_owner_is_collected() -> Result<()> {
    let alive = agent(Flags::CONFIDENTIAL)?;
    alive.pool.collect()?;
    let before = Monitor::ask()?.claimed;
    let (reader, writer) = nix::unistd::pipe()?;
    let child = raw::start_copy(move || {
        let started = agent(Flags::CONFIDENTIAL);
        let said = nix::unistd::write(&writer, &[u8::from(started.is_ok())]);
        std::thread::sleep(std::time::Duration::from_secs(20));
        i32::from(said.is_err())
    })?;
    let mut ready = [0];
    nix::unistd::read(&reader, &mut ready)?;
    ensure!(ready == [1], "the copy could not build");
    ensure!(
        alive.pool.collect()?.is_empty(),
        "collected from a living process"
    );
    kill(child, Signal::SIGKILL)?;
    waitpid(child, None)?;
    let collected = alive.pool.collect()?;
    ensure!(collected.len() == 1, "{collected:?}");
    let owner = collected[0].note.as_ref().context("a note")?.process;
    ensure!(owner == child.as_raw() as u64, "owner {owner}");
    ensure!(Monitor::ask()?.claimed == before);
    Ok(())
}

fn same_program_same_measurement() -> Result<()> {
    let measure = |arguments: &[&str]| -> Result<[u8; 32]> {
        let running = run("hello", arguments, Flags::CONFIDENTIAL)?;
        let place = running.pool.environment();
        let id = running.domain().id();
        let digest = adyton::listing::measurement(place, running.claim.address(), id)?;
        digest.context("a measurement")
    };
    let (first, second, other) = (measure(&["a"])?, measure(&["a"])?, measure(&["b"])?);
    ensure!(first == second, "the same program measured differently");
    ensure!(first != other, "another argument, the same measurement");
    ensure!(first != [0; 32]);
    Ok(())
}

/// A copy of the process drops its handles, and the original goes on.
fn fork_cleans_up_nothing() -> Result<()> {
    let mut running = Some(agent(Flags::CONFIDENTIAL)?);
    let pool = pool()?;
    let end = raw::in_copy(|| {
        drop(running.take());
        0
    })?;
    ensure!(
        matches!(end, nix::sys::wait::WaitStatus::Exited(_, 0)),
        "{end:?}"
    );
    let mut running = running.context("still here")?;
    running.ask([1, running.loaded.plan.private.base, 0, 0, 0, 0])?;
    let collected = pool.collect()?;
    ensure!(
        collected.is_empty(),
        "the copy's end unlocked the claim: {collected:?}"
    );
    Ok(())
}

/// Somebody else releases the claim while its owner runs a domain in it, destroys it, and releases the claim too.
fn released_by_others() -> Result<()> {
    for _ in 0..20 {
        let running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
        let pool = pool()?;
        let offset = running.claim.address() - running.pool.environment().base();
        std::thread::scope(|scope| {
            let Running {
                mut loaded,
                claim,
                pool: own,
            } = running;
            let owner = scope.spawn(move || {
                let refusal = loaded.vcpus[0].enter(0).expect_err("released");
                drop(loaded);
                drop(claim);
                drop(own);
                refusal
            });
            std::thread::sleep(std::time::Duration::from_millis(30));
            pool.release(&pool.claim_at(offset)?)?;
            let refusal = owner.join().expect("no panic");
            let expected = refusal.is(Reason::Dead) || refusal.is(Reason::NotFound);
            ensure!(expected, "{refusal}");
            anyhow::Ok(())
        })?;
    }
    Ok(())
}
