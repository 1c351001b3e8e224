//! AMD SVM behind the seam of [`super::Vendor`].

pub mod domain;
pub mod domain0;
pub mod enclave;
mod exit;
pub mod maps;
pub mod own;
#[cfg(not(any(test, fuzzing)))]
pub mod run;
pub mod state;
mod step;

pub use step::{Step, begin_step, end_step};

use core::sync::atomic::{AtomicBool, Ordering};

use super::Unsupported;
use crate::cores::Core;
use crate::instructions::{cpuid, read_msr, write_msr};

const EFER: u32 = 0xc000_0080;
const EFER_SVME: u64 = 1 << 12;
const VM_CR: u32 = 0xc001_0114;
const VM_CR_DISABLED: u64 = 1 << 4;
const VM_HSAVE_PA: u32 = 0xc001_0117;

/// Whether the CPU has SVM with nested paging, and the firmware allows it.
pub fn detect() -> Result<(), Unsupported> {
    if cpuid(0x8000_0000, 0).eax < 0x8000_000a || cpuid(0x8000_0001, 0).ecx & 1 << 2 == 0 {
        return Err(Unsupported::NoExtension);
    }
    // SAFETY: the register exists where CPUID reports SVM.
    if unsafe { read_msr(VM_CR) } & VM_CR_DISABLED != 0 {
        return Err(Unsupported::Locked);
    }
    if cpuid(0x8000_000a, 0).edx & 1 == 0 {
        return Err(Unsupported::NoNestedPaging);
    }
    let can_flush_space = cpuid(0x8000_000a, 0).edx & 1 << 6 != 0;
    CAN_FLUSH_SPACE.store(can_flush_space, Ordering::Relaxed);
    Ok(())
}

/// Whether the CPU reports the next instruction's address at an exit.
pub(super) fn has_next_rip() -> bool {
    cpuid(0x8000_000a, 0).edx & 1 << 3 != 0
}

/// Whether a flush can be limited to one address space: asked at each entry to an enclave, where CPUID would cost more than the rest.
static CAN_FLUSH_SPACE: AtomicBool = AtomicBool::new(false);

/// Whether a flush can be limited to one address space.
#[inline]
fn can_flush_space() -> bool {
    CAN_FLUSH_SPACE.load(Ordering::Relaxed)
}

/// The greatest address-space number; 0 is the host's.
pub fn last_address_space() -> u32 {
    cpuid(0x8000_000a, 0).ebx.saturating_sub(1).max(1)
}

/// Switches SVM on.
///
/// # Safety
/// Once a core, while the monitor boots, after [`detect`]; the task register is the monitor's.
pub unsafe fn enable(core: &Core) {
    // SAFETY: `detect` has found SVM usable; the page is this core's alone.
    unsafe {
        write_msr(EFER, read_msr(EFER) | EFER_SVME);
        write_msr(VM_HSAVE_PA, core.host_save.value());
        own::keep(core);
    }
}
