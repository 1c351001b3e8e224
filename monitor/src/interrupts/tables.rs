//! What the CPU looks up when an exception comes: a core's gates, and the task state segment that names its other stack.
//!
//! A page fault that comes because the stack is used up cannot be told on that stack. So its gate names the stack for faults
//! ([`crate::cores::stack`]), but only while the task register is the monitor's: a guest's would let the guest say where that stack is.
//! `vendor/svm/own.rs` switches between the two. A double fault is none of a stack that is used up then: whatever
//! other exception finds its stack used up is followed by a page fault (APM volume 2, table 8-3), and that has a stack.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::{offset_of, size_of};

use adyton_x86::descriptors::{Gate, TablePointer, TaskState, VECTORS};

use crate::boot::selector;

const PAGE_FAULT: usize = 14;

/// The tables of one core.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct ExceptionTables {
    gates: UnsafeCell<[Gate; VECTORS]>,
    task: TaskState,
}

// SAFETY: only the core whose tables these are changes them, and each change is of one half-word.
unsafe impl Sync for ExceptionTables {}

impl ExceptionTables {
    /// Where in this the page fault's gate has its attributes.
    pub const PAGE_FAULT_ATTRIBUTES: usize =
        offset_of!(Self, gates) + PAGE_FAULT * size_of::<Gate>() + offset_of!(Gate, attributes);
    /// What stands there while page faults change to the stack for faults: the lowest three bits are a number in the interrupt stack table.
    pub const CHANGES_STACK: u16 = Gate::PRESENT_INTERRUPT | 1;
    /// What stands there while they do not.
    pub const STAYS_ON_STACK: u16 = Gate::PRESENT_INTERRUPT;

    /// Tables whose gates lead to these addresses, and whose stack for faults ends at `fault_stack_end`. It is not used yet.
    #[must_use]
    pub fn new(handler: impl Fn(usize) -> u64, fault_stack_end: u64) -> Self {
        let gate = |vector| Gate::to(handler(vector), selector::CODE, Self::STAYS_ON_STACK);
        Self {
            gates: UnsafeCell::new(core::array::from_fn(gate)),
            task: TaskState::with_stack(fault_stack_end),
        }
    }

    /// What the task register is to name.
    #[must_use]
    pub const fn task(&self) -> &TaskState {
        &self.task
    }

    /// Makes this core use the gates.
    pub fn load(&'static self) {
        let pointer = TablePointer::to(self.gates.get());
        // SAFETY: the table is complete and lives for ever.
        unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack)) };
    }

    /// Has page faults change to the stack for faults, or no longer. On the core whose tables these are; `on` only while
    /// its task register is the monitor's.
    #[inline]
    pub fn use_fault_stack(&self, on: bool) {
        let attributes = if on {
            Self::CHANGES_STACK
        } else {
            Self::STAYS_ON_STACK
        };
        let gates = self.gates.get().cast::<Gate>();
        // SAFETY: it lies in the table, which no other core changes, and the CPU reads it at an exception only.
        unsafe { (&raw mut (*gates.add(PAGE_FAULT)).attributes).write_volatile(attributes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gate_changes_stacks() {
        let tables = ExceptionTables::new(|vector| 0x1234_5678_9abc_0000 + vector as u64, 0x5000);
        let gates = || {
            // SAFETY: nothing changes them meanwhile.
            unsafe { *tables.gates.get() }
        };
        let changing = || -> Vec<usize> {
            let all = gates();
            (0..VECTORS)
                .filter(|&vector| all[vector].attributes & 7 != 0)
                .collect()
        };
        assert!(changing().is_empty());
        tables.use_fault_stack(true);
        assert_eq!(changing(), [PAGE_FAULT]);
        let stacks = tables.task().interrupt_stacks();
        assert_eq!(stacks[usize::from(gates()[14].attributes & 7) - 1], 0x5000);
        tables.use_fault_stack(false);
        assert!(changing().is_empty());
        let stays = Gate::to(0x1234_5678_9abc_000e, selector::CODE, 0x8e00);
        assert_eq!(gates()[14], stays);
    }
}
