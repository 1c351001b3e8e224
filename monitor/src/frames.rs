//! The monitor's own memory, page by page, out of the reserve.
//!
//! A page is either free (then its first word links to the next free one) or belongs to whoever allocated it. The
//! reserve is in no domain's nested tables, so nobody else ever reads or writes these pages.

use core::sync::atomic::AtomicU64;

use adyton_x86::paging::ENTRIES;

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::lock::Lock;
use crate::memory::Range;
use crate::nested::Frames;

/// The free pages of the reserve.
pub static FRAMES: FrameAllocator = FrameAllocator::new();

/// An allocator of single pages; in boot, also of contiguous ones.
pub struct FrameAllocator(Lock<State>);

struct State {
    /// Never allocated yet.
    fresh: Range,
    /// The first page of the list of those that were given back, 0 for none.
    returned: u64,
    free: u64,
}

impl FrameAllocator {
    /// One without memory.
    #[must_use]
    pub const fn new() -> Self {
        let fresh = Range { start: 0, end: 0 };
        Self(Lock::new(State {
            fresh,
            returned: 0,
            free: 0,
        }))
    }

    /// Gives it its memory.
    ///
    /// # Safety
    /// `reserve` is page-aligned memory that nobody else uses from now on.
    pub unsafe fn initialize(&self, reserve: Range) {
        *self.0.lock() = State {
            fresh: reserve,
            returned: 0,
            free: reserve.size() / PAGE_SIZE,
        };
    }

    /// A page of zeros.
    #[must_use]
    pub fn allocate(&self) -> Option<HostPhysical> {
        let frame = self.0.lock().take()?;
        // SAFETY: the page is in no list now and belongs to this caller; memory is mapped one to one.
        unsafe { core::ptr::write_bytes(frame as *mut u8, 0, PAGE_SIZE as usize) };
        Some(HostPhysical(frame))
    }

    /// So many contiguous pages of zeros that were never used before, at a multiple of `alignment` bytes. What is skipped
    /// for the alignment is free as single pages.
    #[must_use]
    pub fn allocate_contiguous(&self, pages: u64, alignment: u64) -> Option<HostPhysical> {
        let mut state = self.0.lock();
        let start = state.fresh.start.checked_next_multiple_of(alignment)?;
        let end = start.checked_add(pages.checked_mul(PAGE_SIZE)?)?;
        if end > state.fresh.end {
            return None;
        }
        let mut skipped = state.fresh.start;
        while skipped < start {
            state.put(skipped);
            skipped += PAGE_SIZE;
            // `put` counts it as free once more.
            state.free -= 1;
        }
        state.fresh.start = end;
        state.free -= pages;
        drop(state);
        // SAFETY: these pages were fresh and belong to this caller.
        unsafe { core::ptr::write_bytes(start as *mut u8, 0, (end - start) as usize) };
        Some(HostPhysical(start))
    }

    /// Takes a page back.
    ///
    /// # Safety
    /// The page came from [`Self::allocate`], and nothing, no hardware either, refers to it any more.
    pub unsafe fn free(&self, frame: HostPhysical) {
        self.0.lock().put(frame.value());
    }

    /// How many pages are free.
    #[must_use]
    pub fn free_pages(&self) -> u64 {
        self.0.lock().free
    }
}

impl Default for FrameAllocator {
    fn default() -> Self {
        Self::new()
    }
}

/// For tables that are made while booting.
impl Frames for FrameAllocator {
    fn allocate(&self) -> Option<HostPhysical> {
        Self::allocate(self)
    }

    fn retire(&self, table: HostPhysical) {
        // SAFETY: the page came from here, and no core walks these tables before they are complete.
        unsafe { self.free(table) };
    }

    fn table(&self, table: HostPhysical) -> &[AtomicU64; ENTRIES] {
        // SAFETY: the page came from here and is not free; it is only ever accessed by atomic words.
        unsafe { &*(table.value() as *const [AtomicU64; ENTRIES]) }
    }
}

impl State {
    fn take(&mut self) -> Option<u64> {
        let frame = if self.returned != 0 {
            let frame = self.returned;
            // SAFETY: a page in the list is free, and its first word is the link.
            self.returned = unsafe { *(frame as *const u64) };
            frame
        } else if self.fresh.start < self.fresh.end {
            let frame = self.fresh.start;
            self.fresh.start += PAGE_SIZE;
            frame
        } else {
            return None;
        };
        self.free -= 1;
        Some(frame)
    }

    fn put(&mut self, frame: u64) {
        // SAFETY: the page belongs to the allocator from now on.
        unsafe { *(frame as *mut u64) = self.returned };
        self.returned = frame;
        self.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_come_zeroed_and_go_round() {
        let bytes = vec![0xffu8; 20 * PAGE_SIZE as usize];
        let start = (bytes.as_ptr() as u64).next_multiple_of(PAGE_SIZE);
        let frames = FrameAllocator::new();
        // SAFETY: the vector lives as long as the allocator is used.
        unsafe {
            frames.initialize(Range {
                start,
                end: start + 16 * PAGE_SIZE,
            })
        };
        let single = frames.allocate().unwrap();
        // SAFETY: just allocated.
        unsafe { frames.free(single) };
        let several = frames.allocate_contiguous(4, 4 * PAGE_SIZE).unwrap();
        assert!(several.is_aligned(4 * PAGE_SIZE));
        assert_eq!(frames.free_pages(), 12);
        let mut seen = Vec::new();
        while let Some(frame) = frames.allocate() {
            assert!(!seen.contains(&frame));
            assert!(frame < several || frame.value() >= several.value() + 4 * PAGE_SIZE);
            // SAFETY: just allocated.
            let page = unsafe { core::slice::from_raw_parts(frame.value() as *const u8, 4096) };
            assert!(page.iter().all(|&byte| byte == 0));
            seen.push(frame);
        }
        assert_eq!(seen.len(), 12);
        assert_eq!(frames.free_pages(), 0);
    }
}
