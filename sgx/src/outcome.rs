//! What comes of executing a leaf.

use crate::error::ErrorCode;
use crate::fault::Fault;

/// What the machine does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The instruction is over: general registers and flags are as it left them, the next instruction follows.
    Complete,
    /// Nothing has changed; the fault is raised at the instruction.
    Fault(Fault),
    /// A slice is over. Interrupts are let through, the instruction pointer stays: executing the instruction again carries on.
    Again,
    /// `EENTER` or `ERESUME`: the processor is in enclave mode now, with all of the [`Processor`](crate::Processor) as the
    /// leaf left it, the instruction pointer included.
    Entered,
    /// `EEXIT`: likewise, out of enclave mode.
    Left,
}

/// Why a leaf stops before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Fault(Fault),
    /// ZF, and this in RAX.
    Code(ErrorCode),
    /// CF, and this in RAX.
    Remark(ErrorCode),
    Again,
}

impl Stop {
    /// #GP(0).
    pub const GENERAL_PROTECTION: Self = Self::Fault(Fault::general_protection());
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<ErrorCode> for Stop {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}
