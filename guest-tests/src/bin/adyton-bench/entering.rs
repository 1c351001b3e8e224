//! What calls and entries cost, and building a small domain.

use std::arch::asm;

use adyton::abi::call::Information;
use adyton::{Domain, Flags, Image, Linux, Program, calls, policy};
use adyton_guest_tests::fixture::{ROOM, payload, pool, run, run_with};
use adyton_guest_tests::nesting::nest;
use anyhow::{Result, ensure};

use crate::meter::{now, report_instructions as report, report_longest_call};

/// Enough for the caches of the emulator and the first faults to be over.
pub const ROUNDS: u32 = 200;

/// Brings the caller's own vector registers into use, upper halves included.
#[allow(unsafe_code)]
fn use_vectors() {
    // SAFETY: changes one register, which is declared; the measured CPUs have AVX2.
    unsafe { asm!("vpcmpeqb ymm15, ymm15, ymm15", out("ymm15") _, options(nomem, nostack)) };
}

/// Fewest ticks of `action` over many rounds, without those of looking at the clock.
pub fn fewest(mut action: impl FnMut()) -> u64 {
    let time = |action: &mut dyn FnMut()| {
        let before = now();
        action();
        now() - before
    };
    let empty = (0..ROUNDS).map(|_| time(&mut || ())).min().unwrap_or(0);
    let full = (0..ROUNDS).map(|_| time(&mut action)).min().unwrap_or(0);
    full.saturating_sub(empty)
}

/// Round trips, bare calls, and a small domain from its making to its end.
pub fn domains() -> Result<()> {
    let place = Linux::without_memory()?;
    report(
        "null-call",
        fewest(|| {
            let _facts = calls::information(&place, Information::Version, 0);
        }),
    );
    report(
        "random-call",
        fewest(|| {
            let _words = calls::random(&place);
        }),
    );
    for (name, argument, flags) in [
        ("enter", "plain", Flags::CONFIDENTIAL),
        ("enter-sandbox", "plain", Flags::NONE),
        ("enter-with-vectors", "vector", Flags::CONFIDENTIAL),
    ] {
        report(name, round_trip(argument, flags)?);
    }
    for depth in 2..=8 {
        let mut running = nest(depth, "bench", "confidential")?;
        let [_, ticks, ..] = running.words()?;
        report(&format!("enter-at-depth-{depth}"), ticks);
    }
    building()?;
    large()?;
    report_longest_call()
}

/// From user mode of domain 0 into the domain and back, through the SDK's own way.
fn round_trip(argument: &str, flags: Flags) -> Result<u64> {
    let mut running = run("echo", &[argument], flags)?;
    running.words()?;
    let vcpu = running.vcpu();
    let mut refused = 0;
    let mut enter = || refused |= vcpu.enter_raw(0).status;
    let ticks = if argument == "vector" {
        fewest(|| {
            use_vectors();
            enter();
        })
    } else {
        fewest(enter)
    };
    ensure!(refused == 0, "an entry was refused");
    Ok(ticks)
}

/// A domain whose memory takes many slices to map, to hash and to zero: what the longest call is looked for in.
fn large() -> Result<()> {
    const HEAP: u64 = 24 << 20;
    let mut running = run_with("agent", &[], Flags::CONFIDENTIAL, |program| {
        program.heap = HEAP
    })?;
    running.words()?;
    Ok(())
}

/// What it takes to make a small domain and to take it back, all calls together.
fn building() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let create = fewest(|| drop(Domain::create(&claim, policy(Flags::CONFIDENTIAL), 32)));
    report("create-and-destroy", create);
    let file = payload("hello")?;
    let program = Program::new(Image::parse(&file)?, Flags::CONFIDENTIAL);
    let whole = fewest(|| {
        if let Ok(loaded) = program.build(&claim) {
            let _sealed = loaded.domain.seal();
        }
    });
    report("build-seal-and-destroy", whole);
    Ok(())
}
