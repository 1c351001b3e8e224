//! Domains in domains.

use adyton::convention::PAYLOAD;
use adyton::{Console, Flags};
use anyhow::{Context, Result, ensure};

use crate::fixture::{Running, payload, run_with, words};

pub(crate) const TESTS: &[crate::Test] = &[
    ("depth-2", || deep(2, "confidential")),
    ("depth-8-confidential", || deep(8, "confidential")),
    ("depth-8-sandbox", || deep(8, "sandbox")),
    ("branch-is-taken-back", branch_is_taken_back),
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
