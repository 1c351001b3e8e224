//! Measurements that the monitor takes are those that the same inputs give without a monitor.

use adyton::convention::PAYLOAD;
use adyton::{Flags, Image, Program};
use anyhow::{Context, Result, ensure};

use crate::fixture::{Running, payload, run_with};
use crate::nesting::nest;

pub(crate) const TESTS: &[crate::Test] = &[
    ("measured-beforehand", measured_beforehand),
    ("nested-measured-beforehand", nested_measured_beforehand),
];

/// The measurement of a domain, as the monitor says it.
fn measured(running: &Running, id: u64) -> Result<[u8; 32]> {
    let place = running.pool.environment();
    let digest = adyton::listing::measurement(place, running.claim.address(), id)?;
    digest.context("a measurement")
}

fn measured_beforehand() -> Result<()> {
    type Change = fn(&mut Program<'_>);
    let cases: [(Flags, Change); 6] = [
        (Flags::CONFIDENTIAL, |_| ()),
        (Flags::NONE, |_| ()),
        (Flags::CONFIDENTIAL | Flags::DEBUG, |program| {
            program.vcpus = 2
        }),
        (Flags::CONFIDENTIAL | Flags::MAY_COMPOSE, |program| {
            program.pool = 3 << 20
        }),
        (Flags::CONFIDENTIAL, |program| program.heap = 5 << 20),
        (Flags::CONFIDENTIAL | Flags::MAY_ATTEST, |program| {
            program.windows[2] = 8192;
            program.read_only[2] = true;
            program.arguments.push("another argument");
        }),
    ];
    let mut seen = Vec::new();
    for (number, (flags, change)) in cases.into_iter().enumerate() {
        let mut expected = None;
        let running = run_with("hello", &["one"], flags, |program| {
            change(program);
            expected = adyton::measurement(program).ok();
        })?;
        let found = measured(&running, running.domain().id())?;
        ensure!(
            Some(found) == expected,
            "case {number}: {found:x?}, expected {expected:x?}"
        );
        ensure!(!seen.contains(&found), "case {number} measures as another");
        seen.push(found);
    }
    Ok(())
}

/// What `nest` builds in its pool, known from how it builds it.
fn nested_measured_beforehand() -> Result<()> {
    let file = payload("nest")?;
    let mut running = nest(3, "pass", "confidential")?;
    ensure!(running.words()?[0] == PAYLOAD);
    let mut id = running.domain().id();
    for (below, heap, pool) in [("1", 1 << 20, 3 << 20), ("0", 0, 0)] {
        let flags = Flags::CONFIDENTIAL | Flags::MAY_COMPOSE;
        let mut program = Program::new(Image::parse(&file)?, flags);
        program.arguments = vec![below, "pass", "confidential"];
        program.windows[1] = (file.len() as u64 + 8).next_multiple_of(4096);
        program.read_only[1] = true;
        (program.heap, program.pool) = (heap, pool);
        let place = running.pool.environment();
        let children = adyton::listing::children(place, running.claim.address(), id)?;
        id = children.first().context("a child")?.id;
        let (found, expected) = (measured(&running, id)?, adyton::measurement(&program)?);
        ensure!(
            found == expected,
            "level {below}: {found:x?}, expected {expected:x?}"
        );
    }
    Ok(())
}
