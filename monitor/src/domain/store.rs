//! Pages for the engine's records, and one word for each frame of the reserve.
//!
//! The engine names pages by number, also numbers that a caller made up. So the words say which frames are the engine's;
//! of a domain's record also where its context is, and of a retired table which one follows in its chain.

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_capability::store::{Page, PageNumber, Store};

use super::context::Context;
use crate::address::{HostPhysical, PAGE_SIZE};
use crate::frames::FRAMES;
use crate::memory::Range;
use crate::once::Once;

/// The words of the machine's reserve.
pub static WORDS: Once<FrameWords> = Once::new();

/// Bit of a word: the frame holds a record of the engine's. The rest is the domain's context, or 0.
const RECORD: u64 = 1;
/// Bit of a word: the frame is a retired table. The rest is the next one in its chain, or 0.
const RETIRED: u64 = 2;

/// One word for each frame of the reserve.
pub struct FrameWords {
    reserve: Range,
    words: &'static [AtomicU64],
}

impl FrameWords {
    /// Words of zero for `reserve`, or `None` if it has no room for them itself.
    #[must_use]
    pub fn new(reserve: Range) -> Option<Self> {
        let frames = reserve.size() / PAGE_SIZE;
        let base = FRAMES.allocate_contiguous((frames * 8).div_ceil(PAGE_SIZE), PAGE_SIZE)?;
        // SAFETY: zeroed pages that are the monitor's from now on, mapped one to one and large enough.
        let words = unsafe {
            core::slice::from_raw_parts(base.value() as *const AtomicU64, frames as usize)
        };
        Some(Self { reserve, words })
    }

    /// Frames in the reserve.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.words.len() as u64
    }

    fn get(&self, number: u32) -> u64 {
        self.words
            .get(number as usize)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn set(&self, number: u32, value: u64) {
        if let Some(word) = self.words.get(number as usize) {
            word.store(value, Ordering::Release);
        }
    }

    /// Puts the retired table in frame `number` before the chain that begins with `next`.
    pub fn chain(&self, number: u32, next: u64) {
        self.set(number, next | RETIRED);
    }

    /// Takes the retired table in frame `number` out of its chain: what followed it.
    #[must_use]
    pub fn unchain(&self, number: u32) -> u64 {
        let word = self.get(number);
        self.set(number, 0);
        word & !RETIRED
    }

    /// Notes the context of the domain whose record is page `number`.
    pub fn set_context(&self, number: u32, context: &'static Context) {
        self.set(number, core::ptr::from_ref(context) as u64 | RECORD);
    }

    /// The domain whose record is page `number` has no context any more.
    pub fn clear_context(&self, number: u32) {
        self.set(number, RECORD);
    }

    /// The context of the domain whose record is page `number`. Only under the engine's lock, which keeps it alive.
    #[must_use]
    pub fn context(&self, number: u32) -> Option<&'static Context> {
        let word = self.get(number);
        let context = word & !RECORD;
        // SAFETY: the rest of a record's word is the domain's context, until that is retired.
        (word & RECORD != 0 && context != 0).then(|| unsafe { &*(context as *const Context) })
    }
}

/// The number of a frame of the reserve.
#[must_use]
pub fn frame_number(frame: HostPhysical) -> Option<u32> {
    let words = WORDS.get();
    let offset = frame.value().checked_sub(words.reserve.start)?;
    let number = offset / PAGE_SIZE;
    (number < words.frames()).then_some(number as u32)
}

/// The engine's pages.
#[derive(Debug)]
pub struct FrameStore;

static EMPTY: Page = Page::Empty;

impl FrameStore {
    #[inline]
    fn place(words: &FrameWords, page: PageNumber) -> *mut Page {
        (words.reserve.start + u64::from(page.number()) * PAGE_SIZE) as *mut Page
    }
}

impl Store for FrameStore {
    fn allocate(&mut self) -> Option<PageNumber> {
        let frame = FRAMES.allocate()?;
        let page = frame_number(frame).and_then(PageNumber::new)?;
        let words = WORDS.get();
        // SAFETY: the frame is fresh, and large and aligned enough for a page.
        unsafe { Self::place(words, page).write(Page::Empty) };
        words.set(page.number(), RECORD);
        Some(page)
    }

    fn release(&mut self, page: PageNumber) {
        let words = WORDS.get();
        words.set(page.number(), 0);
        let frame = HostPhysical(Self::place(words, page) as u64);
        // SAFETY: it came from `allocate`, and the engine has no reference to it any more.
        unsafe { FRAMES.free(frame) };
    }

    fn page(&self, page: PageNumber) -> &Page {
        // Most of what the engine does is this.
        let words = WORDS.get();
        if words.get(page.number()) & RECORD == 0 {
            return &EMPTY;
        }
        // SAFETY: the word says that the frame holds a page of the engine's; the engine's lock guards it.
        unsafe { &*Self::place(words, page) }
    }

    fn page_mut(&mut self, page: PageNumber) -> &mut Page {
        // SAFETY: asked only for pages that `allocate` returned; the engine's lock guards them.
        unsafe { &mut *Self::place(WORDS.get(), page) }
    }
}
