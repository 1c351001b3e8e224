//! Instruction counts of calls and entries, by the time-stamp counter.
//!
//! Under `-icount shift=0` one tick is one instruction, the monitor's included. Prints `ADYTON-BENCH name value unit`.

#[path = "../fixture.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod fixture;

use adyton::abi::call::Information;
use adyton::compose::calls::information;
use adyton::{Flags, Linux};
use anyhow::{Result, ensure};

const WARM_UP: u64 = 16;
const ROUNDS: u64 = 256;

fn main() -> Result<()> {
    nothing()?;
    call()?;
    round_trip("enter", "echo", &[], Flags::CONFIDENTIAL)?;
    round_trip("enter-vector", "echo", &["vector"], Flags::CONFIDENTIAL)?;
    round_trip("enter-sandbox", "echo", &[], Flags::NONE)?;
    Ok(())
}

/// What the counter itself costs is in every figure; this prints it.
fn nothing() -> Result<()> {
    report("counter", || Ok(()))
}

/// The shortest call: into the monitor and back.
fn call() -> Result<()> {
    let place = Linux::without_memory()?;
    report("call", || {
        information(&place, Information::Version, 0)?;
        Ok(())
    })
}

/// From user mode of domain 0 into a domain and back, by the SDK's `enter`.
fn round_trip(name: &str, payload: &str, arguments: &[&str], flags: Flags) -> Result<()> {
    let mut running = fixture::run(payload, arguments, flags)?;
    let vcpu = running.vcpu();
    report(name, || {
        let response = vcpu.enter_raw(0);
        ensure!(response.status == 0, "status {}", response.status);
        Ok(())
    })
}

/// The least of many: what an interrupt adds is not the subject.
fn report(name: &str, mut work: impl FnMut() -> Result<()>) -> Result<()> {
    for _ in 0..WARM_UP {
        work()?;
    }
    let mut least = u64::MAX;
    for _ in 0..ROUNDS {
        let before = ticks();
        work()?;
        least = least.min(ticks() - before);
    }
    println!("ADYTON-BENCH {name} {least} instructions");
    Ok(())
}

/// The time-stamp counter.
fn ticks() -> u64 {
    // SAFETY: reading the counter has no effect; every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
