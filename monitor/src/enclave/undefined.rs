//! #UD in domain 0: ENCLS and ENCLU are carried out, everything else is as undefined as it was.

use adyton_sgx::{Fault, Outcome};

use super::caller::Caller;
use super::cores::{State, here};
use super::{inside, is_offered, registers};
use crate::cores::Core;
use crate::domain0::error_code;
use crate::guest::walk::Regime;
use crate::vcpu::{Register, Vcpu};
use crate::vendor::Vendor;

/// ENCLS, of the kernel, and ENCLU, of programs. ENCLV (C0) is as undefined as on a processor without it.
const ENCLS: [u8; 3] = [0x0f, 0x01, 0xcf];
pub(super) const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
const LENGTH: u64 = 3;

/// The leaves of ENCLU that lead into an enclave.
const EENTER: u32 = 2;
const ERESUME: u32 = 3;

const PROGRAM: u8 = 3;
const FIVE_LEVELS: u64 = 1 << 12;

/// Answers it.
pub(crate) fn handle(core: &'static Core, vcpu: &mut Vcpu) {
    let bytes = if is_offered() {
        vcpu.bytes_at_rip()
    } else {
        None
    };
    let is_program = vcpu.cpl() == PROGRAM;
    match (bytes, vcpu.regime()) {
        (Some(ENCLS), Some(regime)) if vcpu.cpl() == 0 => {
            here(core, |state| encls(core, state, vcpu, regime));
        }
        (Some(ENCLU), Some(regime)) if is_program => {
            here(core, |state| enclu(core, state, vcpu, regime));
        }
        _ => vcpu.inject_undefined(),
    }
}

fn encls(core: &'static Core, state: &mut State, vcpu: &mut Vcpu, regime: Regime) {
    let mut processor = registers::of(vcpu, LENGTH);
    let mut caller = Caller { core, vcpu, regime };
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

fn enclu(core: &'static Core, state: &mut State, vcpu: &mut Vcpu, regime: Regime) {
    let leaf = vcpu.register(Register::Rax) as u32;
    let enters = matches!(leaf, EENTER | ERESUME);
    if enters && vcpu.cr4() & FIVE_LEVELS != 0 {
        // Tables for enclave mode have four levels.
        return vcpu.inject_general_protection();
    }
    if enters {
        Vendor::current().save_hidden(vcpu);
    }
    let mut processor = registers::of(vcpu, LENGTH);
    let mut thread = None;
    let mut caller = Caller { core, vcpu, regime };
    let outcome = adyton_sgx::enclu(&mut caller, &mut thread, &mut processor);
    match (outcome, thread) {
        (Outcome::Entered, Some(thread)) => inside::enter(state, vcpu, regime, thread, &processor),
        (Outcome::Complete, _) => {
            registers::put(vcpu, &processor);
            vcpu.advance_to(processor.next);
        }
        (Outcome::Fault(fault), _) => raise(vcpu, fault),
        _ => {}
    }
}

/// Delivers a fault to domain 0.
pub(super) fn raise(vcpu: &mut Vcpu, fault: Fault) {
    if fault.vector == Fault::PF {
        return vcpu.inject_page_fault(fault.address, fault.error);
    }
    vcpu.inject_exception(fault.vector, error_code(fault.vector, fault.error));
}
