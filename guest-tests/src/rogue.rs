//! Domains that misbehave: what they must not do raises an exception inside, and whatever they do ends at most themselves.

use std::time::{Duration, Instant};

use adyton::convention::{FINISHED, PAYLOAD};
use adyton::{Exit, Flags, Monitor};
use anyhow::{Result, ensure};

use crate::fixture::{agent, run};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("rogue-instructions", instructions),
    ("rogue-tables", bad_tables),
    ("rogue-storm", storm),
    ("rogue-loop", endless_loop),
];

const DEBUG: u64 = 1;
const UNDEFINED: u64 = 6;
const PROTECTION: u64 = 13;
const NOTHING: u64 = 0xff;

/// What each attempt of the payload must raise, in its order.
const EXPECTED: [u64; 38] = [
    // VMRUN and its family, and a call that is no call of ours.
    UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED,
    // Control registers, CLTS, LMSW.
    PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION, // Debug registers.
    PROTECTION, PROTECTION, PROTECTION, // RDPMC, MONITOR, MWAIT.
    UNDEFINED, UNDEFINED, UNDEFINED, // INVD, WBINVD, RSM.
    PROTECTION, PROTECTION, PROTECTION, // Ports.
    PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION,
    // MSRs: EFER, HSAVE_PA, VM_CR, x2APIC's ICR, TSC, DEBUGCTL.
    PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION, PROTECTION,
    // XCR0 with what it does not have, and without x87.
    PROTECTION, PROTECTION, // Its own single step.
    DEBUG,      // The controls.
    NOTHING, NOTHING,
];

fn instructions() -> Result<()> {
    let mut running = run("rogue", &["instructions"], Flags::CONFIDENTIAL)?;
    let mut found = Vec::new();
    loop {
        match running.vcpu().enter(0)? {
            Exit::Call([PAYLOAD, number, vector, ..]) => {
                ensure!(number as usize == found.len(), "attempt {number}");
                found.push(vector);
            }
            Exit::Call([FINISHED, ..]) => break,
            other => anyhow::bail!("attempt {}: {other:?}", found.len()),
        }
    }
    for (number, (found, expected)) in found.iter().zip(EXPECTED).enumerate() {
        // RSM and some others are undefined to an emulator before they are anybody's to intercept.
        let same = *found == expected || (expected == PROTECTION && *found == UNDEFINED);
        ensure!(same, "attempt {number} raised {found}, not {expected}");
    }
    ensure!(found.len() == EXPECTED.len(), "{} attempts", found.len());
    Ok(())
}

/// Whatever its page tables are, the domain comes back, and another one is as it was.
fn bad_tables() -> Result<()> {
    let mut other = agent(Flags::CONFIDENTIAL)?;
    for kind in ["code", "outside", "monitor", "zero"] {
        for flags in [Flags::NONE, Flags::CONFIDENTIAL] {
            let mut running = run("rogue", &["tables", kind], flags)?;
            let limit = Monitor::ask()?.frequency.unwrap_or(1_000_000_000);
            let exit = running.vcpu().enter(limit)?;
            let expected = matches!(
                exit,
                Exit::Memory { .. } | Exit::Shutdown | Exit::Exception { .. } | Exit::Budget
            );
            ensure!(expected, "{kind}: {exit:?}");
        }
    }
    ensure!(other.ask([6, 0, 0, 0, 0, 0])?[0] > 0);
    Ok(())
}

fn storm() -> Result<()> {
    let mut running = run("rogue", &["storm"], Flags::CONFIDENTIAL)?;
    let limit = Monitor::ask()?.frequency.unwrap_or(1_000_000_000);
    let exit = running.vcpu().enter(limit)?;
    let expected = matches!(exit, Exit::Shutdown | Exit::Memory { .. });
    ensure!(expected, "{exit:?}");
    Ok(())
}

/// Interrupts off and an endless loop: the owner's limit ends it, and others on the core run meanwhile.
fn endless_loop() -> Result<()> {
    raw::stay_on(0)?;
    let mut running = run("spin", &["0"], Flags::CONFIDENTIAL)?;
    let limit = Monitor::ask()?.frequency.unwrap_or(1_000_000_000) / 5;
    let (exit, slept) = std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            let begin = Instant::now();
            std::thread::sleep(Duration::from_millis(20));
            begin.elapsed()
        });
        let exit = running.vcpu().enter(limit);
        (exit, sleeper.join().expect("no panic"))
    });
    ensure!(exit? == Exit::Budget);
    ensure!(slept < Duration::from_secs(1), "20 ms took {slept:?}");
    Ok(())
}
