//! Registers between a vCPU and what leaves see of them.

use adyton_sgx::{Flags, Processor, Segment};

use crate::vcpu::{Vcpu, components};
use crate::vendor::svm;
use adyton_x86::svm as hardware;

/// The registers of a vCPU at an instruction of this length. FS and GS are right if they were saved before.
#[inline]
pub(super) fn of(vcpu: &Vcpu, length: u64) -> Processor {
    let (fs, gs) = svm::enclave::segments(vcpu);
    Processor {
        general: vcpu.general(),
        rip: vcpu.rip(),
        next: vcpu.rip().wrapping_add(length),
        flags: Flags::from_bits_retain(vcpu.rflags()),
        fs: shown(fs),
        gs: shown(gs),
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

/// FS and GS as the hardware takes them.
#[inline]
pub(super) fn hidden(processor: &Processor) -> (hardware::Segment, hardware::Segment) {
    (packed(processor.fs), packed(processor.gs))
}

/// The VMCB packs bits 20 to 23 of a descriptor's upper word behind bits 8 to 15; the SDM leaves a gap.
fn shown(segment: hardware::Segment) -> Segment {
    let attributes = segment.attributes;
    Segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        rights: attributes & 0xff | (attributes & 0xf00) << 4,
    }
}

fn packed(segment: Segment) -> hardware::Segment {
    hardware::Segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        attributes: segment.rights & 0xff | (segment.rights & 0xf000) >> 4,
    }
}
