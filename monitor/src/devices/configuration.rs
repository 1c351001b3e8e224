//! Configuration space, as the monitor itself reads and writes it: by the window that the firmware describes, never by the two ports
//! that domain 0 uses meanwhile.

use core::iter::successors;

use adyton_x86::pci::{ABSENT, HAS_CAPABILITIES, header, register};

use crate::acpi::Segment;
use crate::address::PAGE_SIZE;
use crate::memory::Range;

/// The monitor maps physical memory one to one up to here at least.
const MAPPED: u64 = 512 << 30;
/// More capabilities than fit into configuration space.
const MOST_CAPABILITIES: usize = 48;
/// The same of extended ones, which take eight bytes at least.
const MOST_EXTENDED: usize = 480;

impl Segment {
    /// Where its buses are mapped, if domain 0's stores there are looked at, and carried out by the monitor: those of the first group, to which
    /// all functions belong that are kept from domain 0, where the monitor reaches all of them.
    #[must_use]
    pub fn watched(&self) -> Option<Range> {
        let start = self.base.checked_add(u64::from(self.first_bus) << 20)?;
        let end = self
            .base
            .checked_add((u64::from(self.last_bus) + 1) << 20)?;
        let is_whole = start < end && self.base.is_multiple_of(1 << 20);
        (self.group == 0 && is_whole && end <= MAPPED).then_some(Range { start, end })
    }
}

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

    /// Where the function's extended capabilities stand, and their headers. Whether the list ends is the function's matter.
    fn extended_capabilities(&self, function: u16) -> impl Iterator<Item = (u16, u32)> {
        let at = move |offset| (offset, self.read(function, offset));
        successors(Some(at(register::EXTENDED)), move |(_, header)| {
            let next = (header >> 20) as u16 & !3;
            (next >= register::EXTENDED).then(|| at(next))
        })
    }

    /// Where the function's first extended capability of this kind stands.
    fn extended_capability(&self, function: u16, kind: u16) -> Option<u16> {
        self.extended_capabilities(function)
            .take(MOST_EXTENDED)
            .take_while(|(_, header)| *header != ABSENT)
            .find(|(_, header)| *header as u16 == kind)
            .map(|(offset, _)| offset)
    }
}

/// The kind of the function's header.
pub fn header(space: &impl Configuration, function: u16) -> u8 {
    space.read8(function, register::HEADER + 2)
}

/// Whether it leads to another bus.
pub fn is_bridge(space: &impl Configuration, function: u16) -> bool {
    header(space, function) & !header::MORE_FUNCTIONS == header::BRIDGE
}

/// Whether its header is an ordinary device's, with other functions beside it or without.
pub fn is_ordinary(space: &impl Configuration, function: u16) -> bool {
    header(space, function) & !header::MORE_FUNCTIONS == header::ORDINARY
}

/// The window of the first segment group.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    base: u64,
    last_bus: u8,
}

impl Window {
    /// Among those of the machine, if it has one for bus 0 and the monitor reaches it.
    #[must_use]
    pub fn find(segments: &[Segment]) -> Option<Self> {
        let found = segments
            .iter()
            .find(|segment| segment.first_bus == 0 && segment.watched().is_some())?;
        Some(Self {
            base: found.base,
            last_bus: found.last_bus,
        })
    }

    /// The page of the function's space.
    #[must_use]
    pub const fn page(self, function: u16) -> u64 {
        self.base + function as u64 * PAGE_SIZE
    }

    const fn place(self, function: u16, offset: u16) -> Option<u64> {
        let bus = (function >> 8) as u8;
        if bus > self.last_bus {
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

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xb000_0000;

    fn segment(base: u64, group: u16, first_bus: u8, last_bus: u8) -> Segment {
        Segment {
            base,
            group,
            first_bus,
            last_bus,
        }
    }

    #[test]
    fn stores_are_watched_where_the_monitor_reaches() {
        let watched = |base, group, first, last| segment(base, group, first, last).watched();
        let range = |start, end| Some(Range { start, end });
        assert_eq!(watched(BASE, 0, 0, 255), range(BASE, BASE + (256 << 20)));
        assert_eq!(
            watched(BASE, 0, 2, 3),
            range(BASE + (2 << 20), BASE + (4 << 20))
        );
        let last = MAPPED - (1 << 20);
        assert_eq!(watched(last, 0, 0, 0), range(last, MAPPED));
        assert_eq!(watched(last, 0, 0, 1), None, "half of it is above");
        assert_eq!(watched(MAPPED, 0, 0, 0), None);
        assert_eq!(
            watched(!0xf_ffff, 0, 0, 255),
            None,
            "behind the last address"
        );
        assert_eq!(watched(BASE, 1, 0, 255), None, "another group");
        assert_eq!(watched(BASE + 4096, 0, 0, 255), None, "no bus begins there");
        assert_eq!(watched(BASE, 0, 1, 0), None, "no bus at all");
    }

    #[test]
    fn the_window_is_one_that_is_watched() {
        let far = segment(MAPPED, 0, 0, 255);
        let others = [far, segment(BASE, 1, 0, 255), segment(BASE, 0, 1, 255)];
        assert!(Window::find(&others).is_none());
        let found = Window::find(&[far, segment(BASE, 0, 0, 1)]).unwrap();
        assert_eq!(found.place(0x1ff, 0x10), Some(BASE + 0x1f_f010));
        assert_eq!(found.place(0x200, 0), None);
    }
}
