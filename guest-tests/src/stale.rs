//! Attacks by translations that a core has cached: another core reaches for memory at the moment at which it is taken, and again as
//! soon as the call that took it has returned.
//!
//! The control is the same attack on a monitor that forgets its flushes (`selfcheck = true`): there it must succeed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::convention::OFFER_WINDOW;
use adyton::{Claim, Domain, Exit, Flags, Placement, READ_WRITE, policy};
use anyhow::{Result, bail, ensure};

use crate::attempt;
use crate::fixture::{ROOM, Selfcheck, agent, audit, pool, selfcheck, words};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("stale-in-domain-0", stale_in_domain_0),
    ("stale-in-a-domain", stale_in_a_domain),
    ("moment-of-carve-and-revoke", moment),
];

/// Tries with the protection on; none may succeed.
const ROUNDS: u32 = 40;
/// For how long it is tried with the protection off, until it succeeds. A timer's interrupt on the other core makes a try vain, and
/// on a busy host there are many.
const CONTROL: Duration = Duration::from_secs(60);

/// Runs `attack` with the protection, where it must never succeed, and without, where it must.
fn with_control(mut attack: impl FnMut() -> Result<bool>) -> Result<()> {
    for round in 0..ROUNDS {
        ensure!(!attack()?, "a stale translation was used in round {round}");
    }
    selfcheck(Selfcheck::ForgetFlushes, 1)?;
    let begin = Instant::now();
    let mut outcome = Ok(false);
    while matches!(outcome, Ok(false)) && begin.elapsed() < CONTROL {
        outcome = attack();
    }
    selfcheck(Selfcheck::ForgetFlushes, 0)?;
    ensure!(
        outcome?,
        "the control never succeeded: the test says nothing"
    );
    audit()?;
    Ok(())
}

/// A thread on another core loads a page again and again while it is carved. Whether a load that began after the carve
/// had returned still succeeded.
fn attack_from_domain_0(claim: &Claim) -> Result<bool> {
    let pages = claim.pages(PAGE_SIZE)?;
    pages.store(0, 1);
    let domain = Domain::create(claim, policy(Flags::NONE), 16)?;
    let (address, is_taken) = (pages.address(), AtomicBool::new(false));
    let loads = AtomicU64::new(0);
    let succeeded = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| -> Result<bool> {
            raw::stay_on(1)?;
            loop {
                let is_taken = is_taken.load(Ordering::SeqCst);
                let word = attempt::try_load(address);
                if is_taken {
                    return Ok(word.is_some());
                }
                loads.fetch_add(1, Ordering::Relaxed);
            }
        });
        while loads.load(Ordering::Relaxed) < 10 {
            std::hint::spin_loop();
        }
        let carved = domain.carve(Placement {
            from: address,
            size: PAGE_SIZE,
            place: 0x1000,
            attributes: READ_WRITE,
        });
        is_taken.store(true, Ordering::SeqCst);
        let succeeded = watcher.join().expect("no panic");
        carved?;
        succeeded
    });
    drop(domain);
    succeeded
}

fn stale_in_domain_0() -> Result<()> {
    attempt::skip_faulting_calls()?;
    raw::stay_on(0)?;
    let claim = pool()?.claim(ROOM)?;
    with_control(|| attack_from_domain_0(&claim))
}

/// A domain on another core loads a page again and again that it shares, while the share is revoked. Whether a load that
/// began after the revocation had returned still succeeded.
fn attack_from_a_domain() -> Result<bool> {
    const FLAG_WINDOW: usize = 1;
    let file = crate::fixture::payload("agent")?;
    let mut program = adyton::Program::new(adyton::Image::parse(&file)?, Flags::CONFIDENTIAL);
    program.windows[OFFER_WINDOW] = PAGE_SIZE;
    program.windows[FLAG_WINDOW] = PAGE_SIZE;
    let claim = pool()?.claim(ROOM)?;
    let mut loaded = program.build(&claim)?;
    let place = loaded.plan.windows[OFFER_WINDOW].base;
    let pages = claim.pages(PAGE_SIZE)?;
    pages.zero();
    let region = loaded.domain.share(Placement {
        from: pages.address(),
        size: PAGE_SIZE,
        place,
        attributes: READ_WRITE,
    })?;
    let flag_place = loaded.plan.windows[FLAG_WINDOW].base;
    let mut vcpu = loaded.vcpus.remove(0);
    let window = loaded.window(FLAG_WINDOW).expect("it was asked for");
    window.store(0, 0);
    loaded.domain.seal()?;
    words(vcpu.enter(0)?)?;
    let exit = std::thread::scope(|scope| {
        let runner = scope.spawn(|| -> Result<Exit> {
            raw::stay_on(1)?;
            Ok(vcpu.answer([9, flag_place, place, 0, 0, 0], 0)?)
        });
        std::thread::sleep(Duration::from_millis(5));
        let revoked = claim.revoke(region);
        // Back in the hands of its owner, it holds what the domain must not see.
        pages.store(0, SECRET);
        window.store(0, 1);
        let exit = runner.join().expect("no panic");
        revoked?;
        exit
    })?;
    match exit {
        Exit::Memory { .. } => Ok(false),
        Exit::Call([_, SECRET, ..]) => Ok(true),
        other => bail!("the watcher ended with {other:?}"),
    }
}

const SECRET: u64 = 0x5ec2_e7a6_0b5e_55ed;

fn stale_in_a_domain() -> Result<()> {
    raw::stay_on(0)?;
    with_control(attack_from_a_domain)
}

/// What two attackers find who load and store all the while.
#[derive(Default)]
struct Finds {
    words: AtomicU64,
    faults: AtomicU64,
    is_over: AtomicBool,
}

/// Two cores load and store in user mode while domains with a secret come and go.
fn moment() -> Result<()> {
    const DOMAINS: usize = 15;
    const MARK: u64 = 0x3333_3333_3333_3333;
    attempt::skip_faulting_calls()?;
    let pool = pool()?;
    let (base, finds) = (pool.environment().base(), Finds::default());
    // Beside what the exit page shows, and where the private memory of the next claim will be.
    let places: Vec<u64> = (1..64).map(|page| base + page * PAGE_SIZE + 4000).collect();
    std::thread::scope(|scope| {
        let attackers = [0, 1].map(|core| {
            let (finds, places) = (&finds, &places);
            scope.spawn(move || -> Result<()> {
                raw::stay_on(core)?;
                while !finds.is_over.load(Ordering::Relaxed) {
                    for place in places {
                        let word = attempt::try_load(*place);
                        ensure!(word != Some(SECRET), "the secret was read at {place:#x}");
                        let found = if word.is_some() {
                            &finds.words
                        } else {
                            &finds.faults
                        };
                        found.fetch_add(1, Ordering::Relaxed);
                        if word.is_none() {
                            attempt::try_store(*place, MARK);
                        }
                    }
                    std::thread::yield_now();
                }
                Ok(())
            })
        });
        let outcome = (0..DOMAINS).try_for_each(|_| keep_secret(MARK));
        finds.is_over.store(true, Ordering::Relaxed);
        for attacker in attackers {
            attacker.join().expect("no panic")?;
        }
        outcome
    })?;
    let (words, faults) = (finds.words.into_inner(), finds.faults.into_inner());
    ensure!(words > 0 && faults > 0, "{words} words, {faults} faults");
    audit()?;
    Ok(())
}

/// A domain that keeps a secret for a moment, and is not disturbed.
fn keep_secret(mark: u64) -> Result<()> {
    let mut running = agent(Flags::CONFIDENTIAL)?;
    let place = running.loaded.plan.entries[0].rsp - (60 << 10) + 4000;
    for _ in 0..3 {
        running.ask([2, place, SECRET, 0, 0, 0])?;
        let [kept, _] = running.ask([1, place, 0, 0, 0, 0])?;
        ensure!(
            kept == SECRET && kept != mark,
            "the secret became {kept:#x}"
        );
    }
    running.vcpu().reply([0; 6]);
    Ok(())
}
