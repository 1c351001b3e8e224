//! Configuration space, as the monitor itself reads and writes it: by the window that the firmware describes, never by the two ports
//! that domain 0 uses meanwhile.

use adyton_x86::pci::{ABSENT, HAS_CAPABILITIES, register};

use crate::acpi::Segment;
use crate::address::PAGE_SIZE;

/// The monitor maps physical memory one to one up to here at least.
const MAPPED: u64 = 512 << 30;
/// More capabilities than fit into configuration space.
const MOST_CAPABILITIES: usize = 48;

/// Configuration space, a function being bus << 8 | device << 3 | function.
pub trait Configuration {
    /// The 32-bit register that holds `offset`.
    fn read(&self, function: u16, offset: u16) -> u32;

    /// Writes `width` bytes, 1, 2 or 4, at `offset`, a multiple of `width`.
    fn write(&mut self, function: u16, offset: u16, width: u8, value: u32);

    /// The 16 bits at `offset`, which is even.
    fn read16(&self, function: u16, offset: u16) -> u16 {
        (self.read(function, offset) >> (8 * u32::from(offset & 2))) as u16
    }

    /// The byte at `offset`.
    fn read8(&self, function: u16, offset: u16) -> u8 {
        (self.read(function, offset) >> (8 * u32::from(offset & 3))) as u8
    }

    /// Whether there is such a function.
    fn is_present(&self, function: u16) -> bool {
        let identity = self.read(function, register::IDENTITY);
        identity != ABSENT && identity as u16 != ABSENT as u16
    }

    /// Where the function's first capability of this kind stands.
    fn capability(&self, function: u16, kind: u8) -> Option<u16> {
        if self.read(function, register::COMMAND) & HAS_CAPABILITIES == 0 {
            return None;
        }
        let mut offset = self.read8(function, register::CAPABILITIES);
        for _ in 0..MOST_CAPABILITIES {
            let place = u16::from(offset & !3);
            if place < register::FIRST_OWN {
                return None;
            }
            let header = self.read(function, place);
            if header as u8 == kind {
                return Some(place);
            }
            offset = (header >> 8) as u8;
        }
        None
    }
}

/// The window of the first segment group.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    base: u64,
    first_bus: u8,
    last_bus: u8,
}

impl Window {
    /// Among those of the machine, if it has one for bus 0 and the monitor reaches it.
    #[must_use]
    pub fn find(segments: &[Segment]) -> Option<Self> {
        let found = segments
            .iter()
            .find(|segment| segment.group == 0 && segment.first_bus == 0)?;
        let window = Self {
            base: found.base,
            first_bus: found.first_bus,
            last_bus: found.last_bus,
        };
        let end = found.base.checked_add(256 << 20)?;
        (end <= MAPPED && found.base.is_multiple_of(1 << 20)).then_some(window)
    }

    /// The page of the function's space.
    #[must_use]
    pub const fn page(self, function: u16) -> u64 {
        self.base + function as u64 * PAGE_SIZE
    }

    const fn place(self, function: u16, offset: u16) -> Option<u64> {
        let bus = (function >> 8) as u8;
        if bus < self.first_bus || bus > self.last_bus {
            return None;
        }
        Some(self.page(function) + (offset as u64 & (PAGE_SIZE - 1)))
    }
}

impl Configuration for Window {
    fn read(&self, function: u16, offset: u16) -> u32 {
        self.place(function, offset & !3).map_or(ABSENT, |place| {
            // SAFETY: inside the window that the firmware describes, mapped one to one; reading a header has no effect.
            unsafe { (place as *const u32).read_volatile() }
        })
    }

    fn write(&mut self, function: u16, offset: u16, width: u8, value: u32) {
        let Some(place) = self.place(function, offset) else {
            return;
        };
        // SAFETY: as for `read`; what is written is the matter of this folder's modules.
        unsafe {
            match width {
                1 => (place as *mut u8).write_volatile(value as u8),
                2 if offset & 1 == 0 => (place as *mut u16).write_volatile(value as u16),
                4 if offset & 3 == 0 => (place as *mut u32).write_volatile(value),
                _ => {}
            }
        }
    }
}
