//! What each core's control registers must say while the monitor runs.

use crate::instructions::{cpuid, read_cr4, write_cr4};
use crate::vcpu;

const XSAVE: u32 = 1 << 26;
const PROTECTION_KEYS: u32 = 1 << 3;
const KEYS_COMPONENT: u32 = 1 << 9;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_PROTECTION_KEYS: u64 = 1 << 22;

/// Finds out which vector state the CPU has; on the bootstrap core, before [`prepare`].
pub fn find_vector_state() {
    if cpuid(1, 0).ecx & XSAVE != 0 {
        let components = cpuid(0xd, 0).eax & vcpu::VECTOR_COMPONENTS;
        let keys = if components & KEYS_COMPONENT != 0 {
            cpuid(0xd, 9).ebx
        } else {
            0
        };
        vcpu::set_components(components, keys);
    }
}

/// Switches on what the monitor uses, on this core.
///
/// # Safety
/// Once a core, while the monitor boots.
pub unsafe fn prepare() {
    let components = vcpu::components();
    if components == 0 {
        return;
    }
    let mut cr4 = read_cr4() | CR4_OSXSAVE;
    if cpuid(7, 0).ecx & PROTECTION_KEYS != 0 {
        // The caller's protection keys are read by RDPKRU when its tables are walked.
        cr4 |= CR4_PROTECTION_KEYS;
    }
    // SAFETY: CPUID reports these features; the monitor's own pages are no user pages, so keys do not apply to it.
    unsafe {
        write_cr4(cr4);
        core::arch::asm!("xsetbv", in("ecx") 0, in("eax") components, in("edx") 0, options(nostack));
    }
}
