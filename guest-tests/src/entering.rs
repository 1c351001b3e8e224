//! Entering and leaving: sequence numbers, tokens, budgets, cores, interruptions.

mod mapping;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::abi::error::Error as Reason;
use adyton::{Console, Exit, Flags, Outcome, Vcpu};
use anyhow::{Context, Result, ensure};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};

use crate::fixture::{refused, run, run_with, words};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("hello", hello),
    ("echo", echo),
    ("sequence", sequence),
    ("busy", busy),
    ("abandon", abandon),
    ("budget", budget),
    ("restart", restart),
    ("control-c", control_c),
    ("signal-handler-enters", signal_handler_enters),
    ("vector-state", vector_state),
    ("wrong-core", wrong_core),
    ("two-cores", two_cores),
    ("destroy-while-running", destroy_while_running),
    (
        "mapping-counts-each-time",
        mapping::mapping_counts_each_time,
    ),
];

fn hello() -> Result<()> {
    for flags in [
        Flags::NONE,
        Flags::CONFIDENTIAL,
        Flags::CONFIDENTIAL | Flags::DEBUG,
    ] {
        let mut running = run("hello", &["one", "two words"], flags)?;
        let mut console = Console::of(&running.loaded).context("a console")?;
        let input = vec![b'x'; 30_000];
        let mut output = Vec::new();
        let outcome = console.run(running.vcpu(), 0, &mut input.as_slice(), &mut output)?;
        ensure!(outcome == Outcome::Finished(0), "{outcome:?}");
        let text = String::from_utf8(output)?;
        ensure!(
            text.starts_with("Hello from inside a security domain.\n"),
            "{text:.80}"
        );
        ensure!(
            text.contains("argument: one\nargument: two words\n"),
            "{text:.80}"
        );
        ensure!(
            text.ends_with(&"x".repeat(30_000)),
            "input came back otherwise"
        );
    }
    Ok(())
}

fn echo() -> Result<()> {
    let mut running = run("echo", &[], Flags::CONFIDENTIAL)?;
    running.words()?;
    for round in 0..1000 {
        let sent = [0, round, u64::MAX, 3 << 60, 4, 5];
        let [_, rest @ ..] = words(running.vcpu().answer(sent, 0)?)?;
        ensure!(
            rest == [round + 1, 0, (3 << 60) + 1, 5, 6],
            "round {round}: {rest:x?}"
        );
    }
    Ok(())
}

/// An entry that does not answer the last exit changes nothing.
fn sequence() -> Result<()> {
    let mut running = run("echo", &[], Flags::CONFIDENTIAL)?;
    running.vcpu().resume_after(7);
    refused(running.vcpu().enter(0), Reason::Stale)?;
    running.vcpu().resume_after(0);
    running.words()?;
    let mut late = running.vcpu().duplicate();
    running.vcpu().answer([0, 1, 0, 0, 0, 0], 0)?;
    refused(late.answer([0, 100, 0, 0, 0, 0], 0), Reason::Stale)?;
    ensure!(late.reported_sequence() == running.vcpu().sequence());
    let words = words(running.vcpu().answer([0, 5, 0, 0, 0, 0], 0)?)?;
    ensure!(words[1] == 6, "{words:?}");
    Ok(())
}

/// While one thread's entry is unfinished, another's is refused.
fn busy() -> Result<()> {
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let mut other = running.vcpu().duplicate();
    std::thread::scope(|scope| {
        let domain = &running.loaded.domain;
        let vcpu = &mut running.loaded.vcpus[0];
        let first = scope.spawn(move || vcpu.enter(0));
        std::thread::sleep(Duration::from_millis(200));
        let second = other.enter(0);
        domain.destroy()?;
        let ended = first.join().expect("no panic");
        ensure!(ended.is_err(), "the destroyed domain exited with {ended:?}");
        refused(second, Reason::Busy)
    })
}

fn milliseconds(count: u64) -> Result<u64> {
    let frequency = adyton::Monitor::ask()?.frequency;
    Ok(frequency.unwrap_or(1_000_000_000) / 1000 * count)
}

/// An entry whose caller died holds nobody up once it is abandoned, and loses nothing.
fn abandon() -> Result<()> {
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let mut copy = running.vcpu().duplicate();
    let child = raw::start_copy(move || i32::from(copy.enter(0).is_ok()))?;
    std::thread::sleep(Duration::from_millis(200));
    kill(child, Signal::SIGKILL)?;
    waitpid(child, None)?;
    refused(running.vcpu().enter(0), Reason::Busy)?;
    running.vcpu().abandon()?;
    let limit = milliseconds(20)?;
    let exit = running.vcpu().enter(limit)?;
    ensure!(exit == Exit::Budget, "{exit:?}");
    Ok(())
}

fn budget() -> Result<()> {
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let limit = milliseconds(50)?;
    for _ in 0..3 {
        let before = Instant::now();
        let exit = running.vcpu().enter(limit)?;
        let took = before.elapsed();
        ensure!(exit == Exit::Budget, "{exit:?}");
        let bounds = Duration::from_millis(25)..Duration::from_millis(2000);
        ensure!(bounds.contains(&took), "a budget of 50 ms took {took:?}");
    }
    Ok(())
}

/// A child that computes for long does not keep others from running on the same core.
fn restart() -> Result<()> {
    raw::stay_on(0)?;
    let mut running = run("spin", &["300"], Flags::CONFIDENTIAL)?;
    let done = AtomicBool::new(false);
    let ticks = AtomicU64::new(0);
    let took = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(10));
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let before = Instant::now();
        let exit = running.vcpu().enter(0);
        done.store(true, Ordering::Release);
        let took = before.elapsed();
        exit.map(|exit| (exit, took))
    });
    let (exit, took) = took?;
    ensure!(words(exit)?[0] == adyton::convention::FINISHED, "{exit:?}");
    let expected = took.as_millis() as u64 / 10 / 4;
    let ticks = ticks.into_inner();
    ensure!(
        ticks >= expected,
        "{ticks} ticks in {took:?}: others starve"
    );
    ensure!(
        took > Duration::from_millis(100),
        "too short to say anything: {took:?}"
    );
    Ok(())
}

fn control_c() -> Result<()> {
    let mut running = run("spin", &["0"], Flags::NONE)?;
    let mut copy = running.vcpu().duplicate();
    let child = raw::start_copy(move || i32::from(copy.enter(0).is_ok()))?;
    std::thread::sleep(Duration::from_millis(200));
    kill(child, Signal::SIGINT)?;
    let end = waitpid(child, None)?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGINT, _)),
        "{end:?}"
    );
    running.vcpu().abandon()?;
    Ok(())
}

/// The second handle, for the signal handler.
static SECOND: Mutex<Option<Vcpu>> = Mutex::new(None);
/// What the handler's entry returned: 0 nothing yet, 1 success, else 100 + the code.
static HANDLER_GOT: AtomicU64 = AtomicU64::new(0);

extern "C" fn enter_again(_: libc::c_int) {
    if let Ok(mut second) = SECOND.try_lock()
        && let Some(vcpu) = second.as_mut()
    {
        let got = vcpu
            .enter(0)
            .map_or_else(|refusal| 100 + refusal.code, |_| 1);
        HANDLER_GOT.store(got, Ordering::Release);
    }
}

/// A handler that enters the vCPU whose entry it interrupted is refused, and the entry goes on.
fn signal_handler_enters() -> Result<()> {
    let mut running = run("spin", &["300"], Flags::CONFIDENTIAL)?;
    *SECOND.lock().expect("not poisoned") = Some(running.vcpu().duplicate());
    raw::on_signal(Signal::SIGALRM, enter_again)?;
    raw::alarm(30_000)?;
    let words = running.words()?;
    SECOND.lock().expect("not poisoned").take();
    ensure!(words[0] == adyton::convention::FINISHED, "{words:?}");
    let got = HANDLER_GOT.load(Ordering::Acquire);
    let expected = [Reason::Busy, Reason::Stale].map(|reason| 100 + reason as u64);
    ensure!(
        expected.contains(&got),
        "the handler's entry returned {got}"
    );
    Ok(())
}

fn vector_state() -> Result<()> {
    let mut running = run("echo", &["vector"], Flags::CONFIDENTIAL)?;
    running.words()?;
    for round in 0..100 {
        running.vcpu().reply([0, round, 0, 0, 0, 0]);
        let kept = raw::keeps_vectors(|| running.vcpu().enter(0));
        let (exit, kept) = kept;
        let words = words(exit?)?;
        ensure!(
            words[5] == 3 * (round + 1),
            "round {round}: the domain's registers changed: {words:?}"
        );
        ensure!(kept, "round {round}: the caller's registers changed");
    }
    Ok(())
}

fn wrong_core() -> Result<()> {
    let mut running = run_with("echo", &[], Flags::CONFIDENTIAL, |program| {
        program.cores = Some((1, 1));
    })?;
    raw::stay_on(0)?;
    refused(running.vcpu().enter(0), Reason::WrongCore)?;
    raw::stay_on(1)?;
    running.words()?;
    raw::stay_on(0)?;
    refused(running.vcpu().enter(0), Reason::WrongCore)
}

/// Two vCPUs that wait for each other, which takes that they run at once.
fn two_cores() -> Result<()> {
    let running = run_with("smp", &[], Flags::CONFIDENTIAL, |program| program.vcpus = 2)?;
    let mut vcpus = running.loaded.vcpus;
    ensure!(vcpus.len() == 2);
    let exits: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = vcpus
            .iter_mut()
            .map(|vcpu| scope.spawn(move || vcpu.enter(0)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    for exit in exits {
        let words = words(exit?)?;
        ensure!(words[0] == adyton::convention::FINISHED, "{words:?}");
    }
    Ok(())
}

fn destroy_while_running() -> Result<()> {
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let took = std::thread::scope(|scope| {
        let domain = &running.loaded.domain;
        let vcpu = &mut running.loaded.vcpus[0];
        let runner = scope.spawn(move || vcpu.enter(0));
        std::thread::sleep(Duration::from_millis(200));
        let before = Instant::now();
        domain.destroy()?;
        let took = before.elapsed();
        let refusal = runner.join().expect("no panic").expect_err("destroyed");
        let expected = refusal.is(Reason::Dead) || refusal.is(Reason::NotFound);
        ensure!(expected, "{refusal}");
        anyhow::Ok(took)
    })?;
    ensure!(took < Duration::from_secs(2), "destroying took {took:?}");
    Ok(())
}
