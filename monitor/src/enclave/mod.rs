//! SGX for domain 0 on a processor that has none: design note 007.
//!
//! `adyton-sgx` decides what each leaf does; this is the machine that it decides for: the EPC ([`sections`], [`holds`]), and the
//! registers that go with it ([`launch`]).
//!
//! What must hold: the EPC is in nobody's nested tables. What a page of it contains is read and written by leaves, and by the
//! enclave that it belongs to in enclave mode.

pub mod launch;

use crate::frames::FrameAllocator;
use crate::memory::{EpcReserve, Layout, Range};
use crate::once::Once;

/// What is set aside beside the EPC: for each of its pages a record and a share of the pages for tables; and what the cores need.
pub const RESERVE: EpcReserve = EpcReserve {
    per_page: 64 + 128,
    besides: 4 << 20,
};

/// The enclaves' own reserve.
static RECORDS: FrameAllocator = FrameAllocator::new();

static SECTIONS: Once<&'static [Range]> = Once::new();

/// Sets up what there is, if there is to be an EPC. While the monitor boots.
///
/// # Panics
/// If the enclaves' reserve is too small.
pub fn create(layout: &'static Layout, cores: usize) {
    if layout.epc.is_empty() {
        return;
    }
    // SAFETY: the layout has set it aside for this, and it is hidden from domain 0.
    unsafe { RECORDS.initialize(layout.epc_reserve) };
    launch::create(&RECORDS, cores);
    SECTIONS.set(&layout.epc);
}

/// The sections of the EPC; none where enclaves are not offered.
#[must_use]
pub fn sections() -> &'static [Range] {
    SECTIONS.try_get().copied().unwrap_or(&[])
}

/// Whether enclaves are offered.
#[must_use]
pub fn is_offered() -> bool {
    !sections().is_empty()
}

/// Whether this physical address lies in the EPC.
#[must_use]
pub fn holds(address: u64) -> bool {
    sections().iter().any(|section| section.contains(address))
}
