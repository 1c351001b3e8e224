//! Interrupts of domain 0's devices where units cannot forward them as they are: in QEMU, which delivers forwarded ones with vector 0.
//!
//! There a message is looked up in a table by the low bits of its data alone. In messages of a kernel that knows nothing of the table these are the
//! vector and how it is delivered, so that an entry which names the same vector does what the message said, but for its destination. With one core there
//! is one destination. Messages that would be INIT, system-management or non-maskable interrupts are looked up nowhere and refused, and so are a device's
//! plain writes that look like them: the emulator judges those by the entry of 00:14.0, as what the I/O APIC sends.
//!
//! With several cores nothing is looked up, and everything passes (design note 006).

use adyton_x86::iommu::{DeviceEntry, INTERRUPT_ENTRIES, InterruptEntry};

use crate::address::PAGE_SIZE;
use crate::frames::FRAMES;

const SIZE: u64 = (INTERRUPT_ENTRIES * size_of::<InterruptEntry>()) as u64;

/// Has the entry look interrupts up in a table by which all go, with their vectors, to the core with this APIC identifier.
///
/// # Panics
/// If the reserve is too small.
pub(super) fn look_up(entry: DeviceEntry, core: u8) -> DeviceEntry {
    let table = FRAMES
        .allocate_contiguous(SIZE / PAGE_SIZE, SIZE)
        .expect("the reserve is too small for the table of interrupts");
    // SAFETY: just allocated, large enough, and from here on nobody's but the units'.
    let entries = unsafe {
        core::slice::from_raw_parts_mut(table.value() as *mut InterruptEntry, INTERRUPT_ENTRIES)
    };
    for (data, entry) in (0..).zip(entries) {
        *entry = answer(data, core);
    }
    entry.with_table(table.value())
}

/// What becomes of messages with these low eleven bits of data.
fn answer(data: u16, core: u8) -> InterruptEntry {
    /// Kinds of delivery, in bits 10 to 8: fixed, and to whoever is least busy.
    const ARBITRATED: u16 = 1;
    if data >> 8 <= ARBITRATED {
        InterruptEntry::fixed(core, data as u8)
    } else {
        InterruptEntry::REFUSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_stay_and_no_other_kind_passes() {
        for (data, expected) in [
            (0x031, 0x0031_0701),
            (0x131, 0x0031_0701),
            (0x0ff, 0x00ff_0701),
            (0x231, 0),
            (0x400, 0),
            (0x500, 0),
            (0x7ff, 0),
        ] {
            assert_eq!(answer(data, 7).0, expected, "{data:#x}");
        }
    }
}
