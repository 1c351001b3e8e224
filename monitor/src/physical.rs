//! Physical memory by address, as the monitor sees it: everything is mapped one to one.

use crate::acpi::PhysicalMemory;
use crate::memory::Range;

/// All memory, for parsers that ask by address.
#[derive(Clone, Copy, Debug)]
pub struct Memory;

impl PhysicalMemory for Memory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        // What the entry code has mapped; firmware tables lie below 4 GiB, and addresses come from them.
        let end = address.saturating_add(buffer.len() as u64);
        if address == 0 || end > 1 << 39 {
            return false;
        }
        // SAFETY: mapped, and only used while booting, when nothing else changes the firmware's memory.
        unsafe {
            core::ptr::copy_nonoverlapping(address as *const u8, buffer.as_mut_ptr(), buffer.len());
        }
        true
    }
}

/// The bytes of a range.
///
/// # Safety
/// The range is memory, and nobody writes to it while the slice is used.
#[must_use]
pub unsafe fn bytes(range: Range) -> &'static [u8] {
    // SAFETY: as the caller warrants.
    unsafe { core::slice::from_raw_parts(range.start as *const u8, range.size() as usize) }
}

/// The bytes of the ACPI table at this address, header included.
///
/// # Safety
/// A table lies there whose length was checked, and nobody else uses it now.
#[must_use]
pub unsafe fn acpi_table(address: u64) -> &'static mut [u8] {
    const LENGTH: u64 = 4;
    // SAFETY: as the caller warrants; tables have no alignment.
    unsafe {
        let size = ((address + LENGTH) as *const u32).read_unaligned();
        core::slice::from_raw_parts_mut(address as *mut u8, size as usize)
    }
}

/// Copies `bytes` to `address`.
///
/// # Safety
/// There is memory, which is the caller's to change, and which `bytes` does not overlap.
pub unsafe fn write(address: u64, bytes: &[u8]) {
    // SAFETY: as the caller warrants.
    unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
}
