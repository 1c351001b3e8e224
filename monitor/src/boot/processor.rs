//! What each core's control registers must say while the monitor runs.

use crate::instructions::{cpuid, read_cr4, write_cr4};
use crate::vcpu;

const XSAVE: u32 = 1 << 26;
const KEYS_COMPONENT: u32 = 1 << 9;

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
    // SAFETY: CPUID reports these features, and no page of the monitor's is a user page or global.
    unsafe { write_cr4(read_cr4() | control_bits()) };
    let components = vcpu::components();
    if components != 0 {
        // SAFETY: CPUID leaf 0Dh lists these components, and CR4.OSXSAVE is on.
        unsafe {
            core::arch::asm!("xsetbv", in("ecx") 0, in("eax") components, in("edx") 0, options(nostack));
        }
    }
}

/// The bits of CR4: what the monitor needs, what protects it from itself, and beyond that what kernels set too, because a CPU
/// or emulator may forget all translations when a world switch changes one of these bits.
fn control_bits() -> u64 {
    const PAGE_SIZE_EXTENSION: u64 = 1 << 4;
    const MACHINE_CHECK: u64 = 1 << 6;
    const GLOBAL_PAGES: u64 = 1 << 7;
    const OSXSAVE: u64 = 1 << 18;
    const EXECUTION_PREVENTION: u64 = 1 << 20;
    const ACCESS_PREVENTION: u64 = 1 << 21;
    const PROTECTION_KEYS: u64 = 1 << 22;
    let structured = cpuid(7, 0);
    let optional = [
        (vcpu::components() != 0, OSXSAVE),
        (structured.ebx & 1 << 7 != 0, EXECUTION_PREVENTION),
        (structured.ebx & 1 << 20 != 0, ACCESS_PREVENTION),
        (structured.ecx & 1 << 3 != 0, PROTECTION_KEYS),
    ];
    let always = PAGE_SIZE_EXTENSION | MACHINE_CHECK | GLOBAL_PAGES;
    optional
        .iter()
        .filter(|(present, _)| *present)
        .fold(always, |bits, (_, bit)| bits | bit)
}
