//! What domain 0's vCPUs intercept.
//!
//! As little as keeps the monitor in control: interrupts, HLT, MWAIT, control registers and the time-stamp counter are
//! domain 0's own (the first HLT or MWAIT after somebody has asked for the core excepted, see [`crate::cores::whole`]).

use adyton_x86::svm::{Intercept1, Intercept2};

use super::maps;
use crate::address::HostPhysical;
use crate::vcpu::Vcpu;

/// The address space number until the vCPU is entered for the first time.
const SPACE: u32 = 1;

/// Alignment check and debug: a guest can make either recur for ever inside the CPU, where not even an NMI gets through
/// (CVE-2015-5307, CVE-2015-8104).
const ENDLESS_EXCEPTIONS: u32 = 1 << 17 | 1 << 1;

/// Fills in the controls.
pub fn configure(vcpu: &mut Vcpu, nested_root: HostPhysical) {
    vcpu.set_nested_root(nested_root, SPACE);
    let place = &raw const *vcpu as u64;
    let vmcb = vcpu.vmcb_mut();
    // Where the run loop finds the vCPU again.
    vmcb.host_word = place;
    vmcb.intercept1 = Intercept1::NMI
        | Intercept1::INIT
        | Intercept1::CPUID
        | Intercept1::INVD
        | Intercept1::INVLPGA
        | Intercept1::IO
        | Intercept1::MSR
        | Intercept1::SHUTDOWN;
    vmcb.intercept2 = Intercept2::VMRUN
        | Intercept2::VMMCALL
        | Intercept2::VMLOAD
        | Intercept2::VMSAVE
        | Intercept2::STGI
        | Intercept2::CLGI
        | Intercept2::SKINIT;
    vmcb.intercept_exceptions = ENDLESS_EXCEPTIONS;
    vmcb.io_map = maps::domain0_io().value();
    vmcb.msr_map = maps::domain0_msrs().value();
}
