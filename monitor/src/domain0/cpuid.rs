//! CPUID as domain 0 sees it.

use crate::instructions::cpuid;
use crate::vcpu::{Register, Vcpu};

const CR4_OSXSAVE: u64 = 1 << 18;

/// Answers CPUID.
pub(super) fn emulate(vcpu: &mut Vcpu) {
    let leaf = vcpu.rax() as u32;
    let subleaf = vcpu.register(Register::Rcx) as u32;
    let mut values = cpuid(leaf, subleaf);
    match leaf {
        1 => {
            values.ecx &= !(1 << 27);
            if vcpu.cr4() & CR4_OSXSAVE != 0 {
                values.ecx |= 1 << 27;
            }
        }
        0x8000_0001 => values.ecx &= !(1 << 2),
        0x8000_000a | 0x8000_001f => {
            (values.eax, values.ebx, values.ecx, values.edx) = (0, 0, 0, 0);
        }
        _ => {}
    }
    vcpu.set_rax(values.eax.into());
    vcpu.set_register(Register::Rbx, values.ebx.into());
    vcpu.set_register(Register::Rcx, values.ecx.into());
    vcpu.set_register(Register::Rdx, values.edx.into());
    vcpu.advance(2);
}
