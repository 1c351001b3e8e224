//! CPUID as domain 0 sees it: [`crate::policy::cpuid::domain0`] applied to this core.

use crate::enclave;
use crate::instructions::cpuid;
use crate::policy::cpuid::{CallInstruction, Context, domain0};
use crate::vcpu::{self, Register, Vcpu};

/// Bytes of CPUID without prefixes.
const LENGTH: u64 = 2;

/// Answers CPUID.
pub(super) fn emulate(vcpu: &mut Vcpu) {
    let leaf = vcpu.rax() as u32;
    let subleaf = vcpu.register(Register::Rcx) as u32;
    let context = Context {
        cr4: vcpu.cr4(),
        xcr0: vcpu.guest_components.into(),
        allowed_xcr0: vcpu::components().into(),
        call: CallInstruction::Vmmcall,
        epc: enclave::sections(),
    };
    let values = domain0(leaf, subleaf, cpuid, &context);
    vcpu.set_rax(values.eax.into());
    vcpu.set_register(Register::Rbx, values.ebx.into());
    vcpu.set_register(Register::Rcx, values.ecx.into());
    vcpu.set_register(Register::Rdx, values.edx.into());
    vcpu.advance_past(LENGTH);
}
