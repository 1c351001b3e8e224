//! GDT, TSS and IDT of one vCPU, so that its exceptions reach [`crate::exception`] on a stack of their own.
//!
//! A stack of their own because prebuilt `core` uses the red zone, and because the exception may
//! be that the stack overflowed. AMD64 Architecture Programmer's Manual volume 2, sections 4.6 to 4.8 and 8.9.

use core::arch::asm;
use core::mem::{offset_of, size_of};

use crate::exception::{VECTORS, stub};

const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;
const TASK_SELECTOR: u16 = 0x18;
/// 64-bit code, present, ring 0, accessed.
const CODE: u64 = 0x00af_9b00_0000_ffff;
/// Writable data, present, ring 0, accessed.
const DATA: u64 = 0x00cf_9300_0000_ffff;
/// Present 64-bit interrupt gate at ring 0, on the first stack of the interrupt stack table.
const GATE: u64 = 0x8e01;
const STACK: usize = 8 << 10;

/// A 64-bit TSS: only the interrupt stack table is used.
#[repr(C, packed(4))]
struct TaskState {
    reserved: u32,
    stacks: [u64; 3],
    reserved_low: u64,
    interrupt_stacks: [u64; 7],
    reserved_high: u64,
    reserved_word: u16,
    io_map: u16,
}

const _: () = assert!(size_of::<TaskState>() == 104);
const _: () = assert!(offset_of!(TaskState, interrupt_stacks) == 36);

/// What one vCPU's descriptor registers point to.
#[repr(C, align(64))]
pub(crate) struct Tables {
    stack: [u8; STACK],
    interrupts: [[u64; 2]; VECTORS],
    segments: [u64; 5],
    task: TaskState,
}

/// The operand of LGDT and LIDT.
#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: u64,
}

fn pointer<T>(table: *const T) -> Pointer {
    Pointer {
        limit: (size_of::<T>() - 1) as u16,
        base: table as u64,
    }
}

fn gate(handler: u64) -> [u64; 2] {
    let low = handler & 0xffff | u64::from(CODE_SELECTOR) << 16 | GATE << 32;
    [low | (handler >> 16 & 0xffff) << 48, handler >> 32]
}

fn task_descriptor(base: u64) -> [u64; 2] {
    let limit = size_of::<TaskState>() as u64 - 1;
    let low = limit | (base & 0xff_ffff) << 16 | 0x89 << 40 | (base >> 24 & 0xff) << 56;
    [low, base >> 32]
}

impl Tables {
    /// Fills `room` and loads the descriptor registers of this vCPU from it.
    ///
    /// # Safety
    /// `room` is writable, aligned memory that nothing else uses for as long as the vCPU runs.
    pub(crate) unsafe fn install(room: *mut Tables) {
        // SAFETY: by this function's own contract; the fields are filled before they are loaded.
        unsafe {
            let task = &raw mut (*room).task;
            let mut state: TaskState = core::mem::zeroed();
            state.interrupt_stacks[0] = room as u64 + STACK as u64;
            state.io_map = size_of::<TaskState>() as u16;
            task.write(state);
            let [task_low, task_high] = task_descriptor(task as u64);
            (&raw mut (*room).segments).write([0, CODE, DATA, task_low, task_high]);
            let gates = core::array::from_fn(|vector| gate(stub(vector)));
            (&raw mut (*room).interrupts).write(gates);
            load(
                &pointer(&raw const (*room).segments),
                &pointer(&raw const (*room).interrupts),
            );
        }
    }
}

/// # Safety
/// Both point to tables that stay in place, with the selectors of this file.
unsafe fn load(segments: &Pointer, interrupts: &Pointer) {
    // SAFETY: by this function's own contract; the far return goes to the next instruction.
    unsafe {
        asm!(
            "lgdt [{segments}]",
            "lidt [{interrupts}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:x}",
            "mov ds, {data:x}",
            "mov es, {data:x}",
            "ltr {task:x}",
            segments = in(reg) segments,
            interrupts = in(reg) interrupts,
            code = const CODE_SELECTOR,
            data = in(reg) u32::from(DATA_SELECTOR),
            task = in(reg) u32::from(TASK_SELECTOR),
            scratch = out(reg) _,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_hold_the_whole_address() {
        assert_eq!(gate(0x1122_3344_5566), [0x3344_8e01_0008_5566, 0x1122]);
        assert_eq!(
            task_descriptor(0x1122_3344_5566),
            [0x3300_8944_5566_0067, 0x1122]
        );
    }
}
