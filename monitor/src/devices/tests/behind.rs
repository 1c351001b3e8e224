//! Functions behind bridges: which can be given away, and what of them and of their ports stays meanwhile.

use adyton_abi::error::Error;
use adyton_x86::pci::{capability, extended, register};

use super::{Function, Space, judge, measured, space};
use crate::devices::configuration::Configuration;
use crate::devices::kept::Kept;
use crate::devices::permission::{Write, moves_nothing};
use crate::devices::root_port::{above, separate};

const PORT: u16 = 0x40;
const BEHIND: u16 = 0x500;
const WINDOW: u32 = 0xfd10_fd00;
const SERVICES: u32 = 0x5f;
/// Where the port says what it keeps apart.
const ACCESS: u16 = 0x148;

/// A bridge of this kind, with bus 5 behind it, and access control services.
fn port(kind: u32) -> Function {
    let mut port = Function::new(0x000c_1b36, 0x06_0400, 1);
    port.put(register::BRIDGE_BUSES, 0x0005_0500, 0x00ff_ffff);
    port.put(register::BRIDGE_MEMORY, WINDOW, 0xffff_ffff);
    port.put(register::BRIDGE_PREFETCHABLE, 0x0001_fff1, 0);
    port.capability(0x54, capability::EXPRESS, kind << 20, 0);
    port.put(register::EXTENDED, 0x1480_0001, 0);
    let header = u32::from(extended::ACCESS_CONTROL) | 1 << 16;
    port.put(ACCESS, header, 0);
    port.put(ACCESS + 4, SERVICES, 0xffff_0000);
    port
}

/// The sample with a root port, and a network card behind it.
fn machine() -> Space {
    let mut space = space();
    let mut card = Function::new(0x10d3_8086, 0x02_0000, 0);
    card.base(0, 0xfd00_0000, 128 << 10, false);
    space.functions.insert(PORT, port(4));
    space.functions.insert(BEHIND, card);
    space
}

fn change(space: &mut Space, function: u16, offset: u16, value: u32) {
    let found = space.functions.get_mut(&function).unwrap();
    found.put(offset, value, 0);
}

#[test]
fn what_stands_alone_behind_a_root_port_can_be_given() {
    let mut space = machine();
    let known = measured(&mut space);
    let identity = 0x02_0000 << 32 | 0x10d3_8086;
    assert_eq!(judge(&space, &known, BEHIND), Ok(identity));
    assert_eq!(above(&space, BEHIND), Ok(PORT));
    assert!(judge(&space, &known, super::EDU).is_ok());
}

#[test]
fn what_stands_behind_other_bridges_cannot() {
    // An endpoint, an upstream and a downstream port of a switch, bridges to and from conventional buses.
    for kind in [0, 5, 6, 7, 8] {
        let mut space = machine();
        space.functions.insert(PORT, port(kind));
        let known = measured(&mut space);
        let found = judge(&space, &known, BEHIND);
        assert_eq!(found, Err(Error::Unassignable), "{kind}");
    }
    let mut space = machine();
    let known = measured(&mut space);
    let express = space.functions[&PORT].bytes[0x54];
    assert_eq!(express, capability::EXPRESS, "the control");
    change(&mut space, PORT, 0x54, 0);
    let found = judge(&space, &known, BEHIND);
    assert_eq!(found, Err(Error::Unassignable), "a conventional bridge");
}

#[test]
fn who_has_neighbours_or_a_long_way_cannot() {
    let buses = [0x0006_0500, 0x0005_0400, 0x0005_0501, 0x0005_0600];
    for (buses, expected) in buses.into_iter().zip([
        Error::Unassignable,
        Error::Unassignable,
        Error::Unassignable,
        Error::NotDevice,
    ]) {
        let mut space = machine();
        let known = measured(&mut space);
        assert!(judge(&space, &known, BEHIND).is_ok(), "the control");
        change(&mut space, PORT, register::BRIDGE_BUSES, buses);
        let found = judge(&space, &known, BEHIND);
        assert_eq!(found, Err(expected), "{buses:#x}");
    }
    let mut space = machine();
    let known = measured(&mut space);
    change(&mut space, BEHIND, register::HEADER, 0x80 << 16);
    let found = judge(&space, &known, BEHIND);
    assert_eq!(found, Err(Error::Unassignable), "several functions");
    let mut space = machine();
    let card = space.functions[&BEHIND].clone();
    space.functions.insert(BEHIND + 8, card);
    let known = measured(&mut space);
    let found = judge(&space, &known, BEHIND + 8);
    assert_eq!(found, Err(Error::Unassignable), "not the first");
}

#[test]
fn two_bridges_to_one_bus_make_it_nobody_s() {
    let mut space = machine();
    let known = measured(&mut space);
    space.functions.insert(PORT + 8, port(4));
    assert_eq!(judge(&space, &known, BEHIND), Err(Error::Entangled));
}

#[test]
fn a_port_that_does_not_keep_devices_apart_has_nothing_to_give() {
    for missing in [0, 2, 3, 4] {
        let mut space = machine();
        let known = measured(&mut space);
        change(&mut space, PORT, ACCESS + 4, SERVICES & !(1 << missing));
        let found = judge(&space, &known, BEHIND);
        assert_eq!(found, Err(Error::Unassignable), "{missing}");
    }
    let mut space = machine();
    separate(&mut space, PORT);
    assert_eq!(space.read16(PORT, ACCESS + 6), 0x1d);
}

#[test]
fn bus_numbers_name_nobody_else_s_sizes() {
    let mut space = machine();
    let mut other = port(4);
    other.put(register::BRIDGE_BUSES, 0x0006_0600, 0);
    other.put(register::BRIDGE_MEMORY, 0xfd30_fd20, 0);
    let mut large = Function::new(0x11e8_1234, 0x00ff00, 0);
    large.base(0, 0xfd20_0000, 1 << 20, false);
    space.functions.insert(PORT + 8, other);
    space.functions.insert(0x600, large);
    let known = measured(&mut space);
    let size = |space: &Space, function| {
        let (sizes, port) = known.of(space, function).unwrap();
        let registers = sizes.locate(space, function).unwrap();
        (registers[0].range.size(), port)
    };
    assert_eq!(size(&space, 0x600), (1 << 20, Some(PORT + 8)));
    // Domain 0 exchanges the numbers, and what stands there with them.
    change(&mut space, PORT, register::BRIDGE_BUSES, 0x0006_0600);
    change(&mut space, PORT + 8, register::BRIDGE_BUSES, 0x0005_0500);
    let card = space.functions.remove(&BEHIND).unwrap();
    let large = space.functions.insert(0x600, card).unwrap();
    space.functions.insert(BEHIND, large);
    assert_eq!(size(&space, 0x600), (128 << 10, Some(PORT)));
    assert_eq!(size(&space, BEHIND), (1 << 20, Some(PORT + 8)));
}

#[test]
fn registers_lie_in_the_window_and_in_nobody_else_s() {
    let mut space = machine();
    let known = measured(&mut space);
    for (window, fits) in [
        (0xfd00_fd00, true),
        (0xfcf0_fcf0, false),
        (0xfcf0_fd00, false),
        (0xfd10_fd10, false),
    ] {
        change(&mut space, PORT, register::BRIDGE_MEMORY, window);
        let found = judge(&space, &known, BEHIND).is_ok();
        assert_eq!(found, fits, "{window:#x}");
    }
    change(&mut space, PORT, register::BRIDGE_MEMORY, WINDOW);
    assert!(judge(&space, &known, BEHIND).is_ok(), "the control");
    change(&mut space, super::BRIDGE, register::BRIDGE_MEMORY, WINDOW);
    let found = judge(&space, &known, BEHIND);
    assert_eq!(found, Err(Error::Entangled), "another bridge's window");
}

#[test]
fn virtual_functions_are_neighbours() {
    for function in [BEHIND, super::EDU] {
        let mut space = machine();
        let known = measured(&mut space);
        let header = u32::from(extended::VIRTUAL_FUNCTIONS) | 1 << 16;
        change(&mut space, function, register::EXTENDED, header);
        assert!(
            judge(&space, &known, function).is_ok(),
            "there could be some"
        );
        change(&mut space, function, register::EXTENDED + 8, 1);
        let found = judge(&space, &known, function);
        assert_eq!(found, Err(Error::Unassignable));
    }
}

#[test]
fn the_port_stays_while_something_is_away() {
    let space = machine();
    let kept = Kept::nothing();
    kept.keep(&space);
    let goes = |offset: u16, width: u8, value: Option<u32>| {
        moves_nothing(&space, &kept, PORT, Write { offset, width }, value)
    };
    for (offset, width) in [
        (register::BRIDGE_BUSES, 4),
        (register::BRIDGE_BUSES + 1, 1),
        (register::BRIDGE_MEMORY, 4),
        (register::BRIDGE_PREFETCHABLE + 4, 4),
        (register::BRIDGE_CONTROL, 2),
        (ACCESS + 4, 4),
        (ACCESS + 6, 2),
    ] {
        assert!(!goes(offset, width, None), "{offset:#x}");
    }
    assert!(goes(register::BRIDGE_MEMORY, 4, Some(WINDOW)), "put back");
    assert!(goes(register::COMMAND, 2, None), "the control");
    assert!(goes(0x54 + 0x10, 2, None), "the link is domain 0's");
}
