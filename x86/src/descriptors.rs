//! Descriptor tables in long mode: gates, the task state segment and its descriptor, and what LGDT and LIDT read
//! (APM volume 2, sections 4.6 to 4.8 and 12.2.5).

use core::mem::{offset_of, size_of};

/// How many exceptions and interrupts there are.
pub const VECTORS: usize = 256;

/// A 64-bit interrupt gate (APM volume 2, figure 4-24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Gate {
    offset_low: u16,
    selector: u16,
    /// Present, its type, and in the lowest three bits the number of a stack in the interrupt stack table, 0 for none.
    pub attributes: u16,
    offset_middle: u16,
    offset_high: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<Gate>() == 16);
const _: () = assert!(offset_of!(Gate, attributes) == 4);

impl Gate {
    /// The attributes of an interrupt gate that is present, at privilege level 0.
    pub const PRESENT_INTERRUPT: u16 = 0x8e00;

    /// A gate to this address in that code segment, with these attributes.
    #[must_use]
    pub const fn to(address: u64, selector: u16, attributes: u16) -> Self {
        Self {
            offset_low: address as u16,
            selector,
            attributes,
            offset_middle: (address >> 16) as u16,
            offset_high: (address >> 32) as u32,
            reserved: 0,
        }
    }
}

/// The 64-bit task state segment (APM volume 2, section 12.2.5).
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
pub struct TaskState {
    reserved: u32,
    privileged_stacks: [u64; 3],
    reserved_behind: u64,
    interrupt_stacks: [u64; 7],
    reserved_at_the_end: u64,
    reserved_word: u16,
    io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);
const _: () = assert!(offset_of!(TaskState, interrupt_stacks) == 36);
const _: () = assert!(offset_of!(TaskState, io_map) == 102);

impl TaskState {
    /// One whose first stack of the interrupt stack table ends there, without a map of ports.
    #[must_use]
    pub const fn with_stack(end: u64) -> Self {
        Self {
            reserved: 0,
            privileged_stacks: [0; 3],
            reserved_behind: 0,
            interrupt_stacks: [end, 0, 0, 0, 0, 0, 0],
            reserved_at_the_end: 0,
            reserved_word: 0,
            // Behind the limit: there is none.
            io_map: size_of::<Self>() as u16,
        }
    }

    /// Where the stacks end that a gate names by 1 to 7.
    #[must_use]
    pub const fn interrupt_stacks(&self) -> [u64; 7] {
        self.interrupt_stacks
    }

    /// The descriptor of one at this address, available and present (APM volume 2, figure 4-22).
    #[must_use]
    pub const fn descriptor(base: u64) -> [u64; 2] {
        const PRESENT_AVAILABLE: u64 = 0x89 << 40;
        let limit = size_of::<Self>() as u64 - 1;
        let low = limit | (base & 0xff_ffff) << 16 | PRESENT_AVAILABLE | (base >> 24 & 0xff) << 56;
        [low, base >> 32]
    }
}

/// The operand of LGDT and LIDT.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed)]
pub struct TablePointer {
    /// Bytes of the table, less one.
    pub limit: u16,
    /// The table's linear address.
    pub base: u64,
}

impl TablePointer {
    /// To the whole of a table.
    #[must_use]
    pub fn to<T>(table: *const T) -> Self {
        Self {
            limit: (size_of::<T>() - 1) as u16,
            base: table as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_hold_the_whole_address() {
        let gate = Gate::to(0x1122_3344_5566, 8, Gate::PRESENT_INTERRUPT | 1);
        let expected = Gate {
            offset_low: 0x5566,
            selector: 8,
            attributes: 0x8e01,
            offset_middle: 0x3344,
            offset_high: 0x1122,
            reserved: 0,
        };
        assert_eq!(gate, expected);
        assert_eq!(
            TaskState::descriptor(0x1122_3344_5566),
            [0x3300_8944_5566_0067, 0x1122]
        );
    }
}
