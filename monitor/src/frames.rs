//! The monitor's own memory, page by page, out of the reserve.
//!
//! A page is either free (then its first word links to the next free one) or belongs to whoever allocated it. The
//! reserve is in no domain's nested tables, so nobody else ever reads or writes these pages.
//!
//! Table pages that were taken out of nested tables are *retired*: hardware may still walk them, so they keep their contents
//! and are linked through an array beside them until whoever flushed gives them back ([`FrameAllocator::take_retired`]).

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

/// Retired pages, to be given back after a flush that began later than this list was taken.
#[must_use = "these pages are lost unless they are given back"]
#[derive(Debug)]
pub struct Retired {
    first: u32,
}

struct State {
    /// All of the allocator's pages, so that a page has a number.
    base: u64,
    /// A word for each page: the number of the next retired one, and one.
    links: u64,
    /// The first retired page, as in a link; 0 for none.
    retired: u32,
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
            base: 0,
            links: 0,
            retired: 0,
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
        let links =
            (reserve.size() / PAGE_SIZE * size_of::<u32>() as u64).next_multiple_of(PAGE_SIZE);
        let fresh = Range {
            start: (reserve.start + links).min(reserve.end),
            end: reserve.end,
        };
        *self.0.lock() = State {
            base: reserve.start,
            links: reserve.start,
            retired: 0,
            fresh,
            returned: 0,
            free: fresh.size() / PAGE_SIZE,
        };
    }

    /// Takes over all pages that are retired so far. Flush every core that may walk them, then call
    /// [`Self::free_retired`].
    pub fn take_retired(&self) -> Retired {
        let mut state = self.0.lock();
        Retired {
            first: core::mem::take(&mut state.retired),
        }
    }

    /// Gives back what was taken over, at most `budget` pages of it; the rest if any is left.
    ///
    /// # Safety
    /// No core's hardware walks these pages any more.
    pub unsafe fn free_retired(&self, retired: Retired, budget: usize) -> Option<Retired> {
        let mut state = self.0.lock();
        let mut first = retired.first;
        for _ in 0..budget {
            let number = first.checked_sub(1)?;
            // SAFETY: the page is on the list that this caller owns, so it has a link.
            first = unsafe { *state.link(number) };
            let frame = state.base + u64::from(number) * PAGE_SIZE;
            state.put(frame);
        }
        (first != 0).then_some(Retired { first })
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

impl Frames for FrameAllocator {
    fn allocate(&self) -> Option<HostPhysical> {
        Self::allocate(self)
    }

    fn retire(&self, table: HostPhysical) {
        let mut state = self.0.lock();
        let number = ((table.value() - state.base) / PAGE_SIZE) as u32;
        // SAFETY: the page came from here, so it has a link.
        unsafe { *state.link(number) = state.retired };
        state.retired = number + 1;
    }

    fn table(&self, table: HostPhysical) -> &[AtomicU64; ENTRIES] {
        // SAFETY: the page came from here and is not free; it is only ever accessed by atomic words.
        unsafe { &*(table.value() as *const [AtomicU64; ENTRIES]) }
    }
}

impl State {
    fn link(&self, number: u32) -> *mut u32 {
        (self.links + u64::from(number) * size_of::<u32>() as u64) as *mut u32
    }

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
                end: start + 17 * PAGE_SIZE,
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

        seen.iter().take(5).for_each(|&frame| frames.retire(frame));
        assert_eq!(frames.free_pages(), 0);
        let retired = frames.take_retired();
        // SAFETY: there is no hardware here.
        let rest = unsafe { frames.free_retired(retired, 3) }.unwrap();
        assert_eq!(frames.free_pages(), 3);
        // SAFETY: as above.
        assert!(unsafe { frames.free_retired(rest, 3) }.is_none());
        assert_eq!(frames.free_pages(), 5);
    }
}
