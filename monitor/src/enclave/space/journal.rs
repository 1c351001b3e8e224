//! All entries of the operating system's tables that an entry into an enclave depends on, in one list: to look whether they all still say
//! the same takes a few instructions for each.
//!
//! Entries of upper tables, which many translations have in common, come first and stand in it once.

use super::Step;
use crate::address::HostPhysical;
use crate::frames::FrameAllocator;

/// Steps that fit in a page with their count, a multiple of [`AT_ONCE`].
pub const MOST: usize = 252;
/// Steps that are compared in a straight line; a list that has ended has a multiple of these, the last one repeated.
const AT_ONCE: usize = 4;
/// Steps that are looked for before they are added.
const MOST_SHARED: usize = 24;

#[repr(C, align(4096))]
struct Page {
    count: usize,
    steps: [Step; MOST],
}

const _: () = assert!(size_of::<Page>() == 4096 && MOST.is_multiple_of(AT_ONCE));

/// There is no room for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The list, in a page of its own while there is one.
pub struct Journal(*mut Page);

impl Journal {
    /// Without a page.
    pub const NONE: Self = Self(core::ptr::null_mut());

    /// Begins an empty list.
    ///
    /// # Errors
    /// If there is no page for it.
    pub fn begin(&mut self, frames: &FrameAllocator) -> Result<(), Full> {
        if self.0.is_null() {
            self.0 = frames.allocate().ok_or(Full)?.value() as *mut Page;
        }
        self.page().ok_or(Full)?.count = 0;
        Ok(())
    }

    /// Gives the page back.
    pub fn clear(&mut self, frames: &FrameAllocator) {
        if !self.0.is_null() {
            // SAFETY: it came from there, and is forgotten here.
            unsafe { frames.free(HostPhysical(self.0 as u64)) };
            self.0 = core::ptr::null_mut();
        }
    }

    /// Adds a step of an upper table, before any that is not.
    ///
    /// # Errors
    /// If there are too many.
    pub fn add_shared(&mut self, step: &Step) -> Result<(), Full> {
        let page = self.page().ok_or(Full)?;
        let known = page.steps.get(..page.count).ok_or(Full)?;
        if known.iter().any(|known| known == step) {
            return Ok(());
        }
        if page.count >= MOST_SHARED {
            return Err(Full);
        }
        self.add(*step)
    }

    /// Adds a step.
    ///
    /// # Errors
    /// If there are too many.
    pub fn add(&mut self, step: Step) -> Result<(), Full> {
        let page = self.page().ok_or(Full)?;
        *page.steps.get_mut(page.count).ok_or(Full)? = step;
        page.count += 1;
        Ok(())
    }

    /// Ends the list.
    ///
    /// # Errors
    /// If it is empty.
    pub fn end(&mut self) -> Result<(), Full> {
        let page = self.page().ok_or(Full)?;
        let last = page
            .count
            .checked_sub(1)
            .and_then(|last| page.steps.get(last));
        let last = *last.ok_or(Full)?;
        let rest = page.steps.get_mut(page.count..).unwrap_or_default();
        rest.iter_mut()
            .take(AT_ONCE - 1)
            .for_each(|step| *step = last);
        page.count = page.count.next_multiple_of(AT_ONCE);
        Ok(())
    }

    /// Whether all of them say what they said, of a list that has ended.
    #[inline(never)]
    pub fn still_holds(&self) -> bool {
        // SAFETY: the page is this list's own while it is not null.
        let Some(page) = (unsafe { self.0.as_ref() }) else {
            return false;
        };
        let mut left = page.count;
        for [a, b, c, d] in page.steps.as_chunks::<AT_ONCE>().0 {
            if left == 0 {
                break;
            }
            if !(a.still_holds() && b.still_holds() && c.still_holds() && d.still_holds()) {
                return false;
            }
            left -= AT_ONCE;
        }
        true
    }

    fn page(&mut self) -> Option<&mut Page> {
        // SAFETY: as in `still_holds`.
        unsafe { self.0.as_mut() }
    }
}
