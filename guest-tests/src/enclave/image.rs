//! An enclave before it is loaded: its pages, and the measurement that they must have (Intel SDM volume 3D, section 37.4.1).

use std::ops::Range;

use sha2::{Digest, Sha256};

/// Bytes of a page.
pub const PAGE: usize = 4096;

/// Bits of a page's SECINFO.
pub mod secinfo {
    /// It can be read.
    pub const READ: u64 = 1;
    /// It can be written.
    pub const WRITE: u64 = 1 << 1;
    /// It can be executed.
    pub const EXECUTE: u64 = 1 << 2;
    /// A thread control structure.
    pub const TCS: u64 = 1 << 8;
    /// An ordinary page.
    pub const REGULAR: u64 = 2 << 8;
}

/// What an enclave says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Attributes {
    /// ATTRIBUTES, without INIT.
    pub flags: u64,
    /// XFRM.
    pub xfrm: u64,
    /// MISCSELECT.
    pub miscselect: u32,
    /// ISVPRODID.
    pub product: u16,
    /// ISVSVN.
    pub version: u16,
}

impl Attributes {
    /// DEBUG.
    pub const DEBUG: u64 = 1 << 1;
    /// Of a 64-bit enclave without anything special.
    pub const PLAIN: Self = Self {
        flags: 1 << 2,
        xfrm: 3,
        miscselect: 0,
        product: 7,
        version: 3,
    };
}

/// A page.
#[derive(Clone, Debug)]
pub struct Page {
    /// What is in it.
    pub bytes: Box<[u8; PAGE]>,
    /// SECINFO.FLAGS.
    pub flags: u64,
}

/// All pages, the first at the enclave's base.
#[derive(Clone, Debug)]
pub struct Image {
    /// Bytes of address space: a power of two.
    pub size: u64,
    /// Where it must lie; `None` if anywhere will do.
    pub base: Option<u64>,
    /// Pages of an SSA frame.
    pub frame_pages: u32,
    /// What it says of itself.
    pub attributes: Attributes,
    /// Its pages.
    pub pages: Vec<Page>,
    /// How many pages of zeros come behind them, whose contents are not measured.
    pub heap: u64,
}

/// SECINFO.FLAGS of pages of zeros.
pub const HEAP_FLAGS: u64 = secinfo::REGULAR | secinfo::READ | secinfo::WRITE;

impl Image {
    /// The numbers of the pages of zeros.
    pub fn heap_pages(&self) -> Range<u64> {
        let first = self.pages.len() as u64;
        first..first + self.heap
    }

    /// MRENCLAVE.
    pub fn measurement(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let (frame, size) = (self.frame_pages.to_le_bytes(), self.size.to_le_bytes());
        hash.update(header(b"ECREATE\0", &[&frame, &size]));
        let added = |number: u64, flags: u64| {
            let offset = number * PAGE as u64;
            header(
                b"EADD\0\0\0\0",
                &[&offset.to_le_bytes(), &flags.to_le_bytes()],
            )
        };
        for (page, number) in self.pages.iter().zip(0_u64..) {
            let offset = number * PAGE as u64;
            hash.update(added(number, page.flags));
            for (part, chunk) in page.bytes.chunks(256).zip(0_u64..) {
                let place = offset + 256 * chunk;
                hash.update(header(b"EEXTEND\0", &[&place.to_le_bytes()]));
                hash.update(part);
            }
        }
        for number in self.heap_pages() {
            hash.update(added(number, HEAP_FLAGS));
        }
        hash.finalize().into()
    }
}

/// A block of 64 bytes: a name, fields, zeros.
fn header(name: &[u8; 8], fields: &[&[u8]]) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(name);
    let mut place = 8;
    for field in fields {
        bytes[place..place + field.len()].copy_from_slice(field);
        place += field.len();
    }
    bytes
}
