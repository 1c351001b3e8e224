//! Domain 0's writes to its local APIC: what could take a core out of the monitor is played in software.
//!
//! Reads go straight to the registers, and so do almost all writes. Interrupt commands are sorted by how they are delivered:
//! interrupts pass, INIT and start-ups become messages between cores ([`crate::cores::Startup`]), NMIs are noted for
//! their targets, system-management interrupts are dropped. The identifier cannot be changed, and a local vector with such
//! a delivery is written masked.

use adyton_x86::apic::{Command, Delivery, Shorthand, permitted_vector, register};

use super::store::Registers;
use crate::apic;
use crate::cores::{self, Core, Startup};

/// The registers of the APIC of the core that runs this.
pub(super) struct LocalApic(pub(super) &'static Core);

impl Registers for LocalApic {
    fn read(&self, offset: u64) -> u32 {
        // In x2APIC mode the page is dead.
        if apic::is_extended() {
            u32::MAX
        } else {
            apic::read(offset)
        }
    }

    fn write(&self, offset: u64, value: u32) {
        if !apic::is_extended() {
            write(self.0, offset, value);
        }
    }
}

/// A 32-bit write to a register of this core's APIC.
fn write(core: &'static Core, offset: u64, value: u32) {
    match offset {
        register::ID => return,
        register::COMMAND => {
            let destination = apic::read(register::COMMAND_HIGH) >> 24;
            let destination = if destination == 0xff {
                u32::MAX
            } else {
                destination
            };
            if filter(core, destination, Command(value)) {
                // SAFETY: an ordinary interrupt, to the destination that domain 0 has written.
                unsafe { apic::write(register::COMMAND, value) };
            }
            return;
        }
        register::LOGICAL_DESTINATION => core.set_logical_id(value),
        register::DESTINATION_FORMAT => core.set_destination_format(value),
        _ => {}
    }
    // SAFETY: the register concerns domain 0's interrupts on this core only.
    unsafe { apic::write(offset, permitted(offset, value)) };
}

/// A write to an x2APIC register that exits: the interrupt command and the local vectors. Whether it is accepted.
pub(super) fn write_msr(core: &'static Core, msr: u32, value: u64) -> bool {
    let offset = u64::from(msr & 0xff) << 4;
    if !apic::is_extended() {
        return false;
    }
    if offset == register::COMMAND {
        let (destination, command) = ((value >> 32) as u32, Command(value as u32));
        // SAFETY: an ordinary interrupt.
        return !filter(core, destination, command) || unsafe { apic::send_as_is(value) };
    }
    let Ok(value) = u32::try_from(value) else {
        return false;
    };
    // SAFETY: the register concerns domain 0's interrupts on this core only.
    unsafe { apic::write(offset, permitted(offset, value)) }
}

/// What may be written to a register, which may be a local vector.
fn permitted(offset: u64, value: u32) -> u32 {
    // The timer's vector has no delivery mode.
    let is_vector = offset == register::LOCAL_MACHINE_CHECK
        || (register::LOCAL_TIMER + 0x10..=register::LOCAL_ERROR).contains(&offset)
        || register::EXTENDED_LOCAL.contains(&offset);
    if is_vector {
        permitted_vector(value)
    } else {
        value
    }
}

/// Plays what must be played. Whether the hardware may send the command.
fn filter(core: &'static Core, destination: u32, command: Command) -> bool {
    match command.delivery() {
        Delivery::Fixed | Delivery::LowestPriority => return true,
        Delivery::NonMaskable => {
            for_each_target(core, destination, command, Core::send_nmi_to_domain0);
        }
        Delivery::Init if command.is_deassert() => {}
        Delivery::Init => {
            for_each_target(core, destination, command, |core| {
                core.send_startup(Startup::Init)
            });
        }
        Delivery::StartUp => {
            let start = Startup::Start(command.vector());
            for_each_target(core, destination, command, |core| core.send_startup(start));
        }
        Delivery::SystemManagement | Delivery::External | Delivery::Reserved => {}
    }
    false
}

fn for_each_target(own: &Core, destination: u32, command: Command, act: impl Fn(&'static Core)) {
    let extended = apic::is_extended();
    for core in cores::all() {
        let is_own = core.index == own.index;
        let meant = match command.shorthand() {
            Shorthand::Own => is_own,
            Shorthand::All => true,
            Shorthand::Others => !is_own,
            Shorthand::None if destination == u32::MAX => true,
            Shorthand::None if !command.is_logical() => core.apic_id == destination,
            Shorthand::None if extended => has_extended_logical_id(core.apic_id, destination),
            Shorthand::None => core.has_logical_id(destination as u8),
        };
        if meant {
            act(core);
        }
    }
}

/// Whether a logical x2APIC destination means this identifier (Intel SDM volume 3, section 11.12.10.2).
fn has_extended_logical_id(apic_id: u32, destination: u32) -> bool {
    destination >> 16 == apic_id >> 4 && destination & 1 << (apic_id & 0xf) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extended_logical_destinations() {
        assert!(has_extended_logical_id(0x13, 0x1_0008));
        assert!(has_extended_logical_id(0x13, 0x1_ffff));
        assert!(!has_extended_logical_id(0x13, 0x1_0004));
        assert!(!has_extended_logical_id(0x13, 0x0_0008));
    }

    #[test]
    fn dangerous_vectors_are_masked() {
        let (init, masked) = (5 << 8, 5 << 8 | 1 << 16);
        assert_eq!(permitted(0x350, init), masked);
        assert_eq!(permitted(0x500, init), masked);
        assert_eq!(permitted(0x360, 4 << 8), 4 << 8);
        assert_eq!(permitted(register::SPURIOUS, init), init);
    }
}
