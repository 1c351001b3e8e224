//! The registers of the logical processor that leaves read and change.

use bitflags::bitflags;

/// General registers by their numbers in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[allow(missing_docs, reason = "their names")]
pub enum Register {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
}

bitflags! {
    /// RFLAGS, as far as leaves know it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u64 {
        /// Carry.
        const CF = 1 << 0;
        /// Parity.
        const PF = 1 << 2;
        /// Auxiliary carry.
        const AF = 1 << 4;
        /// Zero.
        const ZF = 1 << 6;
        /// Sign.
        const SF = 1 << 7;
        /// Single step.
        const TF = 1 << 8;
        /// Interrupts enabled.
        const IF = 1 << 9;
        /// Direction.
        const DF = 1 << 10;
        /// Overflow.
        const OF = 1 << 11;
        /// I/O privilege level, both bits.
        const IOPL = 3 << 12;
        /// Nested task.
        const NT = 1 << 14;
        /// Resume.
        const RF = 1 << 16;
        /// Virtual-8086 mode.
        const VM = 1 << 17;
        /// Alignment check.
        const AC = 1 << 18;
        /// CPUID can be executed.
        const ID = 1 << 21;
        /// The other bits.
        const _ = !0;
    }
}

impl Flags {
    /// The six that arithmetic sets.
    pub const STATUS: Self = Self::CF
        .union(Self::PF)
        .union(Self::AF)
        .union(Self::ZF)
        .union(Self::SF)
        .union(Self::OF);
}

/// A segment register with its hidden part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Base, linear.
    pub base: u64,
    /// Limit in bytes, the last that is valid.
    pub limit: u32,
    /// Selector.
    pub selector: u16,
    /// Type, S, DPL, P, AVL, L, D/B, G as bits 8-15 and 20-23 of a descriptor's upper word, moved down by 8 (bits 0-7 and 12-15).
    pub rights: u16,
}

/// Registers of the logical processor. `ENCLS` uses the general ones and the flags only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// General registers, by [`Register`], then R8 to R15.
    pub general: [u64; 16],
    /// Address of the instruction; after [`Entered`](crate::Outcome::Entered), [`Left`](crate::Outcome::Left) and an
    /// asynchronous exit, where execution goes on.
    pub rip: u64,
    /// Address of the instruction after this one.
    pub next: u64,
    /// RFLAGS.
    pub flags: Flags,
    /// FS.
    pub fs: Segment,
    /// GS.
    pub gs: Segment,
    /// XCR0, 3 where the processor has no XSAVE.
    pub xcr0: u64,
}

impl Processor {
    /// A general register.
    #[must_use]
    pub fn get(&self, register: Register) -> u64 {
        self.general[register as usize]
    }

    /// Sets a general register.
    pub fn set(&mut self, register: Register, value: u64) {
        self.general[register as usize] = value;
    }
}
