//! Domains in domains.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adyton::convention::PAYLOAD;
use adyton::{Console, Exit, Flags};
use anyhow::{Context, Result, ensure};

use crate::fixture::{Running, payload, run_with, words};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("depth-2", || deep(2, "confidential")),
    ("depth-8-confidential", || deep(8, "confidential")),
    ("depth-8-sandbox", || deep(8, "sandbox")),
    ("branch-is-taken-back", branch_is_taken_back),
    ("descendants-are-listed", descendants_are_listed),
    ("deep-interruptions", deep_interruptions),
    ("deep-budget", deep_budget),
    ("inner-budget", inner_budget),
];

/// Window with the program's own file.
const FILE: usize = 1;

/// Starts `nest` with `depth` levels in all; the outermost is the first.
pub fn nest(depth: u64, mode: &str, kind: &str) -> Result<Running> {
    let file = payload("nest")?;
    let below = (depth - 1).to_string();
    let flags = Flags::CONFIDENTIAL | Flags::MAY_COMPOSE;
    let running = run_with("nest", &[&below, mode, kind], flags, |program| {
        program.windows[FILE] = (file.len() as u64 + 8).next_multiple_of(4096);
        if depth > 1 {
            program.heap = 1 << 20;
            program.pool = (depth - 1) * (3 << 20);
        }
    })?;
    let window = running.loaded.window(FILE).context("a window")?;
    window.store(0, file.len() as u64);
    window.write(8, &file);
    Ok(running)
}

/// What the levels had to say about their troubles.
fn complaints(running: &Running) -> String {
    let said = Console::of(&running.loaded).map(|mut console| console.take());
    String::from_utf8_lossy(&said.unwrap_or_default()).into_owned()
}

fn deep(depth: u64, kind: &str) -> Result<()> {
    let mut running = nest(depth, "pass", kind)?;
    let first = running.words()?;
    ensure!(first[0] == PAYLOAD, "{first:?}: {}", complaints(&running));
    for round in 0..20 {
        let words = words(running.vcpu().answer([0, round, 1, 2, 3, 4], 0)?)?;
        ensure!(
            words == [PAYLOAD, round + 1, 1, 2, 3, 4],
            "round {round}: {words:?}"
        );
    }
    Ok(())
}

/// Whoever has the pool mapped sees the whole composition, without the key and without contents.
fn descendants_are_listed() -> Result<()> {
    let mut running = nest(4, "pass", "confidential")?;
    let first = running.words()?;
    ensure!(first[0] == PAYLOAD, "{first:?}: {}", complaints(&running));
    let (place, address) = (running.pool.environment(), running.claim.address());
    let mut id = running.domain().id();
    for depth in 1..4 {
        let children = adyton::listing::children(place, address, id)?;
        ensure!(children.len() == 1, "depth {depth}: {children:?}");
        id = children[0].id;
        let measured = adyton::listing::measurement(place, address, id)?;
        ensure!(measured.is_some(), "depth {depth}: not measured");
        let regions = adyton::listing::regions(place, address, id)?;
        ensure!(!regions.is_empty(), "depth {depth}: no regions");
    }
    ensure!(adyton::listing::children(place, address, id)?.is_empty());
    Ok(())
}

/// The innermost computes while a fast timer interrupts: it gets on, and so do others.
fn deep_interruptions() -> Result<()> {
    raw::stay_on(0)?;
    let mut running = nest(4, "spin", "confidential")?;
    let done = AtomicBool::new(false);
    let (exit, ticks, took) = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut ticks = 0_u64;
            while !done.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(2));
                ticks += 1;
            }
            ticks
        });
        let before = Instant::now();
        let exit = running.vcpu().enter(0);
        let took = before.elapsed();
        done.store(true, Ordering::Release);
        anyhow::Ok((exit?, others.join().expect("no panic"), took))
    })?;
    let first = words(exit)?;
    ensure!(first[0] == PAYLOAD, "{first:?}: {}", complaints(&running));
    let expected = took.as_millis() as u64 / 2 / 8;
    ensure!(
        ticks >= expected,
        "{ticks} ticks in {took:?}: others starve"
    );
    Ok(())
}

/// The outermost entry's limit ends the innermost's run, and nothing is lost by it.
fn deep_budget() -> Result<()> {
    let mut running = nest(3, "spin", "confidential")?;
    let limit = adyton::Monitor::ask()?.frequency.unwrap_or(1_000_000_000) / 20;
    let mut budgets = 0;
    loop {
        match running.vcpu().enter(limit)? {
            Exit::Budget => budgets += 1,
            exit => {
                let words = words(exit)?;
                ensure!(words[0] == PAYLOAD, "{words:?}: {}", complaints(&running));
                ensure!(budgets > 0, "never out of budget");
                return Ok(());
            }
        }
        ensure!(budgets < 1000, "the innermost does not get on");
    }
}

/// A limit that a domain sets for its child ends the child's run, and nobody else's.
fn inner_budget() -> Result<()> {
    let mut running = nest(4, "limit", "confidential")?;
    let second = adyton::Monitor::ask()?.frequency.unwrap_or(1_000_000_000);
    let exit = running.vcpu().enter(60 * second)?;
    let words = words(exit)?;
    ensure!(
        words[..2] == [PAYLOAD, 1],
        "{words:?}: {}",
        complaints(&running)
    );
    Ok(())
}

/// Destroying the outermost takes all: its claim is as free as before.
fn branch_is_taken_back() -> Result<()> {
    let mut running = nest(4, "pass", "confidential")?;
    let first = running.words()?;
    ensure!(first[0] == PAYLOAD, "{first:?}: {}", complaints(&running));
    let address = running.claim.address();
    running.domain().destroy()?;
    let left = adyton::listing::domains(running.pool.environment(), address)?;
    ensure!(left.is_empty(), "{left:?}");
    let claims = running.pool.claims()?;
    let ours = claims.iter().find(|claim| claim.record.address == address);
    let used = ours.context("the claim")?.record.used;
    let Running { loaded, claim, .. } = running;
    drop(loaded);
    ensure!(
        claim.available() == claim.size() - 4096,
        "pages are missing"
    );
    ensure!(used <= 4, "{used} pages of monitor memory are still in use");
    Ok(())
}
