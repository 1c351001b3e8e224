//! The story of a boot, top down: from the first 64-bit instruction to domain 0.
#![cfg_attr(not(test), no_std)]
#![no_main]

use adyton_monitor::{boot, console};

/// Called by the entry code (`boot/entry.rs`) on the bootstrap processor, after a start by PVH.
///
/// # Safety
/// Only the entry code may call it, once, with the address of the loader's start information.
#[unsafe(no_mangle)]
unsafe extern "C" fn pvh_main(start_information: u64) -> ! {
    console::initialize();
    // SAFETY: the entry code passes on what the loader gave, and nothing has been written to memory yet.
    unsafe { boot::after_pvh(start_information) }
}

/// Called by the entry code on the bootstrap processor, after a start by Multiboot2.
///
/// # Safety
/// Only the entry code may call it, once, with the address of the loader's information.
#[unsafe(no_mangle)]
unsafe extern "C" fn multiboot_main(information: u64) -> ! {
    console::initialize();
    // SAFETY: as above.
    unsafe { boot::after_multiboot(information) }
}
