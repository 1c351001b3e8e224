//! The local APIC of the core that runs this, in whichever mode domain 0 has put it.

use adyton_x86::apic::{Command, DEFAULT_BASE, base, register};

use crate::instructions::{read_msr, write_msr};
use crate::interrupts;

/// In the spurious-interrupt vector register: switched on in software.
const SWITCHED_ON: u32 = 1 << 8;

/// Whether this core's APIC is driven by MSRs.
#[must_use]
pub fn is_extended() -> bool {
    // SAFETY: the register exists on every x86-64 CPU.
    unsafe { read_msr(base::MSR) & base::EXTENDED != 0 }
}

/// This core's identifier.
#[must_use]
pub fn id() -> u32 {
    if is_extended() {
        read(register::ID)
    } else {
        read(register::ID) >> 24
    }
}

/// Reads a register.
#[must_use]
pub fn read(offset: u64) -> u32 {
    if is_extended() {
        // SAFETY: x2APIC mode is on, and callers name registers that it has.
        return unsafe { read_msr(msr(offset)) as u32 };
    }
    // SAFETY: domain 0 cannot move the registers, so they are at their default address, which is mapped one to one.
    unsafe { ((DEFAULT_BASE + offset) as *const u32).read_volatile() }
}

/// Writes a register; whether there is such a register and it took the value (an xAPIC does not say).
///
/// # Safety
/// The write must be one that domain 0 may do, or what the monitor does to itself.
pub unsafe fn write(offset: u64, value: u32) -> bool {
    if is_extended() {
        // SAFETY: as the caller warrants.
        return unsafe { interrupts::try_write_msr(msr(offset), value.into()) };
    }
    // SAFETY: as the caller warrants; see `read`.
    unsafe { ((DEFAULT_BASE + offset) as *mut u32).write_volatile(value) };
    true
}

/// Sends an interrupt command to one physical destination.
///
/// # Safety
/// What is sent must leave the target inside the monitor.
pub unsafe fn send(destination: u32, command: Command) {
    if is_extended() {
        let value = u64::from(destination) << 32 | u64::from(command.0);
        // SAFETY: as the caller warrants.
        unsafe { write_msr(msr(register::COMMAND), value) };
        return;
    }
    // Domain 0 may be between its two writes; its half must survive.
    let high = read(register::COMMAND_HIGH);
    wait_until_sent();
    // SAFETY: as the caller warrants.
    unsafe {
        write(register::COMMAND_HIGH, destination << 24);
        write(register::COMMAND, command.0);
    }
    wait_until_sent();
    // SAFETY: what domain 0 had there.
    unsafe { write(register::COMMAND_HIGH, high) };
}

/// Sends an interrupt command in x2APIC mode as domain 0 wrote it; whether the hardware accepts it.
///
/// # Safety
/// See [`send`]; x2APIC mode is on.
pub unsafe fn send_as_is(value: u64) -> bool {
    // SAFETY: as the caller warrants.
    unsafe { interrupts::try_write_msr(msr(register::COMMAND), value) }
}

/// Sends an NMI to a core.
pub fn send_nmi(destination: u32) {
    // SAFETY: an NMI takes the target from a guest into the monitor, where it is counted.
    unsafe { send(destination, Command::NMI) };
}

/// Sends an ordinary interrupt to a core of domain 0's. Vectors below 16 are none.
pub fn interrupt(destination: u32, vector: u8) {
    // SAFETY: it is domain 0's to take, and held while a core is not domain 0's.
    unsafe { send(destination, Command::fixed(vector)) };
}

/// Ends the interrupt in service.
pub fn end_interrupt() {
    // SAFETY: the interrupt was taken by the monitor.
    unsafe { write(register::END_OF_INTERRUPT, 0) };
}

/// Whether this core's APIC is switched off in software: then it takes NMIs, INITs and start-ups, and no interrupt (Intel SDM volume 3,
/// section 11.4.7.2).
#[must_use]
pub fn is_off() -> bool {
    read(register::SPURIOUS) & SWITCHED_ON == 0
}

/// Does to this core's APIC what an INIT does: nothing pending, everything masked, switched off in software.
pub fn reset_own() {
    const MASKED: u32 = 1 << 16;
    // SAFETY: these are the values after a reset (Intel SDM volume 3, section 11.4.7.1).
    unsafe {
        for vector in (register::LOCAL_TIMER..=register::LOCAL_ERROR).step_by(16) {
            write(vector, MASKED);
        }
        write(register::TIMER_COUNT, 0);
        write(register::TASK_PRIORITY, 0);
        // The vectors in service: one end of interrupt each.
        for word in 0..8 {
            for _ in 0..read(register::IN_SERVICE + word * 16).count_ones() {
                write(register::END_OF_INTERRUPT, 0);
            }
        }
        if (0..8).any(|word| read(register::REQUESTED + word * 16) != 0) {
            write(register::SPURIOUS, SWITCHED_ON | 0xff);
            interrupts::discard_pending();
        }
        write(register::SPURIOUS, 0xff);
        if !is_extended() {
            write(register::LOGICAL_DESTINATION, 0);
            write(register::DESTINATION_FORMAT, u32::MAX);
        }
    }
}

fn wait_until_sent() {
    // Bounded: an APIC that never sends must not hang the monitor.
    for _ in 0..100_000 {
        if read(register::COMMAND) & Command::PENDING == 0 {
            return;
        }
        core::hint::spin_loop();
    }
}

const fn msr(offset: u64) -> u32 {
    0x800 + (offset / 16) as u32
}
