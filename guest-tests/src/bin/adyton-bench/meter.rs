//! What is measured with: the time stamp, the monitor's counters, and calls whose caller does nothing else.

use std::arch::x86_64::_rdtsc;

use adyton::abi::call::{Call, Information};
use adyton::{Claim, Environment, Flags, Linux, Request, calls, policy};
use adyton_guest_tests::fixture::longest_call;
use anyhow::Result;

/// Counter of flushes of a domain's translations.
const FLUSHES: u64 = 10;
/// Counter of pages of monitor memory in use.
const RESERVE_IN_USE: u64 = 16;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Prints a measured value for `cargo xtask bench`.
pub fn report(name: &str, value: u64, unit: &str) {
    println!("ADYTON-BENCH {name} {value} {unit}");
}

/// Prints a number of instructions.
pub fn report_instructions(name: &str, ticks: u64) {
    report(name, ticks, "instructions");
}

/// TSC ticks: instructions under `-icount shift=0`.
#[allow(unsafe_code)]
pub fn now() -> u64 {
    // SAFETY: reading the time stamp has no effect.
    unsafe { _rdtsc() }
}

/// What lies in the middle of several values.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// A counter of the monitor's on this core.
pub fn counter(place: &Linux, selector: u64) -> Result<u64> {
    Ok(calls::information(place, Information::Counter, selector)?[0])
}

/// Flushes of translations so far.
pub fn flushes(place: &Linux) -> Result<u64> {
    counter(place, FLUSHES)
}

/// Bytes of monitor memory in use.
pub fn reserve_in_use(place: &Linux) -> Result<u64> {
    Ok(counter(place, RESERVE_IN_USE)? * PAGE)
}

/// Prints the longest time that a call has held the core at one go since the boot.
pub fn report_longest_call() -> Result<()> {
    let longest = longest_call()?;
    report_instructions("longest-call", longest);
    Ok(())
}

/// A claim whose pages are used by their distance from its first byte, and calls about it, each timed.
pub struct Meter {
    /// The claim; dropping the meter releases it with all that was made in it.
    pub claim: Claim,
    token: u64,
}

impl Meter {
    /// Times calls about `claim`.
    pub fn new(claim: Claim) -> Self {
        Self { claim, token: 0 }
    }

    /// Where calls are made.
    pub fn place(&self) -> &Linux {
        self.claim.environment()
    }

    /// Virtual address of the byte at `offset` in the claim.
    pub fn address(&self, offset: u64) -> u64 {
        self.claim.address() + offset
    }

    /// Makes a call that names the page at `offset`: how long it took, from the instruction to the one behind it, and its
    /// first result.
    pub fn call(&mut self, call: Call, offset: u64, rest: [u64; 5]) -> Result<(u64, u64)> {
        self.token += 1;
        let [low, high] = self.claim.name().key.0;
        let [a, b, c, d, e] = rest;
        let arguments = [self.address(offset), low, high, a, b, c, d, e];
        let request = Request::new(call, arguments).with_token(self.token);
        let begin = now();
        let response = self.place().call(&request);
        let ticks = now() - begin;
        Ok((ticks, request.outcome(response)?[0]))
    }

    /// Creates a confidential domain with one vCPU and all cores: its control page at `offset`, its exit page behind that.
    /// How long the three calls took.
    pub fn create(&mut self, offset: u64, quota: u64) -> Result<u64> {
        self.create_with(offset, quota, Flags::CONFIDENTIAL)
    }

    /// As [`Self::create`], with other flags.
    pub fn create_with(&mut self, offset: u64, quota: u64, flags: Flags) -> Result<u64> {
        let policy = policy(flags);
        let words = [flags.word(), policy.exceptions.into(), quota, 0, 0];
        let exit_page = self.address(offset + PAGE);
        let (create, _) = self.call(Call::Create, offset, words)?;
        let (vcpu, _) = self.call(Call::Vcpu, offset, [exit_page, ENTRY, ENTRY, 0, 0])?;
        let (cores, _) = self.call(Call::Cores, offset, [0; 5])?;
        Ok(create + vcpu + cores)
    }
}

/// Where domains that are never entered would begin, and where their memory is.
pub const ENTRY: u64 = 4 << 20;
