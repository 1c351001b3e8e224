//! Faults that a leaf raises at its instruction.

use bitflags::bitflags;

/// How a page is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read.
    Read,
    /// Written, or read and written.
    Write,
    /// Fetched from.
    Execute,
}

bitflags! {
    /// Error code of a page fault (SDM volume 3A, section 4.7, and volume 3D, table 35-13).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PageFault: u32 {
        /// A translation exists and forbids the access.
        const PRESENT = 1 << 0;
        /// The access was a write.
        const WRITE = 1 << 1;
        /// The access was made at privilege level 3.
        const USER = 1 << 2;
        /// The access was a fetch.
        const FETCH = 1 << 4;
        /// The EPCM forbids what the page tables allow.
        const SGX = 1 << 15;
    }
}

/// An exception at the instruction, which has then changed nothing that software can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its vector.
    pub vector: u8,
    /// Its error code, for vectors that have one.
    pub error: u32,
    /// The faulting linear address, which goes to CR2 if the vector is #PF.
    pub address: u64,
}

impl Fault {
    /// Vector of an undefined opcode.
    pub const UD: u8 = 6;
    /// Vector of general protection.
    pub const GP: u8 = 13;
    /// Vector of a page fault.
    pub const PF: u8 = 14;

    /// #GP(0).
    #[must_use]
    pub const fn general_protection() -> Self {
        Self {
            vector: Self::GP,
            error: 0,
            address: 0,
        }
    }

    /// #UD.
    #[must_use]
    pub const fn undefined() -> Self {
        Self {
            vector: Self::UD,
            error: 0,
            address: 0,
        }
    }

    /// The page fault that the EPCM causes at a linear address.
    #[must_use]
    pub fn epcm(address: u64, access: Access, user: bool) -> Self {
        let mut code = PageFault::PRESENT | PageFault::SGX;
        code.set(PageFault::WRITE, access == Access::Write);
        code.set(PageFault::FETCH, access == Access::Execute);
        code.set(PageFault::USER, user);
        Self {
            vector: Self::PF,
            error: code.bits(),
            address,
        }
    }
}
