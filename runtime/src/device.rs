//! A PCI function that the owner gave, at the addresses of the window that is room ([`adyton_compose::convention::OFFER_WINDOW`]).
//!
//! Registers are read and written as they are, by volatile accesses of their own width. What the device reads and writes by itself is
//! guest-physical memory, which payloads have mapped one to one: [`Buffer`] is memory for that.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

use adyton_abi::start::Range;
use adyton_compose::devices::{self, Facts};
use adyton_compose::environment::Refusal;

use crate::Inside;

/// The function.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    registers: Range,
}

impl Device {
    pub(crate) const fn new(registers: Range) -> Self {
        Self { registers }
    }

    /// What it says that it is.
    ///
    /// # Errors
    /// `NotDevice` if the owner gave none.
    pub fn facts(&self) -> Result<Facts, Refusal> {
        devices::facts(&Inside, self.registers.base)
    }

    /// Guest-physical address of its registers.
    #[must_use]
    pub const fn address(&self) -> u64 {
        self.registers.base
    }

    fn place(&self, offset: u64, width: u64) -> u64 {
        let inside = offset <= self.registers.size && width <= self.registers.size - offset;
        assert!(
            inside && offset.is_multiple_of(width),
            "no register at {offset:#x}"
        );
        self.registers.base + offset
    }

    /// Reads a register of 32 bits.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        // SAFETY: inside the window, aligned; no Rust reference leads there.
        unsafe { (self.place(offset, 4) as *const u32).read_volatile() }
    }

    /// Writes one.
    pub fn write(&self, offset: u64, value: u32) {
        // SAFETY: as in `read`; what the device does with memory is held to this domain's.
        unsafe { (self.place(offset, 4) as *mut u32).write_volatile(value) }
    }

    /// Reads a register of 64 bits.
    #[must_use]
    pub fn read_long(&self, offset: u64) -> u64 {
        // SAFETY: as in `read`.
        unsafe { (self.place(offset, 8) as *const u64).read_volatile() }
    }

    /// Writes one.
    pub fn write_long(&self, offset: u64, value: u64) {
        // SAFETY: as in `write`.
        unsafe { (self.place(offset, 8) as *mut u64).write_volatile(value) }
    }

    /// Reads configuration space.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn configuration(&self, offset: u16, width: u8) -> Result<u32, Refusal> {
        devices::read(&Inside, self.registers.base, offset, width)
    }

    /// Writes it: the command register, and what concerns interrupts as messages.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn configure(&self, offset: u16, width: u8, value: u32) -> Result<(), Refusal> {
        devices::write(&Inside, self.registers.base, offset, width, value)
    }

    /// Where the capability of this kind stands in configuration space.
    #[must_use]
    pub fn capability(&self, kind: u8) -> Option<u16> {
        const FIRST: u16 = 0x34;
        const MOST: usize = 48;
        let mut place = self.configuration(FIRST, 1).ok()? as u16;
        for _ in 0..MOST {
            if place < 0x40 {
                return None;
            }
            let header = self.configuration(place & !3, 4).ok()?;
            if header as u8 == kind {
                return Some(place & !3);
            }
            place = (header >> 8 & 0xff) as u16;
        }
        None
    }
}

/// Memory that the device reads and writes as well: whole pages, never given back.
#[derive(Clone, Copy, Debug)]
pub struct Buffer(&'static [AtomicU64]);

#[repr(C, align(4096))]
struct Page([AtomicU64; 512]);

impl Buffer {
    /// So many pages, zeroed.
    #[must_use]
    pub fn new(pages: usize) -> Self {
        let fresh = || Page([const { AtomicU64::new(0) }; 512]);
        let memory: Vec<Page> = core::iter::repeat_with(fresh).take(pages).collect();
        let memory: &'static [Page] = Box::leak(memory.into_boxed_slice());
        // SAFETY: pages are nothing but their words, one behind another.
        Self(unsafe { core::slice::from_raw_parts(memory.as_ptr().cast(), pages * 512) })
    }

    /// Guest-physical address.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    /// The word with this number.
    #[must_use]
    pub fn load(&self, index: usize) -> u64 {
        self.0
            .get(index)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Stores one.
    pub fn store(&self, index: usize, value: u64) {
        if let Some(word) = self.0.get(index) {
            word.store(value, Ordering::Release);
        }
    }
}
