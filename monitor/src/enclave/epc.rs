//! Pages of the EPC: from number to address and back, and their bytes.
//!
//! An enclave changes its pages while it runs, on any core. So nothing here makes a reference to their bytes: they are copied, or
//! changed as atomic words, and who copies looks at its copy.

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_sgx::EpcPage;

use super::sections;
use crate::address::{HostPhysical, PAGE_SIZE};
use crate::memory::Range;

/// The first section, which is mostly the only one: where it begins, and its bytes; 0 while there is none.
static FIRST: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// Notes the first section. Once, while the monitor boots.
pub(super) fn note_first(section: &Range) {
    let [start, size] = &FIRST;
    start.store(section.start, Ordering::Relaxed);
    size.store(section.size(), Ordering::Relaxed);
}

fn first() -> (u64, u64) {
    let [start, size] = FIRST.each_ref().map(|word| word.load(Ordering::Relaxed));
    (start, size)
}

/// The page that holds this physical address; `None` outside the EPC.
#[inline]
#[must_use]
pub fn page_at(address: u64) -> Option<EpcPage> {
    let (start, size) = first();
    let offset = address.wrapping_sub(start);
    if offset < size {
        return Some(EpcPage((offset / PAGE_SIZE) as u32));
    }
    page_in_any(address)
}

#[cold]
fn page_in_any(address: u64) -> Option<EpcPage> {
    let mut before = 0;
    for section in sections() {
        if section.contains(address) {
            return Some(EpcPage(
                (before + (address - section.start) / PAGE_SIZE) as u32,
            ));
        }
        before += section.size() / PAGE_SIZE;
    }
    None
}

/// Where a page lies; `None` for a number that is none.
#[inline(always)]
#[must_use]
pub fn place(page: EpcPage) -> Option<HostPhysical> {
    let offset = u64::from(page.0) * PAGE_SIZE;
    let (start, size) = first();
    if offset < size {
        return Some(HostPhysical(start + offset));
    }
    place_in_any(page)
}

#[cold]
fn place_in_any(page: EpcPage) -> Option<HostPhysical> {
    let mut offset = u64::from(page.0) * PAGE_SIZE;
    for section in sections() {
        if offset < section.size() {
            return Some(HostPhysical(section.start + offset));
        }
        offset -= section.size();
    }
    None
}

/// A page that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(HostPhysical);

impl Place {
    /// Of a page; `None` for a number that is none.
    #[inline(always)]
    #[must_use]
    pub fn of(page: EpcPage) -> Option<Self> {
        place(page).map(Self)
    }

    /// A word of it; an offset that is that of none is rounded down.
    #[inline(always)]
    #[must_use]
    pub fn word(self, offset: usize) -> &'static AtomicU64 {
        let offset = (offset as u64 % PAGE_SIZE) & !7;
        // SAFETY: it lies in the EPC, which is RAM, mapped one to one, and nothing else of the monitor's; it is aligned, and only ever used as
        // an atomic word.
        unsafe { &*((self.0.value() + offset) as *const AtomicU64) }
    }
}

/// The address of `length` bytes at `offset` of a page, if they lie in one.
#[inline(always)]
fn stretch(page: EpcPage, offset: usize, length: usize) -> Option<u64> {
    let end = offset.checked_add(length)?;
    let start = place(page)?.value();
    (end <= PAGE_SIZE as usize).then_some(start + offset as u64)
}

/// Copies bytes out of a page; ones where there is none.
#[inline(always)]
pub fn load(page: EpcPage, offset: usize, bytes: &mut [u8]) {
    match stretch(page, offset, bytes.len()) {
        // SAFETY: the stretch lies in the EPC, which is RAM, mapped one to one, and nothing else of the monitor's.
        Some(start) => unsafe {
            core::ptr::copy_nonoverlapping(start as *const u8, bytes.as_mut_ptr(), bytes.len());
        },
        None => bytes.fill(0xff),
    }
}

/// Copies bytes into a page.
#[inline(always)]
pub fn store(page: EpcPage, offset: usize, bytes: &[u8]) {
    if let Some(start) = stretch(page, offset, bytes.len()) {
        // SAFETY: as in `load`; the leaf that stores has claimed the page, or it is the enclave's own to change.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), start as *mut u8, bytes.len()) };
    }
}

/// Zeroes a page.
pub fn zero(page: EpcPage) {
    if let Some(start) = place(page) {
        // SAFETY: as in `store`.
        unsafe { core::ptr::write_bytes(start.value() as *mut u8, 0, PAGE_SIZE as usize) };
    }
}

/// Copies a page.
pub fn copy(from: EpcPage, to: EpcPage) {
    if from == to {
        return;
    }
    if let (Some(from), Some(to)) = (place(from), place(to)) {
        // SAFETY: as in `load` and `store`; two pages do not overlap.
        unsafe {
            core::ptr::copy_nonoverlapping(
                from.value() as *const u8,
                to.value() as *mut u8,
                PAGE_SIZE as usize,
            );
        }
    }
}
