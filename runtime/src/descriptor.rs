//! GDT, TSS and IDT of one vCPU, so that its exceptions reach [`crate::exception`] on a stack of their own.
//!
//! A stack of their own because prebuilt `core` uses the red zone, and because the exception may
//! be that the stack overflowed. AMD64 Architecture Programmer's Manual volume 2, sections 4.6 to 4.8 and 8.9.

use core::arch::asm;

use adyton_x86::descriptors::{Gate, TablePointer, TaskState};

use crate::exception::{VECTORS, stub};

const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;
const TASK_SELECTOR: u16 = 0x18;
/// 64-bit code, present, ring 0, accessed.
const CODE: u64 = 0x00af_9b00_0000_ffff;
/// Writable data, present, ring 0, accessed.
const DATA: u64 = 0x00cf_9300_0000_ffff;
/// On the first stack of the interrupt stack table.
const GATE: u16 = Gate::PRESENT_INTERRUPT | 1;
const STACK: usize = 8 << 10;

/// What one vCPU's descriptor registers point to.
#[repr(C, align(64))]
pub(crate) struct Tables {
    stack: [u8; STACK],
    interrupts: [Gate; VECTORS],
    segments: [u64; 5],
    task: TaskState,
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
            task.write(TaskState::with_stack(room as u64 + STACK as u64));
            let [task_low, task_high] = TaskState::descriptor(task as u64);
            (&raw mut (*room).segments).write([0, CODE, DATA, task_low, task_high]);
            let gates = core::array::from_fn(|vector| Gate::to(stub(vector), CODE_SELECTOR, GATE));
            (&raw mut (*room).interrupts).write(gates);
            load(
                &TablePointer::to(&raw const (*room).segments),
                &TablePointer::to(&raw const (*room).interrupts),
            );
        }
    }
}

/// # Safety
/// Both point to tables that stay in place, with the selectors of this file.
unsafe fn load(segments: &TablePointer, interrupts: &TablePointer) {
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
