//! The monitor's own page tables beyond the first 512 GiB, which the entry code has mapped.

use adyton_x86::paging::{ENTRIES, Entry, index, span};

use crate::frames::FRAMES;

const PROCESSOR_TABLE: u8 = 3;

unsafe extern "C" {
    static mut boot_root: [u64; ENTRIES];
}

/// Maps physical memory one to one up to `end`, by pages of 1 GiB.
///
/// # Panics
/// If the reserve has no page left for the tables.
///
/// # Safety
/// On the bootstrap core while no other runs; [`FRAMES`] gives out pages below 512 GiB.
pub unsafe fn map_up_to(end: u64) {
    let mut start = span(PROCESSOR_TABLE);
    while start < end {
        let table = FRAMES
            .allocate()
            .expect("the reserve is too small for the page tables")
            .value();
        for slot in 0..ENTRIES as u64 {
            let base = start + slot * span(2);
            let entry = base | Entry::PRESENT | Entry::WRITABLE | Entry::LARGE;
            // SAFETY: the page is fresh.
            unsafe { (table as *mut u64).add(slot as usize).write(entry) };
        }
        // SAFETY: as the caller warrants.
        unsafe {
            boot_root[index(start, PROCESSOR_TABLE)] = table | Entry::PRESENT | Entry::WRITABLE
        };
        start += span(PROCESSOR_TABLE);
    }
}
