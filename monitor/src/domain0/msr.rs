//! MSRs that domain 0 may not simply use.

use adyton_x86::apic::base;
use adyton_x86::svm::MSR_MAP_SIZE;

use super::apic;
use crate::cores::Core;
use crate::instructions::{read_msr, write_msr};
use crate::vcpu::{Register, Vcpu};

const EFER: u32 = 0xc000_0080;

/// Lets through what needs no look.
pub(super) fn fill_map(map: &mut [u8; MSR_MAP_SIZE]) {
    map.fill(0);
    map[0x800 + (0x80 * 2) / 8] = 3;
    map[(0x830 * 2) / 8] |= 2 << ((0x830 * 2) % 8);
    map[(base::MSR as usize * 2) / 8] |= 3 << ((base::MSR * 2) % 8);
}

/// RDMSR.
pub(super) fn read(_core: &Core, vcpu: &mut Vcpu) {
    let value = match vcpu.register(Register::Rcx) as u32 {
        EFER => vcpu.efer(),
        // SAFETY: the register exists on every x86-64 CPU.
        base::MSR => unsafe { read_msr(base::MSR) },
        _ => return vcpu.inject_general_protection(),
    };
    vcpu.set_edx_eax(value);
    vcpu.advance(2);
}

/// WRMSR.
pub(super) fn write(core: &'static Core, vcpu: &mut Vcpu) {
    let value = vcpu.edx_eax();
    let accepted = match vcpu.register(Register::Rcx) as u32 {
        EFER => write_efer(vcpu, value),
        base::MSR => write_apic_base(value),
        register @ 0x800..=0x8ff => apic::write_msr(core, register, value),
        _ => false,
    };
    if accepted {
        vcpu.advance(2);
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
    if accepted {
        // SAFETY: at most the x2APIC bit changes, from off to on; a CPU without it never shows it to domain 0.
        unsafe { write_msr(base::MSR, value) };
    }
    accepted
}
