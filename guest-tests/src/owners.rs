//! Owners that are disturbed: a debugger moves them, they are killed at any moment, timers interrupt them all the while; and cores and
//! accounts that give out.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::abi::PAGE_SIZE;
use adyton::abi::error::Error as Reason;
use adyton::convention::PAYLOAD;
use adyton::{Domain, Entry, Exit, Flags, Monitor, Placement, READ_WRITE, calls, policy};
use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::attempt;
use crate::fixture::{ROOM, Selfcheck, agent_with, audit, pool, refused, run, selfcheck, words};
use crate::nesting::nest;
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("debugger-moves-the-caller", debugger),
    ("killed-at-any-moment", killed),
    ("timers-faster-than-a-nest", fast_timers),
    ("answers-are-delivered-once", delivered_once),
    ("exhausted-slots", exhausted_slots),
    ("exhausted-randomness", exhausted_randomness),
    ("quarantine", quarantine),
];

const MOVED_STATUS: i32 = 42;

/// Where the debugger moves its subject to.
extern "C" fn elsewhere() -> ! {
    // SAFETY: ends the copy.
    unsafe { libc::_exit(MOVED_STATUS) }
}

/// A debugger stops a caller in the middle of its entry and has it go on elsewhere: the domain stands, and goes on for the next.
fn debugger() -> Result<()> {
    let mut running = run("spin", &["400"], Flags::CONFIDENTIAL)?;
    let mut copy = running.vcpu().duplicate();
    let child = raw::start_copy(move || i32::from(copy.enter(0).is_ok()))?;
    std::thread::sleep(Duration::from_millis(100));
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: the requests concern the copy only, and the structure is as large as the kernel fills it.
    let inside = unsafe {
        let attached = libc::ptrace(libc::PTRACE_ATTACH, child.as_raw(), none, none);
        nix::errno::Errno::result(attached)?;
        waitpid(child, None)?;
        let mut registers: libc::user_regs_struct = std::mem::zeroed();
        libc::ptrace(
            libc::PTRACE_GETREGS,
            child.as_raw(),
            none,
            &raw mut registers,
        );
        let call = (registers.rip as *const [u8; 3]).read_unaligned();
        registers.rip = elsewhere as *const () as u64;
        registers.rsp &= !0xf;
        registers.rsp -= 8;
        libc::ptrace(
            libc::PTRACE_SETREGS,
            child.as_raw(),
            none,
            &raw const registers,
        );
        libc::ptrace(libc::PTRACE_DETACH, child.as_raw(), none, none);
        call
    };
    let end = waitpid(child, None)?;
    ensure!(
        inside == [0x0f, 0x01, 0xd9],
        "it was stopped at {inside:x?}"
    );
    ensure!(
        matches!(end, WaitStatus::Exited(_, MOVED_STATUS)),
        "{end:?}"
    );
    running.vcpu().abandon()?;
    let words = running.words()?;
    ensure!(
        words[0] == adyton::convention::CONSOLE || words[0] == 0,
        "{words:?}"
    );
    Ok(())
}

/// Callers that are killed at any moment of a round trip: the next one finds the domain between two exits, and nothing done twice.
fn killed() -> Result<()> {
    const ROUNDS: u64 = 30;
    let mut running = run("echo", &[], Flags::CONFIDENTIAL)?;
    let first = running.words()?;
    ensure!(first == [PAYLOAD, 0, 0, 0, 0, 0], "{first:?}");
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let mut copy = running.vcpu().duplicate();
        let child = raw::start_copy(move || {
            let mut words = [PAYLOAD, 0, 0, 0, 0, 0];
            loop {
                match copy.answer(words, 0) {
                    Ok(Exit::Call(next)) => words = next,
                    _ => return 1,
                }
            }
        })?;
        std::thread::sleep(Duration::from_micros(3000 + 377 * round));
        kill(child, Signal::SIGKILL)?;
        let end = waitpid(child, None)?;
        ensure!(
            matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
            "{end:?}"
        );
        let sequence = running.domain().abandon(0)?;
        interrupted += u64::from(sequence > running.vcpu().sequence());
        running.vcpu().resume_after(sequence);
        let [kind, ..] = words(running.vcpu().answer([0, 7, 0, 0, 0, 0], 0)?)?;
        ensure!(kind == PAYLOAD, "round {round}");
        let [_, a, ..] = words(running.vcpu().answer([0, 7, 0, 0, 0, 0], 0)?)?;
        ensure!(a == 8, "round {round}: {a}");
    }
    ensure!(interrupted > ROUNDS / 2, "only {interrupted} had begun");
    Ok(())
}

static TICKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn tick(_: libc::c_int) {
    TICKS.fetch_add(1, Ordering::Relaxed);
}

/// Interrupts far more often than Linux' own tick (every `ADYTON_INTERVAL` microseconds), and a nest of eight to go back into each
/// time: the innermost gets on.
fn fast_timers() -> Result<()> {
    let asked = std::env::var("ADYTON_INTERVAL").ok();
    let interval = asked.and_then(|text| text.parse().ok()).unwrap_or(100);
    raw::stay_on(0)?;
    let mut running = nest(8, "spin", "confidential")?;
    raw::on_signal(Signal::SIGALRM, tick)?;
    raw::alarm_every(interval)?;
    let begin = Instant::now();
    let exit = running.vcpu().enter(0)?;
    raw::alarm_every(0)?;
    let (took, ticks) = (begin.elapsed(), TICKS.load(Ordering::Relaxed));
    println!("{ticks} ticks in {took:?}");
    let first = words(exit)?;
    ensure!(first[0] == PAYLOAD, "{first:?}");
    // Linux ticks every 4 ms; these come besides, each with a signal.
    ensure!(
        ticks as u128 > took.as_millis() / 4,
        "{ticks} ticks in {took:?} say little"
    );
    Ok(())
}

/// A domain that computes for long about what it was told is interrupted all the while: what it was told comes once, or the registers in
/// which it computes would be overwritten.
fn delivered_once() -> Result<()> {
    const SIZE: u64 = 4 << 20;
    const FILL: u64 = 8;
    const SUM: u64 = 7;
    const ENOUGH: u64 = 40;
    const MOST: u64 = 200;
    raw::stay_on(0)?;
    let mut running = agent_with(Flags::CONFIDENTIAL, |program| program.heap = SIZE)?;
    let (heap, pairs) = (running.loaded.plan.heap.base, SIZE / 16);
    raw::on_signal(Signal::SIGALRM, tick)?;
    raw::alarm_every(500)?;
    let ticks = || TICKS.load(Ordering::Relaxed);
    let outcome = (1..=MOST)
        .take_while(|_| ticks() < ENOUGH)
        .try_for_each(|round| {
            // Each pair is a word and its complement.
            running.ask([FILL, heap, pairs, round, 0, 0])?;
            let [sum, _] = running.ask([SUM, heap, SIZE / 8, 0, 0, 0])?;
            ensure!(sum == pairs.wrapping_neg(), "round {round}: {sum:#x}");
            Ok(())
        });
    raw::alarm_every(0)?;
    outcome?;
    ensure!(ticks() >= ENOUGH, "only {} interruptions", ticks());
    Ok(())
}

/// More vCPUs than a domain has places for.
fn exhausted_slots() -> Result<()> {
    const MOST: usize = 320;
    let pool = pool()?;
    let claim = pool.claim(pool.size() / 2)?;
    let domain = Domain::create(&claim, policy(Flags::NONE), 16 + 3 * MOST as u64)?;
    let mut vcpus = Vec::new();
    for _ in 0..MOST {
        vcpus.push(domain.add_vcpu(Entry::default())?);
    }
    crate::fixture::failed(
        domain.add_vcpu(Entry::default()).map(drop),
        Reason::Exhausted,
    )?;
    drop((vcpus, domain));
    audit()?;
    Ok(())
}

/// On a processor without random numbers there are no keys, and nothing that would need one.
fn exhausted_randomness() -> Result<()> {
    let pool = pool()?;
    let place = pool.environment();
    refused(calls::random(place), Reason::Exhausted)?;
    raw::store(place.base(), 0);
    refused(calls::claim(place, place.base(), ROOM), Reason::Exhausted)
}

/// A core does not answer while memory is given back: it is never used again, by anybody, and all else goes on.
fn quarantine() -> Result<()> {
    raw::stay_on(0)?;
    let patience = Monitor::ask()?
        .frequency
        .unwrap_or(1_000_000_000)
        .max(1 << 32)
        * 3;
    let claim = pool()?.claim(ROOM)?;
    let domain = Domain::create(&claim, policy(Flags::NONE), 16)?;
    let pages = claim.pages(PAGE_SIZE)?;
    pages.store(0, 0x5ec2);
    let region = domain.carve(Placement {
        from: pages.address(),
        size: PAGE_SIZE,
        place: 0x1000,
        attributes: READ_WRITE,
    })?;
    // It holds the other core in the monitor.
    let stalled = std::thread::spawn(move || -> Result<()> {
        raw::stay_on(1)?;
        selfcheck(Selfcheck::Stall, patience)?;
        Ok(())
    });
    std::thread::sleep(Duration::from_millis(100));
    let revoked = claim.revoke(region);
    stalled.join().expect("no panic")?;
    refused(revoked, Reason::Quarantined)?;
    attempt::skip_faulting_calls()?;
    let seen = attempt::try_load(pages.address());
    ensure!(seen.is_none(), "quarantined memory shows {seen:x?}");
    audit().context("after a quarantine")?;
    // Elsewhere all is as ever.
    let mut other = run("echo", &[], Flags::CONFIDENTIAL)?;
    other.words()?;
    std::mem::forget((pages, domain));
    Ok(())
}
