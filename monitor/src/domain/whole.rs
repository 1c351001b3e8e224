//! vCPUs that were started on a whole core: beginning one, and what its exits come to. Design note 012.
//!
//! Such a vCPU is the root of its chain, as domain 0's is of others: nobody stands at an `enter` for it, an exit stops it, and
//! what takes a core out of a chain ends at it. It ends besides when its domain is dead, or when its core is asked to end it.

use core::sync::atomic::Ordering;

use adyton_abi::error::Error;
use adyton_abi::exit::ExitKind;

use super::context::Context;
use super::entry::Begin;
use super::name::Refusal;
use super::report::{self, Operands};
use super::{enter, entry};
use crate::apic;
use crate::cores::{self, Core};
use crate::vcpu::Vcpu;

/// The interrupt that tells the owner of an exit: an APIC identifier and a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// The core that is interrupted.
    pub apic_id: u32,
    /// The vector; 0 is none.
    pub vector: u8,
}

/// Starts a vCPU of the domain on `core`, which is the domain's as a whole. Under the engine's lock.
///
/// # Errors
/// `NotFound`, `Dead`, `WrongState`, `Stale`, `Busy` (somebody has the vCPU, an entry of it is unfinished, or the core runs another).
pub fn start(
    core: &Core,
    context: &'static Context,
    index: u64,
    sequence: u64,
    token: u64,
    notice: Notice,
) -> Result<(), Refusal> {
    let vcpu = context.vcpu(index).ok_or(Error::NotFound)?;
    if core.leaves_job() || is_being_left(vcpu) {
        return Err(Refusal::Again);
    }
    if core.has_job() {
        return Err(Error::Busy.into());
    }
    // SAFETY: the vCPU lives as long as its context; `owner` is atomic, nothing else is touched before it is taken.
    let owner = unsafe { &(*vcpu).seat.owner };
    context
        .gate
        .admit_as_a_whole(owner, core.index)
        .map_err(enter::error)?;
    // SAFETY: `core` owns it now, and does not know yet.
    let begun = unsafe { begin(&mut *vcpu, sequence, token, notice) };
    if let Err(error) = begun {
        owner.release();
        return Err(error.into());
    }
    context.entries.fetch_add(1, Ordering::Relaxed);
    core.begin_job(vcpu);
    Ok(())
}

fn begin(vcpu: &mut Vcpu, sequence: u64, token: u64, notice: Notice) -> Result<(), Error> {
    let seat = &mut vcpu.seat;
    if seat.entry.is_unfinished() {
        return Err(Error::Busy);
    }
    let begun = seat.entry.begin(sequence, token, entry::NO_LIMIT, || 0)?;
    debug_assert_eq!(begun, Begin::New);
    seat.begin_as_a_whole(notice);
    report::deliver_reply(vcpu);
    Ok(())
}

/// Whether a core is about to let go of this vCPU, which its exit page may say already.
pub fn is_being_left(vcpu: *const Vcpu) -> bool {
    let mut cores = cores::all().iter();
    cores.any(|core| core.leaves_job() && core.runs(vcpu))
}

/// A chain was suspended down to this vCPU, which was started here: it goes on, unless it shall not. What runs next.
pub fn go_on(vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
    let ends = core_of(vcpu).is_none_or(Core::must_end_job);
    if ends || !vcpu.seat.context().gate.is_open() {
        put_down(vcpu, ExitKind::Abandoned, &Operands::default())
    } else {
        vcpu
    }
}

/// The vCPU has come to an exit of this kind: it stops, and its core waits. Returns domain 0's vCPU, which does the waiting.
pub fn put_down(vcpu: &'static mut Vcpu, kind: ExitKind, operands: &Operands) -> &'static mut Vcpu {
    let Some(core) = core_of(vcpu) else {
        // Never: whoever runs a vCPU owns it.
        return vcpu;
    };
    core.leave_job();
    let notice = vcpu.seat.end_as_a_whole();
    let sequence = vcpu.seat.entry.finish(kind);
    report::record(vcpu, kind, sequence, operands);
    vcpu.seat.owner.release();
    core.put_down_job();
    if notice.vector != 0 {
        apic::interrupt(notice.apic_id, notice.vector);
    }
    // SAFETY: it is this core's own, which alone touches it.
    unsafe { &mut *core.domain0_vcpu() }
}

/// Has whichever core runs this vCPU as its job end it; whether there is one.
pub fn end(vcpu: *const Vcpu) -> bool {
    let mut running = cores::all().iter().filter(|core| core.runs(vcpu));
    running.next().is_some_and(Core::end_job)
}

fn core_of(vcpu: &Vcpu) -> Option<&'static Core> {
    cores::all().get(vcpu.seat.owner.core()? as usize)
}
