//! Functions that are a table of bytes: what is found of them, who may write what, and how one comes to rest.

mod behind;
mod frozen;

use std::cell::RefCell;
use std::collections::BTreeMap;

use adyton_abi::error::Error;
use adyton_x86::pci::{ABSENT, capability, command, register};

use super::configuration::Configuration;
use super::inspection::inspect;
use super::known::Known;
use super::permission::{Write, holder_writes, moves_extended};
use super::quiet::{self, Reset};
use super::registers;
use super::{registers::extent, registry::part_of};
use crate::memory::Range;

const EDU: u16 = 0x20;
const DISK: u16 = 0x28;
const BRIDGE: u16 = 0x30;
const PAGE: u64 = 4096;

/// A function's bytes, and which of them can be written.
#[derive(Clone)]
struct Function {
    bytes: Vec<u8>,
    writable: Vec<u8>,
}

impl Function {
    fn new(identity: u32, class: u32, header: u8) -> Self {
        let mut function = Self {
            bytes: vec![0; 4096],
            writable: vec![0; 4096],
        };
        function.put(register::IDENTITY, identity, 0);
        function.put(register::COMMAND, 0, 0xffff);
        function.put(register::CLASS, class << 8, 0);
        function.put(register::HEADER, u32::from(header) << 16, 0);
        function
    }

    fn put(&mut self, offset: u16, value: u32, writable: u32) {
        let at = usize::from(offset);
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self.writable[at..at + 4].copy_from_slice(&writable.to_le_bytes());
    }

    /// A base address that decodes so much.
    fn base(&mut self, index: u16, address: u64, size: u64, long: bool) {
        let place = register::BASE_ADDRESS + 4 * index;
        let mask = !(size - 1);
        let kind = if long { 4 } else { 0 };
        self.put(place, address as u32 | kind, mask as u32);
        if long {
            self.put(place + 4, (address >> 32) as u32, (mask >> 32) as u32);
        }
    }

    /// A list of capabilities with this one alone.
    fn capability(&mut self, place: u8, kind: u8, word: u32, writable: u32) {
        let before = self.bytes[usize::from(register::CAPABILITIES)];
        self.put(register::COMMAND, 1 << 20, 0xffff);
        self.put(register::CAPABILITIES, place.into(), 0);
        let first = u32::from(kind) | u32::from(before) << 8 | word;
        self.put(place.into(), first, writable);
    }
}

#[derive(Clone, Default)]
struct Space {
    functions: BTreeMap<u16, Function>,
    /// Writes, in order.
    written: RefCell<Vec<(u16, u16, u32)>>,
}

impl Configuration for Space {
    fn read(&self, function: u16, offset: u16) -> u32 {
        self.functions.get(&function).map_or(ABSENT, |found| {
            let at = usize::from(offset & !3);
            u32::from_le_bytes(found.bytes[at..at + 4].try_into().unwrap())
        })
    }

    fn write(&mut self, function: u16, offset: u16, width: u8, value: u32) {
        self.written.borrow_mut().push((function, offset, value));
        let Some(found) = self.functions.get_mut(&function) else {
            return;
        };
        for (index, byte) in value.to_le_bytes().iter().enumerate().take(width.into()) {
            let at = usize::from(offset) + index;
            let mask = found.writable[at];
            found.bytes[at] = found.bytes[at] & !mask | byte & mask;
        }
    }
}

/// edu, a disk with two base addresses, and a bridge.
fn space() -> Space {
    let mut space = Space::default();
    let mut edu = Function::new(0x11e8_1234, 0x00ff00, 0);
    edu.base(0, 0xfe60_0000, 1 << 20, false);
    edu.capability(0x40, capability::MESSAGES, 0x0080_0000, 0x007f_0000);
    let mut disk = Function::new(0x0010_1b36, 0x01_0802, 0);
    disk.base(0, 0x80_0000_0000, 16 << 10, true);
    disk.base(2, 0xfe80_0000, 512, false);
    disk.put(register::BASE_ADDRESS + 12, 0xc001, 0xfffc);
    disk.capability(0x80, capability::EXPRESS, 0, 0);
    disk.put(0x84, capability::FUNCTION_RESET, 0);
    let mut bridge = Function::new(0x000c_1b36, 0x06_0400, 1);
    bridge.put(register::BRIDGE_MEMORY, 0xfe50_fe40, 0xffff_ffff);
    bridge.put(register::BRIDGE_PREFETCHABLE, 0x0001_fff1, 0);
    space.functions.insert(EDU, edu);
    space.functions.insert(DISK, disk);
    space.functions.insert(BRIDGE, bridge);
    space
}

fn measured(space: &mut Space) -> Known {
    Known::find(space, |_| false)
}

fn judge(space: &impl Configuration, known: &Known, function: u16) -> Result<u64, Error> {
    let findings = inspect(space, known, function, |range| range.start < 0x1000_0000)?;
    Ok(findings.identity)
}

#[test]
fn base_addresses_are_measured_and_stay() {
    let mut space = space();
    let before: Vec<u8> = space.functions[&DISK].bytes.clone();
    let sizes = measured(&mut space);
    assert_eq!(space.functions[&DISK].bytes, before);
    let found = sizes
        .on_first_bus(DISK)
        .unwrap()
        .locate(&space, DISK)
        .unwrap();
    let ranges: Vec<_> = found
        .iter()
        .map(|found| {
            (
                found.index,
                found.range.start,
                found.range.size(),
                found.offset,
            )
        })
        .collect();
    // Less than a page takes a page; ports take nothing.
    assert_eq!(
        ranges,
        [
            (0, 0x80_0000_0000, 16 << 10, 0),
            (2, 0xfe80_0000, PAGE, 16 << 10)
        ]
    );
    assert_eq!(extent(&found), 20 << 10);
    let part = part_of(&found, PAGE).unwrap();
    assert_eq!(
        (part.offset, part.base, part.size),
        (PAGE, 0x80_0000_1000, 12 << 10)
    );
    let part = part_of(&found, 16 << 10).unwrap();
    assert_eq!((part.base, part.size), (0xfe80_0000, PAGE));
    assert_eq!(part_of(&found, 20 << 10), None);
}

#[test]
fn nothing_answers_while_it_is_measured() {
    let mut space = space();
    registers::measure(&mut space, EDU);
    let written = space.written.borrow();
    let first = written.first().unwrap();
    assert_eq!(*first, (EDU, register::COMMAND, 0));
    assert_eq!(written.last().unwrap().1, register::COMMAND);
}

#[test]
fn what_can_be_given() {
    let mut space = space();
    let sizes = measured(&mut space);
    assert_eq!(
        judge(&space, &sizes, EDU),
        Ok(0x00_ff00 << 32 | 0x11e8_1234)
    );
    assert!(judge(&space, &sizes, DISK).is_ok());
    assert_eq!(judge(&space, &sizes, BRIDGE), Err(Error::Unassignable));
    assert_eq!(judge(&space, &sizes, 0x38), Err(Error::NotDevice));
    assert_eq!(judge(&space, &sizes, 0x120), Err(Error::NotDevice));
    let edu = space.functions.get_mut(&EDU).unwrap();
    edu.put(register::HEADER, 0x80 << 16, 0);
    assert_eq!(judge(&space, &sizes, EDU), Err(Error::Unassignable));
}

#[test]
fn what_lies_where_something_else_does_cannot() {
    let mut space = space();
    let sizes = measured(&mut space);
    let mut over = |address: u32| {
        space.write(EDU, register::BASE_ADDRESS, 4, address);
        judge(&space, &sizes, EDU)
    };
    assert!(over(0xfe60_0000).is_ok(), "the control");
    assert_eq!(over(0xfe80_0000), Err(Error::Entangled), "the disk");
    assert_eq!(
        over(0xfe50_0000),
        Err(Error::Entangled),
        "what the bridge passes on"
    );
    assert_eq!(over(0x0800_0000), Err(Error::Entangled), "memory");
    assert_eq!(over(0), Err(Error::Entangled), "nowhere");
}

#[test]
fn what_has_come_since_is_in_the_way() {
    let mut space = space();
    let sizes = measured(&mut space);
    let mut late = Function::new(0x11e8_1234, 0x00ff00, 0);
    late.base(0, 0xfd00_0000, 1 << 20, false);
    space.functions.insert(0x40, late);
    assert_eq!(judge(&space, &sizes, 0x40), Err(Error::NotDevice));
    assert_eq!(judge(&space, &sizes, EDU), Err(Error::Entangled));
}

#[test]
fn a_rom_that_answers_is_in_the_way() {
    let mut space = space();
    let sizes = measured(&mut space);
    let disk = space.functions.get_mut(&DISK).unwrap();
    disk.put(register::ROM, 0xfe60_0000, 0);
    assert!(judge(&space, &sizes, EDU).is_ok(), "it does not answer");
    let disk = space.functions.get_mut(&DISK).unwrap();
    disk.put(register::ROM, 0xfe60_0001, 0);
    assert_eq!(judge(&space, &sizes, EDU), Err(Error::Entangled));
}

#[test]
fn a_bridge_that_passes_nothing_on_is_in_nobody_s_way() {
    let space = space();
    let [memory, prefetchable, ..] = registers::bridged(&space, BRIDGE);
    let expected = Range {
        start: 0xfe40_0000,
        end: 0xfe60_0000,
    };
    assert_eq!(memory, expected);
    assert_eq!(prefetchable.size(), 0);
}

/// Base addresses that a reset has made 0, or that are put back half by half.
#[test]
fn what_may_come_to_lie_there_is_in_the_way() {
    let mut space = space();
    let sizes = measured(&mut space);
    let mut disk_at = |address: u64| {
        space.write(DISK, register::BASE_ADDRESS, 4, address as u32);
        space.write(DISK, register::BASE_ADDRESS + 4, 4, (address >> 32) as u32);
        judge(&space, &sizes, EDU)
    };
    assert!(disk_at(0x80_0000_0000).is_ok(), "the control");
    assert_eq!(
        disk_at(0x80_fe60_0000),
        Err(Error::Entangled),
        "its lower half"
    );
    let mut space = self::space();
    let mut large = Function::new(0x11e8_1234, 0x00ff00, 0);
    large.base(0, 0x100_0000_0000, 8 << 30, true);
    space.functions.insert(0x48, large);
    let sizes = measured(&mut space);
    assert_eq!(
        judge(&space, &sizes, EDU),
        Err(Error::Entangled),
        "lost, it covers all"
    );
    let mut space = self::space();
    let sizes = measured(&mut space);
    let bridge = space.functions.get_mut(&BRIDGE).unwrap();
    bridge.put(register::BRIDGE_PREFETCHABLE, 0xfe61_fe61, 0);
    bridge.put(register::BRIDGE_PREFETCHABLE + 4, 0x80, 0);
    bridge.put(register::BRIDGE_PREFETCHABLE + 8, 0x80, 0);
    assert_eq!(
        judge(&space, &sizes, EDU),
        Err(Error::Entangled),
        "a window"
    );
}

#[test]
fn what_moves_addresses() {
    let moves = |offset, width| Write { offset, width }.moves_addresses();
    for (offset, width) in [
        (0x10, 4),
        (0x18, 1),
        (0x1c, 2),
        (0x24, 4),
        (0x30, 4),
        (0x3e, 2),
    ] {
        assert!(moves(offset, width), "{offset:#x}");
    }
    for (offset, width) in [
        (0x04, 2),
        (0x0c, 4),
        (0x3c, 1),
        (0x3d, 1),
        (0x40, 4),
        (0xfc, 4),
    ] {
        assert!(!moves(offset, width), "{offset:#x}");
    }
    assert!(moves(0x0e, 4), "over the edge");
}

#[test]
fn extended_capabilities_that_move_addresses() {
    let mut space = space();
    let disk = space.functions.get_mut(&DISK).unwrap();
    disk.put(0x100, 0x0001 | 0x140 << 20, 0);
    disk.put(0x140, 0x0010 | 0x180 << 20, 0);
    disk.put(0x180, 0x0001, 0);
    let moves = |offset| moves_extended(&space, DISK, Write { offset, width: 4 });
    assert!(!moves(0x10) && !moves(0x104) && !moves(0x184));
    assert!(moves(0x148) && moves(0x164));
}

#[test]
fn a_list_of_capabilities_that_never_ends_does() {
    let mut space = space();
    let disk = space.functions.get_mut(&DISK).unwrap();
    disk.put(0x100, 0x0001 | 0x100 << 20, 0);
    disk.put(0x80, 0x8000, 0);
    assert!(moves_extended(
        &space,
        DISK,
        Write {
            offset: 0x104,
            width: 4
        }
    ));
    assert_eq!(space.capability(DISK, capability::MESSAGES), None);
}

#[test]
fn who_drives_a_function_switches_it_on_and_no_more() {
    let space = space();
    let writes = |offset, width, value| holder_writes(&space, EDU, Write { offset, width }, value);
    let pin = u32::from(command::NO_PIN);
    assert_eq!(writes(4, 2, 0xffff), Some(pin | 0x146));
    assert_eq!(writes(4, 2, 0), Some(pin));
    assert_eq!(writes(4, 4, 0), None);
    // The control and the rest of the capability, whose addresses are long; not its header, nor what is behind.
    for (offset, width) in [(0x42, 2), (0x44, 4), (0x48, 4), (0x4c, 2)] {
        assert_eq!(writes(offset, width, 7), Some(7), "{offset:#x}");
    }
    for (offset, width) in [
        (0x40, 2),
        (0x40, 4),
        (0x4e, 2),
        (0x4c, 4),
        (0x10, 4),
        (0x30, 4),
        (0x3c, 1),
    ] {
        assert_eq!(writes(offset, width, 7), None, "{offset:#x}");
    }
    assert_eq!(
        holder_writes(
            &space,
            DISK,
            Write {
                offset: 0x88,
                width: 2
            },
            0x8000
        ),
        None
    );
}

#[test]
fn a_silent_function_neither_accesses_nor_interrupts() {
    let mut space = space();
    space.write(EDU, register::COMMAND, 2, 7);
    space.write(EDU, 0x42, 2, 1);
    quiet::silence(&mut space, EDU);
    let command = space.read16(EDU, register::COMMAND);
    assert_eq!(command, command::MEMORY | command::NO_PIN);
    assert_eq!(space.read16(EDU, 0x42) & 1, 0);
}

#[test]
fn a_function_without_reset_gets_time_to_drain() {
    let mut space = space();
    let addresses = quiet::addresses(&space, EDU);
    quiet::begin(&mut space, EDU);
    for (elapsed, expected) in [(0, Reset::Goes), (499, Reset::Goes), (500, Reset::Done)] {
        assert_eq!(
            quiet::advance(&mut space, EDU, &addresses, elapsed),
            expected
        );
    }
}

#[test]
fn a_reset_loses_addresses_and_gets_them_back() {
    let mut space = space();
    let addresses = quiet::addresses(&space, DISK);
    quiet::begin(&mut space, DISK);
    assert_eq!(space.written.borrow().last(), Some(&(DISK, 0x88, 0x8000)));
    space.write(DISK, register::BASE_ADDRESS + 4, 4, 0);
    assert_eq!(
        quiet::advance(&mut space, DISK, &addresses, 99),
        Reset::Goes
    );
    assert_eq!(
        quiet::advance(&mut space, DISK, &addresses, 100),
        Reset::Done
    );
    assert_eq!(quiet::addresses(&space, DISK), addresses);
}

#[test]
fn a_function_that_does_not_come_to_rest_is_given_up() {
    let mut space = space();
    let addresses = quiet::addresses(&space, DISK);
    let disk = space.functions.get_mut(&DISK).unwrap();
    disk.put(0x88, capability::PENDING, 0);
    assert_eq!(
        quiet::advance(&mut space, DISK, &addresses, 4000),
        Reset::Goes
    );
    assert_eq!(
        quiet::advance(&mut space, DISK, &addresses, 5001),
        Reset::Failed
    );
    space.functions.remove(&DISK);
    assert_eq!(
        quiet::advance(&mut space, DISK, &addresses, 4000),
        Reset::Goes
    );
}
