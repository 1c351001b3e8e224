//! What most tests begin with.

use std::fs;

use adyton::abi::call::{Call, Information};
use adyton::abi::error::Error as Reason;
use adyton::{
    Claim, Domain, Exit, Flags, Image, Linux, Loaded, Pool, Program, Refusal, Request, Vcpu, calls,
    convention,
};
use anyhow::{Context, Result, bail, ensure};

/// A claim that has room for a few domains.
pub const ROOM: u64 = 8 << 20;

/// Opens the pool.
pub fn pool() -> Result<Pool> {
    Ok(Pool::discover()?)
}

/// The ELF file of a payload.
pub fn payload(name: &str) -> Result<Vec<u8>> {
    let folder = std::env::var("ADYTON_PAYLOADS").unwrap_or_else(|_| "/payloads".into());
    fs::read(format!("{folder}/{name}")).with_context(|| format!("reading payload {name}"))
}

/// A domain of one payload in a claim of its own, with what keeps it alive.
pub struct Running {
    /// The domain and its vCPUs.
    pub loaded: Loaded,
    /// Its claim.
    pub claim: Claim,
    /// The pool.
    pub pool: Pool,
}

impl Running {
    /// The first vCPU.
    pub fn vcpu(&mut self) -> &mut Vcpu {
        &mut self.loaded.vcpus[0]
    }

    /// The domain.
    pub fn domain(&self) -> &Domain {
        &self.loaded.domain
    }

    /// Enters and gives back the words of the exit, which must be a call.
    pub fn words(&mut self) -> Result<[u64; 6]> {
        words(self.vcpu().enter(0)?)
    }

    /// Has the `agent` payload do one thing, and gives back the two words of its answer.
    pub fn ask(&mut self, request: [u64; 6]) -> Result<[u64; 2]> {
        ask(self.vcpu(), request)
    }
}

/// The words of an exit that must be a call.
pub fn words(exit: Exit) -> Result<[u64; 6]> {
    match exit {
        Exit::Call(words) => Ok(words),
        other => bail!("expected a call, got {other:?}"),
    }
}

/// Has the `agent` payload on `vcpu` do one thing.
pub fn ask(vcpu: &mut Vcpu, request: [u64; 6]) -> Result<[u64; 2]> {
    let [kind, first, second, ..] = words(vcpu.answer(request, 0)?)?;
    ensure!(kind == convention::PAYLOAD, "the agent left: {kind}");
    Ok([first, second])
}

/// Builds and seals `name` with `arguments`.
pub fn run(name: &str, arguments: &[&str], flags: Flags) -> Result<Running> {
    run_with(name, arguments, flags, |_| ())
}

/// Builds and seals `name`, after `change` has changed what it gets.
pub fn run_with(
    name: &str,
    arguments: &[&str],
    flags: Flags,
    change: impl FnOnce(&mut Program<'_>),
) -> Result<Running> {
    let running = build_with(name, arguments, flags, change)?;
    running.domain().seal()?;
    Ok(running)
}

/// Builds `name` and does not seal it.
pub fn build_with(
    name: &str,
    arguments: &[&str],
    flags: Flags,
    change: impl FnOnce(&mut Program<'_>),
) -> Result<Running> {
    let file = payload(name)?;
    let mut program = Program::new(Image::parse(&file)?, flags);
    program.arguments = arguments.to_vec();
    change(&mut program);
    let pool = pool()?;
    let claim = pool.claim(ROOM.max(program.claim_size() + (2 << 20)))?;
    let loaded = program.build(&claim)?;
    Ok(Running {
        loaded,
        claim,
        pool,
    })
}

/// Starts the agent: its first exit is over.
pub fn agent(flags: Flags) -> Result<Running> {
    agent_with(flags, |_| ())
}

/// Starts the agent after `change` has changed what it gets.
pub fn agent_with(flags: Flags, change: impl FnOnce(&mut Program<'_>)) -> Result<Running> {
    let mut running = run_with("agent", &[], flags, change)?;
    running.words()?;
    Ok(running)
}

/// Makes sure that a call was refused for `reason`.
pub fn refused<T>(outcome: Result<T, Refusal>, reason: Reason) -> Result<()> {
    match outcome {
        Ok(_) => bail!("expected {reason:?}, but the call succeeded"),
        Err(refusal) if refusal.is(reason) => Ok(()),
        Err(refusal) => bail!("expected {reason:?}, got: {refusal}"),
    }
}

/// Makes sure that composing was refused for `reason`.
pub fn failed<T>(outcome: Result<T, adyton::Failure>, reason: Reason) -> Result<()> {
    match outcome {
        Err(adyton::Failure::Refused(refusal)) => refused::<T>(Err(refusal), reason),
        Err(other) => bail!("expected {reason:?}, got: {other}"),
        Ok(_) => bail!("expected {reason:?}, but it succeeded"),
    }
}

/// What a monitor under test does when asked (`docs/calls.md`).
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Selfcheck {
    /// Looks at everything.
    Audit = 0,
    /// Panics.
    Panic = 1,
    /// Holds the core in the monitor for so many ticks.
    Stall = 2,
    /// Forgets flushes (1) or does them again (0).
    ForgetFlushes = 3,
    /// Calls itself until its stack is used up.
    UseUpStack = 4,
    /// Says how deep its stacks have been used.
    StackDepth = 5,
    /// Looks at the EPCM.
    AuditEnclaves = 6,
    /// Keeps a claim on a page of the EPC (its number and 1), or gives it back (0).
    HoldPage = 7,
}

/// The longest time that a call has held this core at one go since the boot, in ticks.
///
/// # Errors
/// What the monitor refuses.
pub fn longest_call() -> Result<u64> {
    const LONGEST_CALL: u64 = 9;
    let place = Linux::without_memory()?;
    Ok(calls::information(&place, Information::Counter, LONGEST_CALL)?[0])
}

/// Asks a monitor under test.
///
/// # Errors
/// `Invalid` if it was not.
pub fn selfcheck(what: Selfcheck, argument: u64) -> Result<[u64; 8]> {
    let place = Linux::without_memory()?;
    let arguments = [Information::Selfcheck as u64, what as u64, argument];
    Ok(calls::once(
        &place,
        Request::new(Call::Information, arguments),
    )?)
}

/// Prints how deep the monitor's stacks have been used since the boot.
///
/// # Errors
/// If less than a quarter is left of one.
pub fn stack_depth() -> Result<()> {
    let [boot, core, size, ..] = selfcheck(Selfcheck::StackDepth, 0)?;
    println!("of {size} bytes the boot has used {boot}, a core at most {core}");
    ensure!(boot > 0 && core > 0, "nothing was looked at");
    ensure!(
        boot.max(core) < size / 4 * 3,
        "a stack is nearly used up: {boot} and {core} of {size} bytes"
    );
    Ok(())
}

/// Has the monitor compare its records with each other and with all nested tables: how many pages were compared.
///
/// # Errors
/// What does not agree.
pub fn audit() -> Result<u64> {
    let [kind, detail, domains, pages, ..] = selfcheck(Selfcheck::Audit, 0)?;
    ensure!(
        kind == 0,
        "the audit of {domains} domains found {kind}: {detail:#x}"
    );
    ensure!(domains > 0 && pages > 0, "the audit saw nothing");
    Ok(pages)
}
