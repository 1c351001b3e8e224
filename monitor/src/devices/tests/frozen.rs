//! What domain 0 may write while a function is away, and by what the function was judged.

use adyton_abi::error::Error;
use adyton_x86::pci::{base_address, register};

use super::{BRIDGE, DISK, EDU, Space, judge, measured, space};
use crate::devices::configuration::Configuration;
use crate::devices::kept::Kept;
use crate::devices::permission::{Write, moves_nothing};
use crate::devices::ports::{DATA, offsets, writes};
use crate::devices::quiet;

const ENABLE: u32 = 1 << 31;
const PLACE: u32 = 0xfe60_0000;

fn kept(space: &Space) -> Kept {
    let kept = Kept::nothing();
    kept.keep(space);
    kept
}

fn goes_through(space: &Space, kept: &Kept, write: (u16, u8), value: u32) -> bool {
    let (offset, width) = write;
    moves_nothing(space, kept, EDU, Write { offset, width }, Some(value))
}

#[test]
fn the_number_of_a_register_is_read_in_both_ways() {
    let function = u32::from(EDU) << 8;
    assert_eq!(offsets(ENABLE | function | 0x10), [0x10, 0x10]);
    assert_eq!(offsets(ENABLE | function | 1 << 24 | 0x10), [0x10, 0x110]);
    assert_eq!(offsets(ENABLE | function | 0xf << 24 | 0xfc), [0xfc, 0xffc]);
    let found = writes(ENABLE | 1 << 24 | 0x10, DATA + 2, 2).unwrap();
    let [low, high] = [0x12, 0x112].map(|offset| Write { offset, width: 2 });
    assert_eq!(found, [low, high]);
}

#[test]
fn no_store_reaches_over_the_edge_of_the_register() {
    let fits = |port, width| writes(ENABLE | 0x10, port, width).is_some();
    for (port, width) in [(DATA, 4), (DATA + 2, 2), (DATA + 3, 1), (DATA + 1, 2)] {
        assert!(fits(port, width), "{port:#x}, {width}");
    }
    for (port, width) in [(DATA + 1, 4), (DATA + 3, 2), (DATA - 1, 4), (DATA + 4, 1)] {
        assert!(!fits(port, width), "{port:#x}, {width}");
    }
}

#[test]
fn only_what_stood_in_a_register_is_put_back() {
    let space = space();
    let kept = kept(&space);
    assert!(goes_through(&space, &kept, (0x10, 4), PLACE), "the control");
    assert!(!goes_through(&space, &kept, (0x10, 4), PLACE + 0x10_0000));
    for offset in [0x0e, 0x0f, 0x11, 0x12, 0x13] {
        assert!(
            !goes_through(&space, &kept, (offset, 4), PLACE),
            "{offset:#x}"
        );
    }
    for width in [1, 2] {
        assert!(
            !goes_through(&space, &kept, (0x10, width), PLACE),
            "{width}"
        );
    }
    let any = Write {
        offset: 0x10,
        width: 4,
    };
    assert!(!moves_nothing(&space, &kept, EDU, any, None));
}

#[test]
fn what_an_earlier_freeze_kept_is_not_put_back() {
    let mut space = space();
    let kept = kept(&space);
    let gone = space.functions.remove(&EDU).unwrap();
    kept.keep(&space);
    space.functions.insert(EDU, gone);
    assert!(!goes_through(&space, &kept, (0x10, 4), PLACE));
    assert!(goes_through(&space, &kept, (0x10, 4), 0));
}

/// Two functions lie at one place; one is reset between the moment at which things are frozen and that at which the other is judged, and would
/// be put back over it.
#[test]
fn a_function_is_judged_by_what_may_be_put_back() {
    let mut space = space();
    let sizes = measured(&mut space);
    space.write(DISK, register::BASE_ADDRESS, 4, PLACE);
    space.write(DISK, register::BASE_ADDRESS + 4, 4, 0);
    let kept = kept(&space);
    space.write(DISK, register::BASE_ADDRESS, 4, 0);
    assert!(judge(&space, &sizes, EDU).is_ok(), "the control");
    assert_eq!(
        judge(&kept.over(space.clone()), &sizes, EDU),
        Err(Error::Entangled)
    );
}

/// What the monitor puts back after its own reset is what was judged.
#[test]
fn a_function_that_was_reset_meanwhile_gets_its_addresses_back() {
    let mut space = space();
    let kept = kept(&space);
    space.write(EDU, register::BASE_ADDRESS, 4, 0);
    let addresses = quiet::addresses(&kept.over(space.clone()), EDU);
    assert_eq!(addresses[0], PLACE);
}

/// A bridge whose header says that it is something else, and a ROM that answers no more.
#[test]
fn all_that_stands_between_is_kept() {
    let mut space = space();
    let disk = space.functions.get_mut(&DISK).unwrap();
    disk.put(register::ROM, PLACE | base_address::ROM_ENABLE, !0);
    let kept = kept(&space);
    let bridge = space.functions.get_mut(&BRIDGE).unwrap();
    bridge.put(register::HEADER, 0, 0);
    space.write(DISK, register::ROM, 4, 0);
    let remembered = kept.over(space.clone());
    for (function, offset) in [(BRIDGE, register::HEADER), (DISK, register::ROM)] {
        assert_ne!(
            remembered.read(function, offset),
            space.read(function, offset)
        );
    }
    let live = [
        register::IDENTITY,
        register::COMMAND,
        register::CLASS,
        0x40,
        0x100,
    ];
    for offset in live {
        assert_eq!(remembered.read(DISK, offset), space.read(DISK, offset));
    }
}
