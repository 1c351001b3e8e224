//! #UD in domain 0: ENCLS and ENCLU are carried out, everything else is as undefined as it was.

use core::sync::atomic::Ordering;

use adyton_sgx::{Fault, Outcome};
use adyton_x86::paging::cr4;

use super::caller::Caller;
use super::cores::{State, here};
use super::quick::Before;
use super::trails::Trails;
use super::{RESTRICTIONS, inside, is_offered, registers};
use crate::address::PAGE_SIZE;
use crate::cores::Core;
use crate::domain::memory::CallerMemory;
use crate::domain0::error_code;
use crate::guest::walk::{Kind, Regime};
use crate::vcpu::{Register, Vcpu};

/// ENCLS, of the kernel, and ENCLU, of programs. ENCLV (C0) is as undefined as on a processor without it.
const ENCLS: [u8; 3] = [0x0f, 0x01, 0xcf];
pub(super) const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
pub(super) const LENGTH: u64 = 3;

/// The leaves of ENCLU that lead into an enclave.
const EENTER: u32 = 2;
const ERESUME: u32 = 3;

pub(super) const PROGRAM: u8 = 3;
/// Bits of CR0.
const TASK_SWITCHED: u64 = 1 << 3;
const NUMERIC_ERROR: u64 = 1 << 5;
/// The vector of #NM.
const NOT_AVAILABLE: u8 = 7;

/// Answers it.
pub(crate) fn handle(core: &'static Core, vcpu: &mut Vcpu) {
    if !is_offered() {
        return vcpu.inject_undefined();
    }
    here(core, |state| {
        if vcpu.cpl() == PROGRAM {
            of_program(core, state, vcpu);
        } else {
            of_system(core, state, vcpu);
        }
    });
}

fn of_program(core: &'static Core, state: &mut State, vcpu: &mut Vcpu) {
    state.trails.prepare(vcpu);
    match first_bytes(vcpu, &state.trails) {
        Some(ENCLU) => match refusal(vcpu.cr0(), PROGRAM) {
            Some(fault) => raise(vcpu, fault),
            None => enclu(core, state, vcpu),
        },
        _ => vcpu.inject_undefined(),
    }
}

#[cold]
fn of_system(core: &'static Core, state: &mut State, vcpu: &mut Vcpu) {
    match (vcpu.bytes_at_rip(), vcpu.regime()) {
        (Some(ENCLS), Some(regime)) if vcpu.cpl() == 0 => encls(core, state, vcpu, &regime),
        (Some(ENCLU), Some(_)) => match refusal(vcpu.cr0(), vcpu.cpl()) {
            Some(fault) => raise(vcpu, fault),
            None => vcpu.inject_undefined(),
        },
        _ => vcpu.inject_undefined(),
    }
}

/// The first bytes of the instruction that a program is at.
fn first_bytes<const COUNT: usize>(vcpu: &Vcpu, trails: &Trails) -> Option<[u8; COUNT]> {
    let base = if vcpu.is_64_bit() {
        0
    } else {
        vcpu.segment_base(1)
    };
    let start = base.wrapping_add(vcpu.rip());
    if start % PAGE_SIZE + COUNT as u64 > PAGE_SIZE {
        return vcpu.bytes_at_rip();
    }
    let memory = CallerMemory::new(vcpu);
    let place = trails.walk(memory, start, Kind::Execute).ok()?;
    let host = memory.readable(place)?.value() as *const u8;
    // SAFETY: RAM that the program may read, mapped one to one, to the end of the page. Should another core change a byte meanwhile, one
    // or the other is read.
    Some(core::array::from_fn(|offset| unsafe {
        core::ptr::read_volatile(host.add(offset))
    }))
}

/// What ENCLU raises before any leaf is looked at (SDM volume 3D, ENCLU).
fn refusal(cr0: u64, privilege: u8) -> Option<Fault> {
    let not_available = Fault {
        vector: NOT_AVAILABLE,
        ..Fault::undefined()
    };
    if cr0 & TASK_SWITCHED != 0 {
        Some(not_available)
    } else if privilege < PROGRAM {
        Some(Fault::undefined())
    } else if cr0 & NUMERIC_ERROR == 0 {
        Some(Fault::general_protection())
    } else {
        None
    }
}

fn encls(core: &'static Core, state: &mut State, vcpu: &mut Vcpu, regime: &Regime) {
    let mut processor = registers::of(vcpu, LENGTH);
    let mut caller = Caller {
        core,
        vcpu,
        regime,
        trails: None,
    };
    let outcome = adyton_sgx::encls(&mut caller, &mut state.progress, &mut processor);
    match outcome {
        Outcome::Complete => {
            registers::put(vcpu, &processor);
            vcpu.advance_to(processor.next);
        }
        Outcome::Fault(fault) => raise(vcpu, fault),
        Outcome::Again | Outcome::Entered | Outcome::Left => {}
    }
}

fn enclu(core: &'static Core, state: &mut State, vcpu: &mut Vcpu) {
    let Some(regime) = state.trails.regime() else {
        return vcpu.inject_undefined();
    };
    let leaf = vcpu.register(Register::Rax) as u32;
    let enters = matches!(leaf, EENTER | ERESUME);
    if enters && vcpu.cr4() & cr4::FIVE_LEVELS != 0 {
        // Tables for enclave mode have four levels.
        return vcpu.inject_general_protection();
    }
    let before = Before {
        rip: vcpu.rip(),
        components: vcpu.guest_components,
        restrictions: RESTRICTIONS.load(Ordering::SeqCst),
    };
    let mut processor = registers::of(vcpu, LENGTH);
    let mut caller = Caller {
        core,
        vcpu,
        regime,
        trails: Some(&state.trails),
    };
    match adyton_sgx::enclu(&mut caller, &mut state.thread, &mut processor) {
        Outcome::Entered => {
            let before = (leaf == EENTER).then_some(before);
            inside::enter(core, state, vcpu, &processor, before);
        }
        Outcome::Complete => {
            registers::put(vcpu, &processor);
            vcpu.advance_to(processor.next);
        }
        Outcome::Fault(fault) => raise(vcpu, fault),
        Outcome::Again | Outcome::Left => {}
    }
}

/// Delivers a fault to domain 0.
pub(super) fn raise(vcpu: &mut Vcpu, fault: Fault) {
    if fault.vector == Fault::PF {
        return vcpu.inject_page_fault(fault.address, fault.error);
    }
    vcpu.inject_exception(fault.vector, error_code(fault.vector, fault.error));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_leaf_comes_in_its_order() {
        let vector = |cr0, privilege| refusal(cr0, privilege).map(|fault| fault.vector);
        assert_eq!(vector(TASK_SWITCHED | NUMERIC_ERROR, 3), Some(7));
        assert_eq!(vector(TASK_SWITCHED, 0), Some(7));
        assert_eq!(vector(NUMERIC_ERROR, 2), Some(Fault::UD));
        assert_eq!(vector(0, 3), Some(Fault::GP));
        assert_eq!(vector(NUMERIC_ERROR, 3), None);
    }
}
