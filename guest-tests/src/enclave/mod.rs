//! Enclaves that domain 0's own driver loads: that they run, and that the operating system cannot abuse them.

mod abuse;
mod again;
mod breakpoint;
pub mod code;
pub mod driver;
pub(crate) mod evidence;
pub mod image;
pub mod instructions;
pub mod program;
mod random;
mod running;
pub mod signature;
mod tables;

use code::Command;
use image::{Attributes, Image, PAGE, Page, secinfo};
pub(crate) use tables::physical_pages;

/// The tests, which need an EPC.
pub(crate) fn tests() -> impl Iterator<Item = crate::Test> {
    let rooms = [
        running::TESTS,
        breakpoint::TESTS,
        abuse::TESTS,
        again::TESTS,
        evidence::TESTS,
        tables::TESTS,
        random::TESTS,
    ];
    rooms.into_iter().flatten().copied()
}

/// Pages of the tests' enclave by number.
pub mod place {
    /// The first TCS; its frames follow.
    pub const TCS: u64 = 0;
    /// Two SSA frames.
    pub const FRAMES: u64 = 1;
    /// The second TCS and its frames.
    pub const SECOND_TCS: u64 = 3;
    /// The code.
    pub const CODE: u64 = 6;
    /// Pages of data, each full of its own number.
    pub const DATA: u64 = 7;
    /// How many of those.
    pub const DATA_PAGES: u64 = 17;
}

/// The tests' enclave.
pub fn image(attributes: Attributes) -> Image {
    let mut pages = Vec::new();
    for tcs in [place::TCS, place::SECOND_TCS] {
        pages.push(control(tcs + 1, place::CODE, place::DATA));
        pages.push(data(0));
        pages.push(data(0));
    }
    let mut code = [0; PAGE];
    code[..code::bytes().len()].copy_from_slice(code::bytes());
    pages.push(Page {
        bytes: Box::new(code),
        flags: secinfo::REGULAR | secinfo::READ | secinfo::EXECUTE,
    });
    pages.extend((0..place::DATA_PAGES).map(|number| data(number + 1)));
    Image {
        size: 32 * PAGE as u64,
        base: None,
        frame_pages: 1,
        attributes,
        pages,
        heap: 0,
    }
}

/// A page of data that is full of a word.
fn data(word: u64) -> Page {
    let mut bytes = [0; PAGE];
    for place in bytes.chunks_exact_mut(8) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Page {
        bytes: Box::new(bytes),
        flags: secinfo::REGULAR | secinfo::READ | secinfo::WRITE,
    }
}

/// A TCS whose frames, first instruction, and FS and GS begin in these pages (Intel SDM volume 3D, table 35-4).
fn control(frames: u64, entry: u64, segments: u64) -> Page {
    let mut bytes = [0; PAGE];
    let mut put = |place: usize, value: u64| {
        bytes[place..place + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(16, frames * PAGE as u64);
    // CSSA 0, NSSA 2.
    put(24, 2 << 32);
    put(32, entry * PAGE as u64);
    put(48, segments * PAGE as u64);
    put(56, segments * PAGE as u64);
    // FSLIMIT and GSLIMIT.
    put(64, 0x0fff_0000_0fff);
    Page {
        bytes: Box::new(bytes),
        flags: secinfo::TCS,
    }
}

/// Its name in messages.
pub fn name(command: Command) -> String {
    format!("{command:?}").to_lowercase()
}
