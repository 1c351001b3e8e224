//! Memory never outlives its secrecy: what happens before the machine is reset or switched off.

use crate::address::PAGE_SIZE;
use crate::instructions::write_back_caches;
use crate::machine;

/// Zeroes the whole pool, and writes it back from the caches.
///
/// Called before every reset, power-off and shutdown that passes through the monitor, and by its panic handler. It takes
/// no lock and needs nothing that a panic could have broken. Another core may still run a domain meanwhile; what
/// that writes is its own loss, and it ends with the reset that follows.
pub fn everything() {
    let Some(machine) = machine::try_get() else {
        return;
    };
    let pool = machine.layout.pool;
    let mut page = pool.start;
    while page < pool.end {
        // SAFETY: the pool is RAM, mapped one to one, and nothing of the monitor's lies in it.
        unsafe { core::ptr::write_bytes(page as *mut u8, 0, PAGE_SIZE as usize) };
        page += PAGE_SIZE;
    }
    write_back_caches();
}
