//! A core in enclave mode: how it gets there, what its exits mean, and how it leaves.
//!
//! What must hold: a core's state has a thread and its space exactly while its vCPU is in enclave mode. Nothing is delivered to domain 0 in
//! enclave mode: whatever concerns it first makes an asynchronous exit.

use arrayvec::ArrayVec;

use adyton_sgx::{Event, Fault, Outcome, Processor};
use adyton_x86::paging::fault;

use super::caller::Caller;
use super::cores::{State, here};
use super::quick::{self, Before};
use super::space::OutOfFrames;
use super::spaces::{self, Key};
use super::undefined::{self, ENCLU};
use super::{judgement, registers};
use crate::address::PAGE_SIZE;
use crate::cores::Core;
use crate::domain::memory::CallerMemory;
use crate::guest::instruction::{Instruction, LONGEST, Mode};
use crate::guest::walk::Kind;
use crate::vcpu::Vcpu;
use crate::vendor::{EnclaveEntry, Exit, Vendor};

const BREAKPOINT: u8 = 3;
/// INT3, which an emulator takes for a software interrupt instead of an exception.
const INT3: [u8; 1] = [0xcc];

/// Goes on in enclave mode, where a leaf has put the thread and the processor.
pub(super) fn enter(
    core: &'static Core,
    state: &mut State,
    vcpu: &mut Vcpu,
    processor: &Processor,
    before: Option<Before>,
) {
    let Some(thread) = &state.thread else {
        return;
    };
    let control = [vcpu.cr0(), vcpu.cr3(), vcpu.cr4(), vcpu.efer()];
    let key = Key::new(thread, control);
    let generation = vcpu.seat.context().generation.current();
    let space = spaces::take(key, thread, generation).expect("there are more spaces than cores");
    let entry = EnclaveEntry {
        root: space.root(),
        fs: processor.fs,
        gs: processor.gs,
        debug: thread.debug,
    };
    let prepared = Vendor::current().prepare_enclave(vcpu, &entry);
    if space.take_loaded() == 0
        && let Some(before) = before
        && let Some(regime) = state.trails.regime()
    {
        let caller = Caller {
            core,
            vcpu,
            regime,
            trails: Some(&state.trails),
        };
        quick::note(&caller, &space, &before, (thread, processor), prepared);
    }
    Vendor::current().enter_enclave(vcpu, &prepared);
    registers::put(vcpu, processor);
    state.space = Some(space);
}

/// An exit of a core in enclave mode.
pub(crate) fn exit(core: &'static Core, vcpu: &mut Vcpu, exit: Exit) {
    here(core, |state| answer(core, state, vcpu, exit));
}

/// Leaves enclave mode, if the core is in it, because domain 0 is wanted.
#[cfg(not(any(test, fuzzing)))]
pub(crate) fn withdraw(core: &'static Core, vcpu: &mut Vcpu) {
    if vcpu.is_inside() {
        here(core, |state| leave(core, state, vcpu, Event::Other));
    }
}

fn answer(core: &'static Core, state: &mut State, vcpu: &mut Vcpu, exit: Exit) {
    let event = match exit {
        Exit::Interrupt | Exit::Nmi | Exit::Init => Event::Other,
        Exit::Exception { vector, error } => match exception(core, state, vcpu, vector, error) {
            Some(event) => event,
            None => return,
        },
        Exit::ReadMsr | Exit::WriteMsr | Exit::Halt | Exit::InvalidateCaches => {
            Fault::general_protection().into()
        }
        // A state that a processor has after a triple fault, which no program alone brings about.
        Exit::Shutdown | Exit::Invalid | Exit::NestedFault(_) => Fault::general_protection().into(),
        Exit::Other(_) if starts_with(INT3, state, vcpu) => Event::Exception {
            vector: BREAKPOINT,
            error: 0,
            address: 0,
        },
        // What the SDM calls illegal inside (volume 3D, section 38.6.1).
        _ => Fault::undefined().into(),
    };
    leave(core, state, vcpu, event);
}

/// What an exception is to the enclave; `None` if it goes on.
fn exception(
    core: &'static Core,
    state: &mut State,
    vcpu: &mut Vcpu,
    vector: u8,
    error: u32,
) -> Option<Event> {
    match vector {
        Fault::PF => {
            let address = vcpu.fault_address();
            // An access of the processor's own, to a descriptor that no table holds.
            if error & fault::USER == 0 {
                return Some(Fault::general_protection().into());
            }
            let kind = match error {
                _ if error & fault::FETCH != 0 => Kind::Execute,
                _ if error & fault::WRITE != 0 => Kind::Write,
                _ => Kind::Read,
            };
            load(state, vcpu, address, kind).err()
        }
        Fault::UD if starts_with(ENCLU, state, vcpu) => leaf(core, state, vcpu),
        Fault::GP if is_undefined(state, vcpu) => Some(Fault::undefined().into()),
        _ => Some(Event::Exception {
            vector,
            error,
            address: 0,
        }),
    }
}

/// Loads the translation that an access has missed.
fn load(state: &mut State, vcpu: &Vcpu, address: u64, kind: Kind) -> Result<(), Event> {
    let (Some(thread), Some(space), Some(regime)) =
        (&state.thread, &state.space, state.trails.regime())
    else {
        return Err(Fault::general_protection().into());
    };
    if space.attach(thread, address, kind) {
        return Ok(());
    }
    let memory = CallerMemory::new(vcpu);
    // Those of the moment: WRPKRU inside and the vector state that ERESUME loads change them.
    let regime = regime.with_protection_keys(vcpu.protection_keys());
    let new = judgement::judge(memory, &regime, thread, address, kind)?;
    Ok(space.load(&new)?)
}

impl From<OutOfFrames> for Event {
    /// Threads inside on other cores have all frames: this one goes out, where interrupts reach domain 0, and in again.
    fn from(OutOfFrames: OutOfFrames) -> Self {
        Self::Other
    }
}

/// The first bytes that the enclave stands at, as far as they can be had: what it has just executed is loaded.
fn code<const COUNT: usize>(state: &State, vcpu: &Vcpu) -> ArrayVec<u8, COUNT> {
    let mut bytes = ArrayVec::new();
    let Some(space) = &state.space else {
        return bytes;
    };
    let mut place = None;
    for offset in 0..COUNT as u64 {
        let address = vcpu.rip().wrapping_add(offset);
        place = match place {
            Some(last) if address % PAGE_SIZE != 0 => Some(last + 1),
            _ => space.translate(address),
        };
        let Some(host) = place else {
            break;
        };
        // SAFETY: a translation of the space leads to RAM, mapped one to one. Should the enclave change the byte meanwhile, one or the
        // other is read.
        bytes.push(unsafe { core::ptr::read_volatile(host as *const u8) });
    }
    bytes
}

fn starts_with<const COUNT: usize>(bytes: [u8; COUNT], state: &State, vcpu: &Vcpu) -> bool {
    code::<COUNT>(state, vcpu).as_slice() == bytes
}

/// Whether the instruction that was refused is one that enclave mode does not know.
fn is_undefined(state: &State, vcpu: &Vcpu) -> bool {
    let mode = if vcpu.is_64_bit() {
        Mode::Long
    } else {
        Mode::ThirtyTwo
    };
    let bytes = code::<LONGEST>(state, vcpu);
    Instruction::decode(&bytes, mode).is_some_and(|found| found.is_undefined_in_enclave())
}

/// Executes a leaf of the enclave's; what is to be told of it, if it cannot go on.
fn leaf(core: &'static Core, state: &mut State, vcpu: &mut Vcpu) -> Option<Event> {
    let regime = state.trails.regime()?;
    let debug = state.thread.as_ref()?.debug;
    let mut processor = registers::of(vcpu, ENCLU.len() as u64);
    let mut caller = Caller {
        core,
        vcpu,
        regime,
        trails: None,
    };
    match adyton_sgx::enclu(&mut caller, &mut state.thread, &mut processor) {
        Outcome::Left => {
            Vendor::current().leave_enclave(vcpu, debug);
            release(state);
            registers::put(vcpu, &processor);
            None
        }
        Outcome::Complete => {
            processor.rip = processor.next;
            registers::put(vcpu, &processor);
            None
        }
        Outcome::Fault(fault) => Some(fault.into()),
        Outcome::Again | Outcome::Entered => None,
    }
}

fn release(state: &mut State) {
    if let Some(space) = state.space.take() {
        state.last = Some(space.release());
    }
}

/// The asynchronous exit: domain 0 goes on at the pointer that it named, with the exception if it was one.
fn leave(core: &'static Core, state: &mut State, vcpu: &mut Vcpu, event: Event) {
    let Some(regime) = state.trails.regime() else {
        return;
    };
    let Some(thread) = state.thread.take() else {
        return;
    };
    let mut processor = registers::of(vcpu, 0);
    let mut caller = Caller {
        core,
        vcpu,
        regime,
        trails: None,
    };
    let address = adyton_sgx::asynchronous_exit(&mut caller, &thread, &mut processor, event);
    Vendor::current().leave_enclave(vcpu, thread.debug);
    release(state);
    registers::put(vcpu, &processor);
    if let Event::Exception { vector, error, .. } = event {
        let fault = Fault {
            vector,
            error,
            address,
        };
        undefined::raise(vcpu, fault);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_frames_is_nothing_that_the_program_is_told_of() {
        assert_eq!(Event::from(OutOfFrames), Event::Other);
    }
}
