//! The ports through which domain 0 could reset the machine, put it to sleep, or call into system-management mode.
//!
//! All other ports are domain 0's own and do not exit. Here a write is looked at, what must happen first happens, and then
//! the port gets what bare metal would have given it, unless it is refused: then the write is dropped.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::acpi::{Fixed, Register as Place, Reset, SleepType};
use crate::devices::{controller_hub, ports};
use crate::instructions::{input8, input16, input32, output8, output16, output32};
use crate::machine::{self, Machine};
use crate::platform::{KEYBOARD_COMMAND, RESET_CONTROL};
use crate::vcpu::Vcpu;
use crate::vendor::{Io, svm};
use crate::{log, scrub};

const KEYBOARD_DATA: u16 = 0x60;
const SYSTEM_CONTROL: u16 = 0x92;
const SLEEP_ENABLE: u32 = 1 << 13;
/// The same in the sleep control register of hardware-reduced machines (ACPI 6.5, section 4.8.3.7).
const REDUCED_SLEEP_ENABLE: u32 = 1 << 5;
/// Bytes of a PM1 control register.
const PM1_CONTROL_SIZE: u16 = 2;

/// The next byte written to the keyboard controller's data port is its output port, whose bit 0 is the reset line.
static OUTPUT_PORT_FOLLOWS: AtomicBool = AtomicBool::new(false);

/// What a write must be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes through.
    Pass,
    /// It resets or switches off the machine: scrub, then let it through.
    Ends,
    /// It is dropped.
    Drop,
}

/// Makes the ports exit.
pub(super) fn trap(machine: &Machine) {
    for port in [
        RESET_CONTROL,
        SYSTEM_CONTROL,
        KEYBOARD_COMMAND,
        KEYBOARD_DATA,
    ] {
        svm::maps::trap_ports(port, 1);
    }
    if controller_hub::is_present() {
        svm::maps::trap_ports(controller_hub::INDEX, 2);
    }
    let Some(fixed) = machine.fixed else { return };
    if let Some(port) = fixed.smi_command {
        svm::maps::trap_ports(port, 1);
    }
    for place in [fixed.pm1a_control, fixed.pm1b_control, fixed.sleep_control] {
        if let Some(Place::Port(port)) = place {
            svm::maps::trap_ports(port, PM1_CONTROL_SIZE);
        }
    }
    if let Some(Place::Port(port)) = fixed.reset.map(|reset| reset.register) {
        svm::maps::trap_ports(port, 1);
    }
}

/// Answers an access to one of them.
pub(super) fn emulate(vcpu: &mut Vcpu, access: Io) {
    if access.string {
        // No driver uses string instructions on these ports.
        return vcpu.inject_general_protection();
    }
    if access.input {
        let value = input(access);
        let old = vcpu.rax();
        vcpu.set_rax(match access.size {
            1 => old & !0xff | u64::from(value & 0xff),
            2 => old & !0xffff | u64::from(value & 0xffff),
            _ => value.into(),
        });
    } else {
        write(access, vcpu.rax() as u32);
    }
    vcpu.advance_to(access.next_rip);
}

fn write(access: Io, value: u32) {
    let machine = machine::get();
    if access.port == ports::ADDRESS && access.size == 4 {
        return ports::select(value);
    }
    match verdict(access, value, machine.fixed.as_ref(), machine.power_off) {
        Verdict::Pass if is_configuration_data(access) => {
            ports::with_chosen(access.port, access.size, value, || output(access, value));
        }
        Verdict::Pass if is_power_management(access) && controller_hub::is_present() => {
            let (index, data) = chosen_and_written(access, value);
            if !controller_hub::write_ports(index, data, || output(access, value)) {
                log!("write of {value:#x} to power management dropped");
            }
        }
        Verdict::Pass => output(access, value),
        Verdict::Ends => {
            log!("domain 0 ends by port {:#x}", access.port);
            scrub::everything();
            output(access, value);
        }
        Verdict::Drop => log!("write of {value:#x} to port {:#x} dropped", access.port),
    }
}

/// Whether it reaches the register by which configuration space is accessed. It exits only while that must be looked at.
const fn is_configuration_data(access: Io) -> bool {
    reaches(access, ports::DATA, 4)
}

/// Whether it reaches the ports of AMD's controller hubs by which power management's registers are accessed.
const fn is_power_management(access: Io) -> bool {
    reaches(access, controller_hub::INDEX, 2)
}

/// Which register of power management's it chooses, if it chooses one, and whether it writes to the one that is chosen then.
fn chosen_and_written(access: Io, value: u32) -> (Option<u8>, bool) {
    let byte = |port| part(access, value, port, 1).map(|byte| byte as u8);
    let written = byte(controller_hub::DATA);
    (byte(controller_hub::INDEX), written.is_some())
}

/// Whether it reaches one of the `count` ports from `first` on.
const fn reaches(access: Io, first: u16, count: u16) -> bool {
    let (start, first) = (access.port as u32, first as u32);
    start < first + count as u32 && first < start + access.size as u32
}

fn verdict(access: Io, value: u32, fixed: Option<&Fixed>, power_off: Option<SleepType>) -> Verdict {
    if resets(access, value) {
        return Verdict::Ends;
    }
    let Some(fixed) = fixed else {
        return Verdict::Pass;
    };
    if let Some(command) = fixed
        .smi_command
        .and_then(|port| part(access, value, port, 1))
    {
        // Firmware is trusted, but not to resist every request: only the two that every system makes go to it.
        let harmless = fixed
            .ownership
            .iter()
            .any(|value| command & 0xff == u32::from(*value));
        return if harmless {
            Verdict::Pass
        } else {
            Verdict::Drop
        };
    }
    let blocks = [
        (fixed.pm1a_control, power_off.map(|kind| kind.a)),
        (fixed.pm1b_control, power_off.map(|kind| kind.b)),
    ];
    for (place, kind) in blocks {
        let Some(Place::Port(port)) = place else {
            continue;
        };
        let Some(written) = part(access, value, port, PM1_CONTROL_SIZE) else {
            continue;
        };
        if written & SLEEP_ENABLE != 0 {
            let wanted = (written >> 10 & 7) as u8;
            return if kind == Some(wanted) {
                Verdict::Ends
            } else {
                Verdict::Drop
            };
        }
    }
    let sleep_control = match fixed.sleep_control {
        Some(Place::Port(port)) => part(access, value, port, 1),
        _ => None,
    };
    if let Some(byte) = sleep_control.filter(|byte| byte & REDUCED_SLEEP_ENABLE != 0) {
        let wanted = (byte >> 2 & 7) as u8;
        return match power_off.is_some_and(|kind| kind.a == wanted) {
            true => Verdict::Ends,
            false => Verdict::Drop,
        };
    }
    match fixed.reset {
        Some(Reset {
            register: Place::Port(port),
            value: resets,
        }) if port != RESET_CONTROL
            && part(access, value, port, 1)
                .is_some_and(|byte| byte & 0xff == u32::from(resets)) =>
        {
            Verdict::Ends
        }
        _ => Verdict::Pass,
    }
}

/// Whether a write resets the machine by one of the ports that every PC has.
///
/// What is wider than a byte reaches one port after another, so a port is looked at wherever it stands in the access.
fn resets(access: Io, value: u32) -> bool {
    const RESET_CPU: u32 = 1 << 2;
    const FAST_RESET: u32 = 1 << 0;
    const WRITE_OUTPUT_PORT: u32 = 0xd1;
    const PULSE: u32 = 0xf0;
    // The one access round the reset control register that does not reach it: PCI's configuration address.
    let is_configuration = access.port == RESET_CONTROL - 1 && access.size == 4;
    let byte = |port| part(access, value, port, 1).map(|byte| byte & 0xff);
    if !is_configuration && byte(RESET_CONTROL).is_some_and(|byte| byte & RESET_CPU != 0) {
        return true;
    }
    if byte(SYSTEM_CONTROL).is_some_and(|byte| byte & FAST_RESET != 0) {
        return true;
    }
    let output_port =
        byte(KEYBOARD_DATA).filter(|_| OUTPUT_PORT_FOLLOWS.swap(false, Ordering::Relaxed));
    if output_port.is_some_and(|byte| byte & 1 == 0) {
        return true;
    }
    byte(KEYBOARD_COMMAND).is_some_and(|command| {
        OUTPUT_PORT_FOLLOWS.store(command == WRITE_OUTPUT_PORT, Ordering::Relaxed);
        command & PULSE == PULSE && command & 1 == 0
    })
}

/// What an access writes of the `size` bytes of register `port`, if anything.
fn part(access: Io, value: u32, port: u16, size: u16) -> Option<u32> {
    if !reaches(access, port, size) {
        return None;
    }
    let (first, port) = (u32::from(access.port), u32::from(port));
    let value = u64::from(value) & ((1 << (8 * u32::from(access.size))) - 1);
    let shifted = if first >= port {
        value << (8 * (first - port))
    } else {
        value >> (8 * (port - first))
    };
    Some(shifted as u32)
}

fn input(access: Io) -> u32 {
    // SAFETY: the port is domain 0's; the monitor only looks on.
    unsafe {
        match access.size {
            1 => input8(access.port).into(),
            2 => input16(access.port).into(),
            _ => input32(access.port),
        }
    }
}

fn output(access: Io, value: u32) {
    // SAFETY: as for `input`; what must not get there has been held back.
    unsafe {
        match access.size {
            1 => output8(access.port, value as u8),
            2 => output16(access.port, value as u16),
            _ => output32(access.port, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Fixed = Fixed {
        pm1a_control: Some(Place::Port(0x604)),
        pm1b_control: None,
        sleep_control: Some(Place::Port(0x610)),
        smi_command: Some(0xb2),
        ownership: [0xf1, 0xf0],
        reset: None,
        dsdt: None,
        hardware_reduced: false,
    };

    fn output_of(port: u16, size: u8) -> Io {
        Io {
            port,
            size,
            input: false,
            string: false,
            repeat: false,
            next_rip: 0,
        }
    }

    fn judge(port: u16, size: u8, value: u32) -> Verdict {
        let power_off = Some(SleepType { a: 5, b: 0 });
        verdict(output_of(port, size), value, Some(&FIXED), power_off)
    }

    #[test]
    fn power_management_s_registers_are_chosen_and_written_by_accesses_of_any_width() {
        for (port, size, value, expected) in [
            (0xcd6, 1, 0x62, (Some(0x62), false)),
            (0xcd7, 1, 0x62, (None, true)),
            (0xcd6, 2, 0x0862, (Some(0x62), true)),
            (0xcd4, 4, 0x0862_0000, (Some(0x62), true)),
            (0xcd5, 2, 0x6200, (Some(0x62), false)),
            (0xcd7, 4, 0x08, (None, true)),
        ] {
            let access = output_of(port, size);
            assert!(is_power_management(access), "{port:#x}");
            assert_eq!(chosen_and_written(access, value), expected, "{port:#x}");
        }
        for (port, size) in [(0xcd5, 1), (0xcd4, 2), (0xcd8, 1), (0xcd2, 4)] {
            assert!(!is_power_management(output_of(port, size)), "{port:#x}");
        }
    }

    #[test]
    fn ways_to_end() {
        assert_eq!(judge(0xcf9, 1, 6), Verdict::Ends);
        assert_eq!(judge(0xcf9, 1, 2), Verdict::Pass);
        assert_eq!(judge(0xcf8, 4, 0x8000_0600), Verdict::Pass);
        assert_eq!(judge(0x64, 1, 0xfe), Verdict::Ends);
        assert_eq!(judge(0x64, 1, 0xd1), Verdict::Pass);
        assert_eq!(judge(0x60, 1, 0), Verdict::Ends);
        assert_eq!(judge(0x60, 1, 0), Verdict::Pass);
        assert_eq!(judge(0x92, 1, 1), Verdict::Ends);
    }

    #[test]
    fn ways_to_end_in_wider_writes() {
        assert_eq!(judge(0xcf9, 2, 6), Verdict::Ends);
        assert_eq!(judge(0xcf8, 2, 0x600), Verdict::Ends);
        assert_eq!(judge(0xcf6, 4, 0x0600_0000), Verdict::Ends);
        assert_eq!(judge(0x91, 2, 0x100), Verdict::Ends);
        assert_eq!(judge(0x92, 2, 0x100), Verdict::Pass);
        assert_eq!(judge(0x63, 2, 0xfe00), Verdict::Ends);
        assert_eq!(judge(0x61, 4, 0xfe00_0000), Verdict::Ends);
        assert_eq!(judge(0x63, 2, 0xd100), Verdict::Pass);
        assert_eq!(judge(0x5f, 2, 0), Verdict::Ends);
    }

    #[test]
    fn sleep_and_system_management() {
        assert_eq!(judge(0x604, 2, 5 << 10 | 1 << 13), Verdict::Ends);
        assert_eq!(judge(0x605, 1, 5 << 2 | 1 << 5), Verdict::Ends);
        assert_eq!(judge(0x602, 4, (5 << 10 | 1 << 13) << 16), Verdict::Ends);
        assert_eq!(judge(0x604, 2, 1 << 10 | 1 << 13), Verdict::Drop);
        assert_eq!(judge(0x604, 2, 1), Verdict::Pass);
        assert_eq!(judge(0x610, 1, 5 << 2 | 1 << 5), Verdict::Ends);
        assert_eq!(judge(0x60f, 2, (5 << 2 | 1 << 5) << 8), Verdict::Ends);
        assert_eq!(judge(0x610, 1, 1 << 2 | 1 << 5), Verdict::Drop);
        assert_eq!(judge(0x610, 1, 5 << 2), Verdict::Pass);
        assert_eq!(judge(0xb2, 1, 0xf1), Verdict::Pass);
        assert_eq!(judge(0xb2, 1, 0x34), Verdict::Drop);
    }
}
