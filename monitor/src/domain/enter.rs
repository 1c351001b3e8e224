//! Going into a domain and coming out of it: design note 004. Being taken out by an interrupt: [`super::chain`].
//!
//! No lock is taken here. What must hold: a core touches a vCPU only while it owns it ([`Seat::owner`]); `caller`
//! pointers lead from the vCPU that runs to domain 0's of this core, or to one that was started on it as a whole ([`super::whole`]), and every vCPU on the way is owned by this core.
//!
//! [`Seat::owner`]: super::seat::Seat::owner

use core::sync::atomic::Ordering;

use adyton_abi::error::{Error, SUCCESS};
use adyton_abi::exit::ExitKind;
use adyton_abi::policy::Flags;
use adyton_synchronization::gate::Refused;

use super::context::Context;
use super::entry::Begin;
use super::name::{self, Refusal};
use super::report::{self, Operands, Words};
use super::whole;
use crate::cores::Core;
use crate::instructions::time_stamp;
use crate::vcpu::{Register, Vcpu};

/// `enter`, from the registers of `caller`. Returns the vCPU that runs next: the domain's, the caller's with an error, or
/// the leaf of a nest that was interrupted.
pub fn enter(core: &'static Core, caller: &'static mut Vcpu) -> &'static mut Vcpu {
    match begin(core, caller) {
        Ok(child) => {
            // SAFETY: `begin` made this core the owner of the child.
            let child = unsafe { &mut *child };
            if child.seat.calling {
                descend(core, child)
            } else {
                child
            }
        }
        Err(refusal) => {
            refusal.answer(caller);
            caller
        }
    }
}

/// `vcpu` was interrupted in an `enter` of its own: that is executed again on its behalf, with every check, and so are those of
/// the levels below.
fn descend(core: &'static Core, vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
    let mut vcpu = vcpu;
    while vcpu.seat.calling {
        vcpu.seat.calling = false;
        match begin(core, vcpu) {
            // SAFETY: `begin` made this core the owner of the child.
            Ok(child) => vcpu = unsafe { &mut *child },
            Err(refusal) => {
                refusal.answer(vcpu);
                return vcpu;
            }
        }
    }
    vcpu
}

/// The common case of [`enter`]: a call that domain's vCPU made is answered, and nothing stands in the way. Otherwise `None`, and
/// nothing was changed.
///
/// Nothing is called and nothing spilled here: this and [`leave_quickly`] are the round trip whose cost counts.
#[inline]
pub fn enter_quickly(core: &Core, caller: &mut Vcpu) -> Option<*mut Vcpu> {
    let token = caller.register(Register::R12);
    if token == 0 || name::require(caller, Flags::MAY_CREATE).is_err() {
        return None;
    }
    let context = name::domain_by_trail(caller)?;
    let child = admitted(core, context, caller.register(Register::Rcx)).ok()?;
    // SAFETY: `admitted` made this core the owner.
    let vcpu = unsafe { &mut *child };
    let sequence = caller.register(Register::R8);
    // One that left by a call does not stand at an `enter` of its own, so it is the one to run.
    if !vcpu.seat.entry.is_answer(sequence) || vcpu.seat.shows_registers {
        vcpu.seat.owner.release();
        return None;
    }
    let limit = caller.register(Register::R9);
    vcpu.seat.entry.start(token, limit, time_stamp);
    report::deliver_words(vcpu);
    context.entries.fetch_add(1, Ordering::Relaxed);
    vcpu.seat.caller = caller;
    Some(child)
}

/// Judges one `enter` and, if it is let in, links the child to its caller.
fn begin(core: &Core, caller: &mut Vcpu) -> Result<*mut Vcpu, Refusal> {
    let token = caller.register(Register::R12);
    if token == 0 {
        return Err(Error::Invalid.into());
    }
    name::require(caller, Flags::MAY_CREATE)?;
    let context = name::domain(caller)?;
    let index = caller.register(Register::Rcx);
    let is_being_left = || {
        let vcpu = context.vcpu(index);
        vcpu.is_some_and(|vcpu| whole::is_being_left(vcpu))
    };
    let child = match admitted(core, context, index) {
        Err(Error::Busy) if is_being_left() => return Err(Refusal::Again),
        // Who had it may have let go since: its exit page said so when this was called.
        Err(Error::Busy) => admitted(core, context, index)?,
        outcome => outcome?,
    };
    // SAFETY: `admitted` made this core the owner.
    let vcpu = unsafe { &mut *child };
    let sequence = caller.register(Register::R8);
    let limit = caller.register(Register::R9);
    match vcpu.seat.entry.begin(sequence, token, limit, time_stamp) {
        Ok(Begin::Continue) => {}
        Ok(Begin::New) => {
            report::deliver_reply(vcpu);
            context.entries.fetch_add(1, Ordering::Relaxed);
        }
        Err(error) => {
            vcpu.seat.owner.release();
            return Err(error.into());
        }
    }
    vcpu.seat.caller = caller;
    Ok(child)
}

/// Makes this core the owner of the vCPU, if the domain may run here at all.
#[inline]
fn admitted(core: &Core, context: &Context, index: u64) -> Result<*mut Vcpu, Error> {
    let gate = &context.gate;
    let vcpu = context
        .vcpu(index)
        .ok_or_else(|| error(gate.refused(Refused::NoVcpu)))?;
    // SAFETY: the vCPU lives as long as its context; `owner` is atomic, nothing else is touched before it is taken.
    let owner = unsafe { &(*vcpu).seat.owner };
    match gate.admit(owner, core.index, &core.place) {
        Ok(()) => Ok(vcpu),
        Err(refused) => Err(error(refused)),
    }
}

pub(super) fn error(refused: Refused) -> Error {
    match refused {
        Refused::Building => Error::WrongState,
        Refused::Dead => Error::Dead,
        Refused::NoVcpu => Error::NotFound,
        Refused::Busy => Error::Busy,
        Refused::WrongCore => Error::WrongCore,
    }
}

/// The vCPU's `exit` has been completed: its caller gets the words and runs next. Not if it [exits slowly](super::seat::Seat::exits_slowly).
///
/// The vCPU is not given up here: some of its registers are still in the CPU.
#[inline]
pub fn leave_quickly(vcpu: &mut Vcpu) -> *mut Vcpu {
    let caller = vcpu.seat.caller;
    // SAFETY: they are registers of the vCPU.
    let words = unsafe { Words::read(vcpu.operands()) };
    let sequence = vcpu.seat.entry.finish(ExitKind::Call);
    report::record_exit(vcpu, ExitKind::Call, sequence, words);
    // SAFETY: this core owns the whole chain, and the caller is another vCPU than this one.
    answer(unsafe { &mut *caller }, ExitKind::Call, sequence, words);
    caller
}

/// The vCPU has come to an exit of this kind: its caller gets the result and runs next. One that was started has no caller, and stops.
pub fn leave(vcpu: &'static mut Vcpu, kind: ExitKind, operands: &Operands) -> &'static mut Vcpu {
    if vcpu.seat.is_whole {
        return whole::put_down(vcpu, kind, operands);
    }
    let caller = vcpu.seat.caller;
    // SAFETY: this core owns the whole chain, and the caller is another vCPU than this one.
    let caller = unsafe { &mut *caller };
    conclude(vcpu, caller, kind, operands);
    vcpu.seat.owner.release();
    caller
}

/// Records the exit and completes the caller's `enter`.
pub(super) fn conclude(vcpu: &mut Vcpu, caller: &mut Vcpu, kind: ExitKind, operands: &Operands) {
    debug_assert!(
        vcpu.seat.owner.core().is_some(),
        "given up before it was settled"
    );
    let sequence = vcpu.seat.entry.finish(kind);
    report::record(vcpu, kind, sequence, operands);
    answer(caller, kind, sequence, operands.words());
}

/// Completes the caller's `enter`.
#[inline]
fn answer(caller: &mut Vcpu, kind: ExitKind, sequence: u64, words: Words) {
    caller.set_register(Register::Rdi, kind as u64);
    caller.set_register(Register::Rsi, sequence);
    // SAFETY: they are registers of the caller.
    unsafe { words.write(caller.outcome_mut()) };
    name::complete(caller, SUCCESS);
}
