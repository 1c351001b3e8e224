//! What domains ask of the monitor: from the calling instruction to the engine and back.
//!
//! `enter` goes its own way, without a lock ([`crate::domain::enter`]). Every other call is decoded here, at the edge, once;
//! names become identities ([`naming`]); the engine decides; what it decides is carried out in slices ([`operation`]).
//! Calls by subject: [`attest`], [`claims`], [`counters`], [`devices`], [`domains`], [`enclaves`], [`enrol`], [`keys`], [`regions`], [`whole`], [`look`].
//!
//! What must hold: a call that returns [`Refusal::Again`] has changed none of the caller's registers, and executing it
//! again continues it.

mod attest;
mod claims;
mod counters;
mod devices;
mod domains;
mod enclaves;
mod enrol;
mod errand;
mod keys;
mod look;
mod naming;
mod operation;
mod regions;
mod whole;

use adyton_abi::call::{CALL_BASE, Call};
use adyton_abi::error::{Error, SUCCESS};
use adyton_abi::exit::ExitKind;

use crate::cores::Core;
use crate::domain::name::{CALL_LENGTH, Refusal, complete};
use crate::domain::{enter, exits};
use crate::instructions::time_stamp;
use crate::vcpu::{Owner, Register, Vcpu};
use crate::vendor::Exit;

/// The registers of arguments and results, by number.
const ARGUMENTS: [Register; 8] = [
    Register::Rdi,
    Register::Rsi,
    Register::Rdx,
    Register::Rcx,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];

/// What a call returns besides its status: results in order, as many as it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    words: [u64; 8],
    count: usize,
}

impl Results {
    /// These results.
    pub(crate) fn of(words: &[u64]) -> Self {
        let mut results = Self::default();
        for (place, word) in results.words.iter_mut().zip(words) {
            *place = *word;
        }
        results.count = words.len().min(8);
        results
    }
}

/// A call as it is carried out: who calls on which core, and the arguments, read once.
pub(crate) struct Request<'a> {
    core: &'static Core,
    caller: &'a Vcpu,
    call: Call,
    arguments: [u64; 8],
    token: u64,
}

impl Request<'_> {
    /// Everything that makes a repetition of the call the same call.
    fn identity(&self) -> [u64; 10] {
        let [a, b, c, d, e, f, g, h] = self.arguments;
        [self.call as u64, a, b, c, d, e, f, g, h, self.token]
    }

    fn key(&self) -> [u64; 2] {
        [self.arguments[1], self.arguments[2]]
    }

    /// The token, which must not be 0.
    fn require_token(&self) -> Result<u64, Error> {
        if self.token == 0 {
            Err(Error::Invalid)
        } else {
            Ok(self.token)
        }
    }
}

/// What an exit came to that is dealt with, with the vCPU that runs next.
pub enum Quick {
    /// The core keeps what exited: it goes on, or has entered another.
    Kept(*mut Vcpu),
    /// It was an `exit`: what exited is to be given up once all of its registers are in its control structure.
    Left(*mut Vcpu),
}

/// The calling instruction was executed: the two calls that make a round trip, in the cases that are common. `None` if [`handle`]
/// must judge, and then nothing was changed.
#[inline]
pub fn handle_quickly(core: &Core, vcpu: &mut Vcpu) -> Option<Quick> {
    if !vcpu.is_64_bit() {
        return None;
    }
    let number = vcpu.rax();
    if number == Call::Enter as u64 {
        enter::enter_quickly(core, vcpu).map(Quick::Kept)
    } else if number == Call::Exit as u64
        && vcpu.owner() == Owner::Domain
        && !vcpu.seat.exits_slowly
    {
        complete(vcpu, SUCCESS);
        Some(Quick::Left(enter::leave_quickly(vcpu)))
    } else {
        None
    }
}

/// The calling instruction was executed. Returns the vCPU that runs next.
pub fn handle(core: &'static Core, vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
    let number = vcpu.rax();
    if number == Call::Enter as u64 && vcpu.is_64_bit() {
        return enter::enter(core, vcpu);
    }
    if number == Call::Exit as u64 && vcpu.owner() == Owner::Domain && vcpu.is_64_bit() {
        return exit(vcpu);
    }
    other(core, vcpu, number)
}

/// A domain other than domain 0 has exited. Returns the vCPU that runs next.
pub fn handle_exit(vcpu: &'static mut Vcpu, exit: Exit) -> &'static mut Vcpu {
    exits::handle(vcpu, exit)
}

/// `exit`: the caller of `enter` gets the six words.
fn exit(vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
    complete(vcpu, SUCCESS);
    let operands = vcpu.operands();
    // SAFETY: they are part of the vCPU, and only its caller's registers change meanwhile.
    enter::leave(vcpu, ExitKind::Call, unsafe { &*operands })
}

fn other(core: &'static Core, vcpu: &'static mut Vcpu, number: u64) -> &'static mut Vcpu {
    const PREFIX: u64 = !0xffff;
    if number & PREFIX != CALL_BASE & PREFIX {
        // As on a machine without a monitor.
        vcpu.inject_undefined();
        return vcpu;
    }
    match Call::from_number(number) {
        Some(call) if vcpu.is_64_bit() => {
            let begin = time_stamp();
            let outcome = carry_out(core, vcpu, call);
            core.note_call(time_stamp().saturating_sub(begin));
            match outcome {
                Ok(results) => answer(vcpu, &results),
                Err(refusal) => refusal.answer(vcpu),
            }
        }
        _ => {
            vcpu.set_rax(Error::Unsupported as u64);
            vcpu.advance(CALL_LENGTH);
        }
    }
    vcpu
}

fn answer(vcpu: &mut Vcpu, results: &Results) {
    for (register, word) in ARGUMENTS.into_iter().zip(results.words).take(results.count) {
        vcpu.set_register(register, word);
    }
    complete(vcpu, SUCCESS);
}

fn carry_out(core: &'static Core, caller: &Vcpu, call: Call) -> Result<Results, Refusal> {
    let arguments = ARGUMENTS.map(|register| caller.register(register));
    let request = Request {
        core,
        caller,
        call,
        arguments,
        token: caller.register(Register::R12),
    };
    match call {
        Call::Information => look::information(&request),
        Call::Enumerate => look::enumerate(&request),
        Call::Random => look::random(),
        Call::Quote => attest::quote(&request),
        Call::EventLog => attest::event_log(&request),
        Call::Evidence => attest::evidence(&request),
        Call::EnclaveEvidence => enclaves::evidence(&request),
        Call::Report => attest::report(&request),
        Call::Check => attest::check(&request),
        Call::Key => keys::key(&request),
        Call::Counter => counters::counter(&request),
        Call::Enrol => enrol::enrol(&request),
        Call::Claim => claims::claim(&request),
        Call::Release => claims::release(&request),
        Call::Create => domains::create(&request),
        Call::Vcpu => domains::add_vcpu(&request),
        Call::Cores => domains::cores(&request),
        Call::Seal => domains::seal(&request),
        Call::Destroy => domains::destroy(&request),
        Call::Abandon => domains::abandon(&request),
        Call::DebugRead => domains::debug_read(&request),
        Call::Carve | Call::Share => regions::derive_range(&request),
        Call::Derive => regions::derive_region(&request),
        Call::Grant => regions::grant(&request),
        Call::Accept => regions::accept(&request),
        Call::Close => regions::close(&request),
        Call::Revoke => regions::revoke(&request),
        Call::CarveCore => whole::carve_core(&request),
        Call::Start => whole::start(&request),
        Call::Assign => devices::assign(&request),
        Call::Configure => devices::configure(&request),
        // Domain 0 has nobody to exit to; `enter` was answered before.
        Call::Exit | Call::Enter => Err(Error::Unsupported.into()),
    }
}
