//! The exit page: what the monitor tells the owner of a domain about an exit
//! of one vCPU, and where the owner leaves its reply.
//!
//! The page lies in the owner's claim, so the owner can write anything there
//! at any time; the monitor reads only `reply`, `registers` (where the policy
//! lets the owner set them) and nothing else.

/// Why a vCPU came back to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum ExitKind {
    /// Not run yet.
    None = 0,
    /// The domain called [`Call::Exit`](crate::call::Call::Exit): operands are its six words, the
    /// reply is six words.
    Call = 1,
    /// `HLT`. It goes on after the instruction.
    Halt = 2,
    /// An exception that the policy sends to the parent. Operands: vector; where registers are
    /// visible also error code, CR2. The vCPU goes on at the instruction that faulted.
    Exception = 3,
    /// An access outside the domain's memory. Operands: 1 write, 2 execute (bits); where registers
    /// are visible also the guest-physical address.
    Memory = 4,
    /// The running time that the caller allowed is used up. The vCPU goes on where it was.
    Budget = 5,
    /// The entry was ended by [`Call::Abandon`](crate::call::Call::Abandon).
    Abandoned = 6,
    /// Triple fault or invalid state: the vCPU cannot go on.
    Shutdown = 7,
    /// Port access (VM domains): port, size | direction, value. Reply: value.
    Port = 8,
    /// Memory-mapped device access (VM domains): address, size | direction, value. Reply: value.
    Mmio = 9,
    /// MSR access (VM domains): number, direction, value. Reply: value, or 1 in word 1 for #GP.
    Msr = 10,
    /// CPUID (VM domains): leaf, subleaf. Reply: four registers.
    Cpuid = 11,
}

impl ExitKind {
    /// The kind with the number `value`.
    #[must_use]
    pub const fn from_number(value: u32) -> Option<Self> {
        Some(match value {
            0 => Self::None,
            1 => Self::Call,
            2 => Self::Halt,
            3 => Self::Exception,
            4 => Self::Memory,
            5 => Self::Budget,
            6 => Self::Abandoned,
            7 => Self::Shutdown,
            8 => Self::Port,
            9 => Self::Mmio,
            10 => Self::Msr,
            11 => Self::Cpuid,
            _ => return None,
        })
    }
}

/// Words in an exit's operands and in a reply.
pub const WORDS: usize = 6;

/// General registers of a vCPU in the order of their encoding, then RIP and RFLAGS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 … R15.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u64,
}

/// The exit page's layout; the rest of the page is reserved.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ExitPage {
    /// [`crate::VERSION`].
    pub version: u32,
    /// [`ExitKind`] of the last exit.
    pub kind: u32,
    /// Number of the last exit, from 1; the next `enter` carries it.
    pub sequence: u64,
    /// Operands of the last exit; what the policy hides is 0.
    pub operands: [u64; WORDS],
    /// What the next `enter` delivers to the vCPU as the answer to that exit.
    pub reply: [u64; WORDS],
    /// Event to inject at the next entry (VM domains): vector | type << 8 | valid << 31.
    pub event: u64,
    /// 1: the next `enter` loads `registers` (where the policy lets the owner set them).
    pub set_registers: u64,
    /// Registers at the last exit; zero where the policy hides them.
    pub registers: Registers,
}

const _: () = {
    assert!(core::mem::offset_of!(ExitPage, sequence) == 8);
    assert!(core::mem::offset_of!(ExitPage, operands) == 16);
    assert!(core::mem::offset_of!(ExitPage, reply) == 64);
    assert!(core::mem::offset_of!(ExitPage, event) == 112);
    assert!(core::mem::offset_of!(ExitPage, registers) == 128);
    assert!(core::mem::size_of::<ExitPage>() <= crate::PAGE_SIZE as usize);
};
