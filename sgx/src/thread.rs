//! What a logical processor remembers while it is in enclave mode: the SDM's CR_ registers.

use crate::epcm::EpcPage;
use crate::processor::Segment;

/// SSA pages that hold the XSAVE area, at most: all states up to AMX tiles need three.
pub const XSAVE_PAGES: usize = 4;

/// A core in enclave mode. The machine keeps it beside the vCPU and passes it to each `ENCLU` inside, and to
/// [`asynchronous_exit`](crate::asynchronous_exit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    /// CR_ACTIVE_SECS.
    pub secs: EpcPage,
    /// CR_TCS_PA.
    pub tcs: EpcPage,
    /// CR_TCS_LA.
    pub tcs_address: u64,
    /// CR_ELRANGE: first linear address.
    pub base: u64,
    /// CR_ELRANGE: bytes, a power of two.
    pub size: u64,
    /// Features that the enclave runs with, SECS.ATTRIBUTES.XFRM.
    pub xfrm: u64,
    /// CR_DBGOPTIN: breakpoints and single steps inside ELRANGE are not suppressed.
    pub debug: bool,
    /// Whether exceptions are described in EXINFO.
    pub exinfo: bool,
    /// The epoch in which it entered.
    pub epoch: u64,
    /// CR_XSAVE_PAGE_n, the first `xsave_count` of them.
    pub xsave: [EpcPage; XSAVE_PAGES],
    /// How many of them there are.
    pub xsave_count: usize,
    /// CR_GPR_PA: the page that ends with GPRSGX of the current frame.
    pub gpr: EpcPage,
    /// CR_SAVE_FS.
    pub fs: Segment,
    /// CR_SAVE_GS.
    pub gs: Segment,
    /// CR_SAVE_XCR0.
    pub xcr0: u64,
    /// CR_SAVE_TF.
    pub single_step: bool,
}

impl Thread {
    /// Whether a linear address lies in ELRANGE.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.base) < self.size
    }
}
