//! The MSRs that domain 0 may not simply use: [`crate::policy::msr`] says which, and how each is looked at.

use adyton_x86::apic::base;

use super::apic;
use crate::cores::Core;
use crate::enclave::{self, launch};
use crate::instructions::read_msr;
use crate::interrupts::try_write_msr;
use crate::policy::msr::{Domain, Filter, Verdict, verdict};
use crate::vcpu::{Register, Vcpu};

/// Bytes of RDMSR and WRMSR without prefixes.
const LENGTH: u64 = 2;

/// RDMSR.
pub(super) fn read(core: &Core, vcpu: &mut Vcpu) {
    let register = vcpu.register(Register::Rcx) as u32;
    let value = match verdict(Domain::Zero, register, false) {
        Verdict::Filter(Filter::Efer) => vcpu.efer(),
        // SAFETY: the register exists on every x86-64 CPU.
        Verdict::Filter(Filter::ApicBase) => unsafe { read_msr(base::MSR) },
        Verdict::Filter(Filter::FeatureControl) if enclave::is_offered() => launch::FEATURE_CONTROL,
        Verdict::Filter(Filter::LaunchKey) => match launch::key_word(core, register) {
            Some(word) => word,
            None => return vcpu.inject_general_protection(),
        },
        // What passes through does not exit, unless it lies where the permission map does not reach: then it does not exist
        // on any CPU that the monitor knows.
        _ => return vcpu.inject_general_protection(),
    };
    vcpu.set_edx_eax(value);
    vcpu.advance_past(LENGTH);
}

/// WRMSR.
pub(super) fn write(core: &'static Core, vcpu: &mut Vcpu) {
    let register = vcpu.register(Register::Rcx) as u32;
    let value = vcpu.edx_eax();
    let accepted = match verdict(Domain::Zero, register, true) {
        Verdict::Filter(Filter::Efer) => write_efer(vcpu, value),
        Verdict::Filter(Filter::ApicBase) => write_apic_base(value),
        Verdict::Filter(Filter::InterruptCommand | Filter::LocalVector) => {
            apic::write_msr(core, register, value)
        }
        Verdict::Filter(Filter::LaunchKey) => launch::set_key_word(core, register, value),
        Verdict::Filter(Filter::OnlyZero) => value == 0,
        Verdict::Filter(Filter::Ignored) => true,
        Verdict::Filter(Filter::FeatureControl) | Verdict::PassThrough | Verdict::Deny => false,
    };
    if accepted {
        vcpu.advance_past(LENGTH);
    } else {
        vcpu.inject_general_protection();
    }
}

fn write_efer(vcpu: &mut Vcpu, value: u64) -> bool {
    const SYSTEM_CALL: u64 = 1 << 0;
    const LONG_MODE: u64 = 1 << 8;
    const ACTIVE: u64 = 1 << 10;
    const NO_EXECUTE: u64 = 1 << 11;
    const FAST_FXSAVE: u64 = 1 << 14;
    const PAGING: u64 = 1 << 31;
    let old = vcpu.efer();
    let changes_mode = (old ^ value) & LONG_MODE != 0 && vcpu.cr0() & PAGING != 0;
    if value & !(SYSTEM_CALL | LONG_MODE | ACTIVE | NO_EXECUTE | FAST_FXSAVE) != 0 || changes_mode {
        return false;
    }
    vcpu.set_efer(value & !ACTIVE | old & ACTIVE);
    true
}

/// Only what leaves the APIC on and where it is: the switch to x2APIC mode.
fn write_apic_base(value: u64) -> bool {
    // SAFETY: the register exists on every x86-64 CPU.
    let old = unsafe { read_msr(base::MSR) };
    let accepted =
        (old ^ value) & !base::EXTENDED == 0 && value & base::EXTENDED >= old & base::EXTENDED;
    // SAFETY: at most the x2APIC bit changes, from off to on.
    accepted && unsafe { try_write_msr(base::MSR, value) }
}
