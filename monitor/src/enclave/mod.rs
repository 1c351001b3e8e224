//! SGX for domain 0 on a processor that has none: design note 007.
//!
//! `adyton-sgx` decides what each leaf does; this is the machine that it decides for ([`caller`](self)). What is where:
//! the EPC ([`sections`], [`epc`]), registers of launch control ([`launch`]), instructions of domain 0's ([`undefined`]), a core in
//! enclave mode ([`inside`]), and its tables: kept in a [`space`], judged by [`judgement`](self), shared out by `spaces`.
//!
//! What must hold: the EPC is in nobody's nested tables. What a page of it contains is read and written by leaves, and by the
//! enclave that it belongs to in enclave mode.

mod caller;
mod cores;
pub mod epc;
mod extended;
pub(crate) mod inside;
mod judgement;
pub mod launch;
pub(crate) mod listing;
mod notes;
#[cfg_attr(
    any(test, fuzzing),
    allow(dead_code, reason = "the run loop alone calls it")
)]
pub(crate) mod quick;
mod registers;
mod secrets;
pub mod space;
mod spaces;
mod trails;
pub(crate) mod undefined;

use core::sync::atomic::AtomicU64;

use adyton_sgx::platform::{STATE_COMPONENTS, StateComponent};
use adyton_sgx::{Capabilities, EpcPage, EpcmEntry, Platform};

use crate::address::PAGE_SIZE;
use crate::frames::FrameAllocator;
use crate::instructions::cpuid;
use crate::memory::{EpcReserve, Layout, Range};
use crate::once::Once;
use crate::{log, random, vcpu};

/// What is set aside beside the EPC: for each of its pages a record and a share of the pages for tables; and what so many cores need.
#[must_use]
pub fn reserve(cores: usize) -> EpcReserve {
    const SHARED: u64 = 4 << 20;
    const FOR_CORE: u64 = 256 << 10;
    EpcReserve {
        per_page: 64 + 128,
        besides: SHARED + cores as u64 * FOR_CORE,
    }
}

/// The enclaves' own reserve.
static RECORDS: FrameAllocator = FrameAllocator::new();

static PLATFORM: Once<Platform<'static>> = Once::new();

/// Raised whenever the EPCM gives less than before: whoever kept what it gave asks again.
static RESTRICTIONS: AtomicU64 = AtomicU64::new(1);

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
    if random::word().is_none() || !adyton_sgx::is_supported() {
        log!("no enclaves: the processor has no AES instructions, or no source of randomness");
        return;
    }
    create_for_cores(cores);
    if let Some(first) = layout.epc.first() {
        epc::note_first(first);
    }
    SECTIONS.set(&layout.epc);
}

fn create_for_cores(cores: usize) {
    launch::create(&RECORDS, cores);
    self::cores::create(cores);
    spaces::create(cores);
}

/// Makes what all cores share, once the platform's key is there and before domain 0 runs.
///
/// # Panics
/// If the enclaves' reserve is too small.
pub fn complete() {
    if !is_offered() {
        return;
    }
    let pages: u64 = sections()
        .iter()
        .map(|section| section.size() / PAGE_SIZE)
        .sum();
    let epcm = create_records(pages);
    PLATFORM.set(Platform::new(epcm, secrets::create(), capabilities()));
}

/// The EPCM of so many pages.
fn create_records(pages: u64) -> &'static [EpcmEntry] {
    let size = (pages * size_of::<EpcmEntry>() as u64).div_ceil(PAGE_SIZE);
    let records = RECORDS
        .allocate_contiguous(size, PAGE_SIZE)
        .expect("the enclaves' reserve is too small for its records");
    // SAFETY: zeroed pages, which are entries of free pages; they belong to the array for ever and are large enough for it.
    unsafe { core::slice::from_raw_parts(records.value() as *const EpcmEntry, pages as usize) }
}

/// Zeroes every page of the EPC that ever held something, and what cores keep of enclaves. The machine ends: no other core runs.
pub(crate) fn scrub() {
    let Some(platform) = PLATFORM.try_get() else {
        return;
    };
    for (entry, number) in platform.epcm.iter().zip(0..) {
        if entry.stamp() != 0 {
            epc::zero(EpcPage(number));
        }
    }
    platform.wipe_secrets();
    // SAFETY: the machine ends, and the other cores have stopped: none executes a leaf or goes on with one.
    unsafe { self::cores::forget() };
    for core in crate::cores::all() {
        // SAFETY: the vCPU is domain 0's on that core, which runs nothing any more.
        if let Some(vcpu) = unsafe { core.domain0_vcpu().as_mut() } {
            vcpu.forget_enclave();
        }
    }
}

/// What the processor can do for enclaves.
fn capabilities() -> Capabilities {
    const EXTENDED_STATE: u32 = 0xd;
    let states = vcpu::components();
    let mut components = [StateComponent::default(); STATE_COMPONENTS];
    for (component, number) in components.iter_mut().zip(0..).skip(2) {
        if states >> number & 1 != 0 {
            let state = cpuid(EXTENDED_STATE, number);
            *component = StateComponent {
                offset: state.ebx,
                size: state.eax,
            };
        }
    }
    Capabilities {
        xfrm: u64::from(states) | 3,
        components,
        ..Capabilities::BASIC
    }
}

/// What all cores share.
///
/// # Panics
/// Where enclaves are not offered: nobody asks there.
pub(crate) fn platform() -> &'static Platform<'static> {
    PLATFORM.get()
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

#[cfg(test)]
mod tests {
    use std::alloc::{Layout, alloc_zeroed};

    use super::*;

    #[test]
    fn the_reserve_is_large_enough_for_a_thousand_cores() {
        /// What boot lists at most, and the smallest EPC.
        const CORES: usize = 1024;
        const PAGES: u64 = (8 << 20) / PAGE_SIZE;
        /// Pages of tables that each core can have besides.
        const MORE: u64 = 48;
        let EpcReserve { per_page, besides } = reserve(CORES);
        let size = PAGES * per_page + besides;
        let layout = Layout::from_size_align(size as usize, PAGE_SIZE as usize).unwrap();
        // SAFETY: the size is not 0. Only this test uses the reserve, which keeps the memory for ever.
        unsafe {
            let start = alloc_zeroed(layout) as u64;
            RECORDS.initialize(Range {
                start,
                end: start + size,
            });
        }
        create_for_cores(CORES);
        assert_eq!(create_records(PAGES).len() as u64, PAGES);
        assert!(RECORDS.free_pages() >= MORE * CORES as u64);
    }
}
