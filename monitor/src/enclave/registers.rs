//! Registers between a vCPU and what leaves see of them.

use adyton_sgx::{Flags, Processor};

use crate::vcpu::{Vcpu, components};
use crate::vendor::Vendor;

/// The registers of a vCPU at an instruction of this length. FS and GS are right if they were saved before.
#[inline]
pub(super) fn of(vcpu: &Vcpu, length: u64) -> Processor {
    let (fs, gs) = Vendor::current().hidden_segments(vcpu);
    Processor {
        general: vcpu.general(),
        rip: vcpu.rip(),
        next: vcpu.rip().wrapping_add(length),
        flags: Flags::from_bits_retain(vcpu.rflags()),
        fs,
        gs,
        xcr0: u64::from(vcpu.guest_components),
    }
}

/// Gives a vCPU the registers that a leaf has left.
#[inline]
pub(super) fn put(vcpu: &mut Vcpu, processor: &Processor) {
    vcpu.set_general(processor.general);
    vcpu.set_rip(processor.rip);
    vcpu.set_rflags(processor.flags.bits());
    if components() != 0 {
        vcpu.guest_components = processor.xcr0 as u32;
    }
}
