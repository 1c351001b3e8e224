//! What a domain sees of CPUID.
//!
//! [`domain0`] starts from what the hardware says and hides what the monitor keeps for itself: an operating system
//! should find its own machine. [`child`] starts from nothing and offers what the monitor switches for a domain: a
//! domain should find the same processor wherever it runs.
//!
//! Both are functions of the leaf, the hardware's answers and a [`Context`]. The hardware must be asked on the core
//! that the domain runs on, since some leaves name it.
//!
//! What must hold: no feature is shown whose registers [`super::msr`] denies, or whose state is not switched.

mod child;
mod domain0;
mod enclaves;
mod extended_state;

#[cfg(test)]
mod tests;

use core::arch::x86_64::CpuidResult;

use adyton_abi::discovery;
use adyton_x86::cpuid::{HYPERVISOR, HYPERVISOR_LAST, features_ecx};

use crate::memory::Range;

pub use child::child;
pub use domain0::domain0;

/// CR4.OSXSAVE, which CPUID shows.
const CR4_OSXSAVE: u64 = 1 << 18;

/// Nothing at all: what a reserved leaf says.
const ZERO: CpuidResult = CpuidResult {
    eax: 0,
    ebx: 0,
    ecx: 0,
    edx: 0,
};

/// What the answer depends on beside leaf and hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The vCPU's CR4.
    pub cr4: u64,
    /// The vCPU's XCR0.
    pub xcr0: u64,
    /// Which bits of XCR0 the monitor lets a child set. Domain 0 may set what the hardware has.
    pub allowed_xcr0: u64,
    /// Which instruction calls the monitor here.
    pub call: CallInstruction,
    /// The sections of the EPC; none where enclaves are not offered.
    pub epc: &'static [Range],
}

/// The instruction that calls the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum CallInstruction {
    /// AMD's.
    Vmmcall = 0,
    /// Intel's.
    Vmcall = 1,
}

/// Answers for the monitor's own leaves.
fn discovery(leaf: u32, context: &Context) -> Option<CpuidResult> {
    let [b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = discovery::SIGNATURE;
    match leaf.checked_sub(discovery::LEAF)? {
        0 => Some(CpuidResult {
            eax: discovery::LEAF + 1,
            ebx: u32::from_le_bytes([b0, b1, b2, b3]),
            ecx: u32::from_le_bytes([c0, c1, c2, c3]),
            edx: u32::from_le_bytes([d0, d1, d2, d3]),
        }),
        1 => Some(CpuidResult {
            eax: adyton_abi::VERSION,
            ebx: context.call as u32,
            ..ZERO
        }),
        _ => None,
    }
}

/// Whether the leaf is for hypervisors to answer.
fn is_hypervisor_leaf(leaf: u32) -> bool {
    (HYPERVISOR..=HYPERVISOR_LAST).contains(&leaf)
}

/// The OSXSAVE bit as CR4 has it; and there is a monitor, which programs look for only where this bit says so.
fn with_live_bits(ecx: u32, context: &Context) -> u32 {
    let ecx = ecx & !features_ecx::OSXSAVE | features_ecx::HYPERVISOR;
    if ecx & features_ecx::XSAVE != 0 && context.cr4 & CR4_OSXSAVE != 0 {
        ecx | features_ecx::OSXSAVE
    } else {
        ecx
    }
}
