//! Waking the application processors, one after the other.

use adyton_x86::apic::Command;

use super::Core;
use crate::boot::trampoline;
use crate::instructions::output8;
use crate::{apic, log};

/// Microseconds from INIT to start-up (Intel SDM volume 3, section 9.4.4.1, says 10 ms; CPUs of this century need none).
const AFTER_INIT: u32 = 1000;
const AFTER_STARTUP: u32 = 200;
/// An emulator on a busy host runs a core's thread when it can; hardware needs far less.
const PATIENCE: u32 = 10_000_000;

/// Starts all cores but the first, which runs this.
///
/// # Safety
/// The trampoline's page must be free RAM, and the other cores must still be waiting for their first start-up.
pub unsafe fn start_all(cores: &'static [Core]) {
    // SAFETY: as the caller warrants.
    unsafe { trampoline::install() };
    for core in cores.iter().skip(1) {
        // SAFETY: the one before has come up or was given up.
        unsafe { trampoline::set_stack(core.stack_end() as u64) };
        // SAFETY: the core waits, and starts in the trampoline.
        unsafe { apic::send(core.apic_id, Command::INIT) };
        pause(AFTER_INIT);
        for _ in 0..2 {
            // SAFETY: as above.
            unsafe { apic::send(core.apic_id, Command::start_up(trampoline::PAGE)) };
            pause(AFTER_STARTUP);
            if core.is_started() {
                break;
            }
        }
        for _ in 0..PATIENCE {
            if core.is_started() {
                break;
            }
            pause(1);
        }
        // A late one would share its stack with the next: better no boot than that.
        assert!(
            core.is_started(),
            "core {} (APIC {}) does not start",
            core.index,
            core.apic_id
        );
        log!("core {} (APIC {}) is up", core.index, core.apic_id);
    }
}

/// Waits about so many microseconds: a write to the diagnostics port takes one on the oldest bus there is.
fn pause(microseconds: u32) {
    for _ in 0..microseconds {
        // SAFETY: the port shows a boot progress code to whoever looks, and does nothing else.
        unsafe { output8(0x80, 0) };
    }
}
