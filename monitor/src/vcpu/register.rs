//! The general registers.

/// A general register, by its number in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are the registers'")]
pub enum Register {
    Rax = 0,
    Rcx = 1,
    Rdx = 2,
    Rbx = 3,
    Rsp = 4,
    Rbp = 5,
    Rsi = 6,
    Rdi = 7,
    R8 = 8,
    R9 = 9,
    R10 = 10,
    R11 = 11,
    R12 = 12,
    R13 = 13,
    R14 = 14,
    R15 = 15,
}

impl Register {
    /// Where [`Vcpu`] keeps it: the registers of a call first and in their order, so that operands move as a block.
    #[inline]
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Rdi => 0,
            Self::Rsi => 1,
            Self::Rdx => 2,
            Self::Rcx => 3,
            Self::R8 => 4,
            Self::R9 => 5,
            Self::R10 => 6,
            Self::R11 => 7,
            Self::Rbx => 8,
            Self::Rbp => 9,
            Self::R12 => 10,
            Self::R13 => 11,
            Self::R14 => 12,
            Self::R15 => 13,
            Self::Rax => 14,
            Self::Rsp => 15,
        }
    }

    /// The register that instructions mean by `number`, modulo 16.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number & 15 {
            0 => Self::Rax,
            1 => Self::Rcx,
            2 => Self::Rdx,
            3 => Self::Rbx,
            4 => Self::Rsp,
            5 => Self::Rbp,
            6 => Self::Rsi,
            7 => Self::Rdi,
            8 => Self::R8,
            9 => Self::R9,
            10 => Self::R10,
            11 => Self::R11,
            12 => Self::R12,
            13 => Self::R13,
            14 => Self::R14,
            _ => Self::R15,
        }
    }
}
