//! Out of an enclave: EEXIT, asynchronous exits; and EDECCSSA.

use super::enter::{BASES, INACTIVE, OUTER_STACK, TCS_AEP, TCS_CSSA, TCS_STATE};
use super::frame::GPR_OFFSET;
use super::{Context, claimed, require};
use crate::epcm::EpcPage;
use crate::fault::Fault;
use crate::leaf::Enclu;
use crate::machine::{Control, Machine};
use crate::outcome::Stop;
use crate::processor::{Flags, Processor, Register};
use crate::structures::Exinfo;
use crate::thread::Thread;

/// Offsets in GPRSGX of what an exit writes.
const RFLAGS: usize = GPR_OFFSET + 128;
const EXITINFO: usize = GPR_OFFSET + 160;
const EXINFO: usize = GPR_OFFSET - Exinfo::SIZE;
/// EXITINFO: valid, and how the exception came about.
const VALID: u32 = 1 << 31;
const HARDWARE: u32 = 3 << 8;
const SOFTWARE: u32 = 6 << 8;

/// Vectors.
mod vector {
    pub const BREAKPOINT: u8 = 3;
    pub const GENERAL_PROTECTION: u8 = 13;
    pub const PAGE_FAULT: u8 = 14;
    pub const X87: u8 = 16;
    pub const SIMD: u8 = 19;
    /// Those that an enclave is always told of: #DE, #DB, #BP, #BR, #UD, #MF, #AC, #XM.
    pub const TOLD: [u8; 8] = [0, 1, BREAKPOINT, 5, 6, X87, 17, SIMD];
}

/// What makes a thread leave its enclave other than by `EEXIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interrupt, or anything else that the enclave is not told of.
    Other,
    /// An exception of the instruction at the instruction pointer.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code, 0 for vectors without one.
        error: u32,
        /// The linear address of a page fault, 0 otherwise.
        address: u64,
    },
}

impl From<Fault> for Event {
    fn from(fault: Fault) -> Self {
        Self::Exception {
            vector: fault.vector,
            error: fault.error,
            address: fault.address,
        }
    }
}

impl Event {
    fn vector(self) -> Option<u8> {
        match self {
            Self::Other => None,
            Self::Exception { vector, .. } => Some(vector),
        }
    }

    /// EXITINFO, 0 for what the enclave is not told of.
    fn exit_information(self, thread: &Thread) -> u32 {
        let Some(vector) = self.vector() else {
            return 0;
        };
        let told = vector::TOLD.contains(&vector) || thread.exinfo && self.has_details();
        let kind = if vector == vector::BREAKPOINT {
            SOFTWARE
        } else {
            HARDWARE
        };
        if told {
            VALID | kind | u32::from(vector)
        } else {
            0
        }
    }

    /// Whether EXINFO describes it.
    fn has_details(self) -> bool {
        matches!(
            self.vector(),
            Some(vector::GENERAL_PROTECTION | vector::PAGE_FAULT)
        )
    }

    /// Control registers of x87 and SSE afterwards.
    fn control(self) -> Control {
        let (fcw, fsw) = match self.vector() {
            Some(vector::X87) => (0x037E, 0x8081),
            _ => (0x037F, 0),
        };
        let mxcsr = match self.vector() {
            Some(vector::SIMD) => 0x1F01,
            _ => 0x1FB0,
        };
        Control { fcw, fsw, mxcsr }
    }
}

/// Leaves enclave mode at an event (AEX, SDM section 37.4): `processor` comes with the registers of the enclave, RF as the event would push
/// it, and goes with those that the SDM makes up (section 37.3), at the asynchronous exit pointer. What is returned goes to CR2 if the event is a page
/// fault: its address without the low 12 bits.
pub fn asynchronous_exit<'e>(
    machine: &mut impl Machine<'e>,
    thread: &Thread,
    processor: &mut Processor,
    event: Event,
) -> u64 {
    let mut context = Context::new(machine, processor);
    context.save_registers(thread);
    context.save_event(thread, event);
    let pages = thread.xsave.get(..thread.xsave_count);
    context
        .machine
        .save_extended(thread.xfrm, pages.unwrap_or_default());
    context.machine.reset_extended(thread.xfrm, event.control());
    context.make_up_registers(thread);
    context.leave(thread);
    match event {
        Event::Exception { address, .. } => address & !0xFFF,
        Event::Other => 0,
    }
}

/// `EEXIT` in 64-bit mode to this address: what RCX says outside; `None` if it is to fault, and nothing has changed. For a machine that restores by
/// itself what the thread kept of the outside: FS, GS, XCR0, TF.
#[inline(always)]
#[must_use]
pub fn exit_to<'e>(machine: &mut impl Machine<'e>, thread: &Thread, target: u64) -> Option<u64> {
    let platform = machine.platform();
    platform.capabilities.is_canonical(target).then_some(())?;
    let tcs = machine.place(thread.tcs)?;
    let exit_pointer = machine.word(tcs, TCS_AEP);
    let_go(machine, tcs, thread);
    Some(exit_pointer)
}

/// Gives the TCS back, and counts the thread out. Last of all: whoever has the TCS next sees all that was written before.
#[inline(always)]
fn let_go<'e, M: Machine<'e>>(machine: &mut M, tcs: M::Place, thread: &Thread) {
    machine.set_word(tcs, TCS_STATE, INACTIVE);
    if let Some(secs) = machine.platform().entry(thread.secs) {
        secs.tracking().leave(thread.epoch);
    }
}

impl<'e, M: Machine<'e>> Context<'_, 'e, M> {
    pub(super) fn eexit(&mut self, thread: &Thread) -> Result<(), Stop> {
        let target = self.processor.get(Register::Rbx);
        let reachable = if self.mode.long {
            self.is_canonical(target)
        } else {
            target <= u64::from(self.mode.code_limit)
        };
        require(reachable)?;
        self.processor.rip = target;
        let [exit_pointer] = self.words(thread.tcs, TCS_AEP);
        self.processor.set(Register::Rcx, exit_pointer);
        self.leave(thread);
        Ok(())
    }

    pub(super) fn edeccssa(&mut self, thread: &mut Thread) -> Result<(), Stop> {
        let page = self.page(thread.tcs, thread.tcs_address);
        let _share = claimed(page.and_then(|page| page.entry.share()))?;
        let tcs = self.tcs(thread.tcs);
        require(tcs.cssa() != 0)?;
        let cssa = tcs.cssa() - 1;
        let secs = self.secs_head(thread.secs);
        let frame = self.frame(thread.secs, &secs, &tcs, cssa)?;
        self.machine
            .store(thread.tcs, TCS_CSSA, &cssa.to_le_bytes());
        thread.xsave = frame.xsave;
        thread.xsave_count = frame.count;
        thread.gpr = frame.gpr;
        Ok(())
    }

    /// What both ways out have in common.
    #[inline]
    fn leave(&mut self, thread: &Thread) {
        self.processor.fs = thread.fs;
        self.processor.gs = thread.gs;
        if self.mode.osxsave {
            self.processor.xcr0 = thread.xcr0;
        }
        if !thread.debug {
            self.processor.flags.set(Flags::TF, thread.single_step);
        }
        // The TCS that was entered by is one.
        if let Some(tcs) = self.machine.place(thread.tcs) {
            let_go(self.machine, tcs, thread);
        }
    }

    fn save_registers(&mut self, thread: &Thread) {
        let general = self.processor.general.map(u64::to_le_bytes);
        let saved = if self.mode.long {
            general.as_flattened()
        } else {
            general[..8].as_flattened()
        };
        self.machine.store(thread.gpr, GPR_OFFSET, saved);
        let flags = self.processor.flags.difference(Flags::TF).bits();
        self.store_words(thread.gpr, RFLAGS, [flags, self.processor.rip]);
        let bases = [self.processor.fs.base, self.processor.gs.base];
        self.store_words(thread.gpr, BASES, bases);
    }

    fn store_words(&mut self, page: EpcPage, offset: usize, words: [u64; 2]) {
        let words = words.map(u64::to_le_bytes);
        self.machine.store(page, offset, words.as_flattened());
    }

    fn save_event(&mut self, thread: &Thread, event: Event) {
        let information = event.exit_information(thread).to_le_bytes();
        self.machine.store(thread.gpr, EXITINFO, &information);
        if let Event::Exception {
            vector,
            error,
            address,
        } = event
            && thread.exinfo
            && event.has_details()
        {
            let mut details = Exinfo::zeroed();
            details.set_errcd(error);
            if vector == vector::PAGE_FAULT {
                details.set_maddr(address);
            }
            self.machine.store(thread.gpr, EXINFO, &details.0);
        }
    }

    /// Registers that tell nothing of the enclave; the frame is in use now.
    fn make_up_registers(&mut self, thread: &Thread) {
        let [stack, frame] = self.words(thread.gpr, OUTER_STACK);
        // CSSA and NSSA, OENTRY, AEP.
        let [frames, _, exit_pointer] = self.words(thread.tcs, TCS_CSSA);
        let cssa = (frames as u32).wrapping_add(1);
        self.machine
            .store(thread.tcs, TCS_CSSA, &cssa.to_le_bytes());
        let processor = &mut *self.processor;
        if self.mode.long {
            processor.general = [0; 16];
        } else {
            processor.general[..8].fill(0);
        }
        processor.set(Register::Rax, Enclu::Eresume as u64);
        processor.set(Register::Rbx, thread.tcs_address);
        processor.set(Register::Rcx, exit_pointer);
        processor.set(Register::Rsp, stack);
        processor.set(Register::Rbp, frame);
        processor.rip = exit_pointer;
        processor.flags.remove(Flags::STATUS | Flags::RF);
    }
}
