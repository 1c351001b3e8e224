//! The monitor's own page tables beyond what the entry code has made: beyond the first 512 GiB, and where a page must not be mapped.

use core::arch::asm;

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

/// Unmaps pages, so that touching one is a page fault. Large pages are split as far as needed.
///
/// # Panics
/// If the reserve has no page left for the tables.
///
/// # Safety
/// On the bootstrap core while no other runs; nothing that is used lies on these pages, which are mapped.
pub unsafe fn unmap(pages: &[u64]) {
    for &page in pages {
        let mut table = (&raw mut boot_root).cast::<u64>();
        for level in (1..=PROCESSOR_TABLE).rev() {
            // SAFETY: the tables are mapped one to one, and nobody else changes them.
            table = unsafe { next_table(table.add(index(page, level)), level) };
        }
        // SAFETY: as above.
        unsafe { table.add(index(page, 0)).write(0) };
    }
    // SAFETY: what is no longer mapped is not used; no page is global.
    unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
}

/// The table that an entry at `level` names, made out of the large page that it maps if it does.
///
/// # Safety
/// The entry is one of the monitor's own tables, and present.
unsafe fn next_table(entry: *mut u64, level: u8) -> *mut u64 {
    // SAFETY: as the caller warrants.
    let old = Entry(unsafe { entry.read() });
    if !old.is_leaf(level) {
        return old.table() as *mut u64;
    }
    let table = FRAMES
        .allocate()
        .expect("the reserve is too small for the page tables")
        .value() as *mut u64;
    let kind = if level > 1 { Entry::LARGE } else { 0 };
    for slot in 0..ENTRIES {
        let base = old.page(level) + slot as u64 * span(level - 1);
        // SAFETY: the page is fresh.
        unsafe {
            table
                .add(slot)
                .write(base | Entry::PRESENT | Entry::WRITABLE | kind)
        };
    }
    // SAFETY: as the caller warrants; what it maps stays the same.
    unsafe { entry.write(table as u64 | Entry::PRESENT | Entry::WRITABLE) };
    table
}
