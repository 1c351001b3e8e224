//! What instructions are told and tell about a page.

use super::structure;
use crate::epcm::PageType;

structure! {
    /// PAGEINFO (SDM, chapter 35): the operand of instructions that add pages.
    Pageinfo [32] {
        /// LINADDR: linear address in the enclave.
        linaddr set_linaddr @ 0: u64,
        /// SRCPGE: where the contents are.
        srcpge set_srcpge @ 8: u64,
        /// SECINFO, or PCMD.
        secinfo set_secinfo @ 16: u64,
        /// SECS of the enclave.
        secs set_secs @ 24: u64,
    }
}

structure! {
    /// SECINFO (SDM, chapter 35): properties of an enclave's page.
    Secinfo [64] {
        /// FLAGS, see [`secinfo_flags`].
        flags set_flags @ 0: u64,
        reserved @ 8: 56,
    }
}

/// Bits of SECINFO.FLAGS (SDM, chapter 35).
pub mod secinfo_flags {
    /// Readable.
    pub const R: u64 = 1 << 0;
    /// Writable.
    pub const W: u64 = 1 << 1;
    /// Executable.
    pub const X: u64 = 1 << 2;
    /// Added, not accepted.
    pub const PENDING: u64 = 1 << 3;
    /// Type changed, not accepted.
    pub const MODIFIED: u64 = 1 << 4;
    /// Rights restricted, not accepted.
    pub const PR: u64 = 1 << 5;
    /// Where the page type begins, 8 bits.
    pub const TYPE_SHIFT: u32 = 8;
    /// Bits that mean something.
    pub const KNOWN: u64 = 0xFF3F;
}

impl Secinfo {
    /// Whether reserved bytes and bits are zero.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.is_reserved_zero() && self.flags() & !secinfo_flags::KNOWN == 0
    }

    /// PAGE_TYPE, `None` for a number that no page type has here.
    #[must_use]
    pub fn page_type(&self) -> Option<PageType> {
        PageType::from_number((self.flags() >> secinfo_flags::TYPE_SHIFT) as u8)
    }

    /// Whether a bit of FLAGS is set.
    #[must_use]
    pub fn has(&self, bit: u64) -> bool {
        self.flags() & bit != 0
    }
}

structure! {
    /// PCMD (SDM, chapter 35): what is kept outside of a page that was written out.
    Pcmd [128] {
        /// SECINFO.
        secinfo set_secinfo @ 0: [64],
        /// ENCLAVEID: a hint for the operating system.
        enclaveid set_enclaveid @ 64: u64,
        /// Reserved; the MAC covers it.
        spare set_spare @ 72: [40],
        /// MAC.
        mac set_mac @ 112: [16],
    }
}

structure! {
    /// RDINFO (SDM, chapter 35): what ERDINFO says of a page.
    Rdinfo [32] {
        /// STATUS: bit 0, CHILDPRESENT.
        status set_status @ 0: u64,
        /// FLAGS: as in SECINFO, and BLOCKED in bit 63.
        flags set_flags @ 8: u64,
        /// ENCLAVECONTEXT: where the SECS is.
        enclavecontext set_enclavecontext @ 16: u64,
        reserved @ 24: 8,
    }
}

impl Rdinfo {
    /// STATUS.CHILDPRESENT.
    pub const CHILD_PRESENT: u64 = 1 << 0;
    /// FLAGS.BLOCKED.
    pub const BLOCKED: u64 = 1 << 63;
}
