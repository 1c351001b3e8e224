//! Domain 0's writes to the I/O APICs: a device's interrupt must not arrive as an INIT or a system-management interrupt,
//! which would take a core out of the monitor.
//!
//! An I/O APIC is reached through a window: one register chooses which other one the second shows (82093AA datasheet,
//! section 3.0). Both exit on writes, so that choosing and writing are one step here, whatever another core does
//! meanwhile.

use adyton_x86::apic::permitted_vector;

use super::store::Registers;
use crate::lock::Lock;
use crate::machine;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
/// The number of the first register of the first entry; an entry is a low and a high register.
const FIRST_ENTRY: u32 = 0x10;

static WRITING: Lock<()> = Lock::new(());

/// The I/O APIC at this address.
pub(super) struct IoApic(u64);

/// The one whose registers these are; several may share a page.
pub(super) fn at(address: u64) -> Option<IoApic> {
    let page = address & !0xfff;
    let below = |base: &&u64| **base & !0xfff == page && **base <= address;
    let found = machine::get().io_apics.iter().filter(below).max();
    found.map(|base| IoApic(*base))
}

impl IoApic {
    /// Offset of an address in its page from its first register.
    pub(super) fn offset(&self, address: u64) -> u64 {
        address.wrapping_sub(self.0)
    }

    fn register(&self, offset: u64) -> *mut u32 {
        self.0.wrapping_add(offset) as *mut u32
    }
}

impl Registers for IoApic {
    fn read(&self, offset: u64) -> u32 {
        // SAFETY: in the page of a device that is domain 0's; reads have no effect.
        unsafe { self.register(offset & 0xffc).read_volatile() }
    }

    fn write(&self, offset: u64, value: u32) {
        // A store that begins inside a register is one to that register.
        let offset = offset & !3;
        let guard = WRITING.lock();
        let chosen = self.read(SELECT) & 0xff;
        let is_low_half = chosen >= FIRST_ENTRY && chosen.is_multiple_of(2);
        let value = if offset == WINDOW && is_low_half {
            permitted_vector(value)
        } else {
            value
        };
        // SAFETY: the device is domain 0's, and no entry delivers what domain 0 may not send.
        unsafe { self.register(offset & 0xffc).write_volatile(value) };
        drop(guard);
    }
}
