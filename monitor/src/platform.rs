//! Resetting the machine and switching it off, the ways that a PC has for it.

use core::arch::asm;

use crate::acpi::{Register, Reset};
use crate::instructions::{output8, stop};
use crate::machine;

/// The reset control register of Intel's chipsets, and QEMU's.
pub const RESET_CONTROL: u16 = 0xcf9;
/// The keyboard controller's command port.
pub const KEYBOARD_COMMAND: u16 = 0x64;

/// Resets the machine, by the first way that works. Scrub before.
pub fn reset() -> ! {
    if let Some(Reset {
        register: Register::Port(port),
        value,
    }) = machine::try_get()
        .and_then(|machine| machine.fixed)
        .and_then(|fixed| fixed.reset)
    {
        // SAFETY: the firmware says that this resets; nothing is left to lose.
        unsafe { output8(port, value) };
    }
    // SAFETY: ports that reset the machine, or do nothing where they are not there.
    unsafe {
        output8(RESET_CONTROL, 2);
        output8(RESET_CONTROL, 6);
        output8(KEYBOARD_COMMAND, 0xfe);
    }
    // The last way: an exception that cannot be delivered.
    let no_table = [0u8; 10];
    // SAFETY: the machine is being reset.
    unsafe { asm!("lidt [{}]", "ud2", in(reg) &no_table) };
    stop()
}
