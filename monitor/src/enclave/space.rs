//! Tables for enclave mode, kept from one stay of a thread in its enclave to the next: design note 007.
//!
//! A [`Space`] is a translation cache loaded by the monitor. Each translation is a function of the operating system's table
//! entries on the way to it, of the EPCM, and of domain 0's nested tables; the space notes where those entries stand and what they
//! said ([`Region`]), and [`Space::judge`] drops at an entry what they no longer say.
//!
//! What must hold:
//! - One core at a time has a space.
//! - The notes point into domain 0's memory, and are good for one generation of domain 0's nested tables; whoever judges has cleared a space of
//!   an older one ([`Space::clear`]).
//! - Every frame of a space is reachable from its root or its records, and goes back where it came from.

mod attachment;
mod journal;
mod region;
mod settling;

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_x86::paging::{ENTRIES, Entry, index, span};

use crate::address::HostPhysical;
use crate::frames::FrameAllocator;
use journal::Journal;
use region::Region;
pub use settling::Walk;

/// Levels of tables above the last.
const UPPER_LEVELS: usize = 3;
/// The level of the root: 48 bits.
const ROOT_LEVEL: u8 = 3;
/// Words of a bitmap over a table.
const WORDS: usize = ENTRIES / 64;
/// What an entry of an upper table says beside the address: its leaves alone decide.
const TABLE: u64 = Entry::PRESENT | Entry::WRITABLE | Entry::USER | Entry::ACCESSED;

/// A table.
type Table = [AtomicU64; ENTRIES];

/// An entry of the operating system's tables, and what it said. It is where it was for one generation of nested tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub entry: *const AtomicU64,
    /// What it said.
    pub word: u64,
}

impl Step {
    /// Of no walk.
    pub const NONE: Self = Self {
        entry: core::ptr::null(),
        word: 0,
    };

    /// Whether it would say the same.
    #[inline]
    pub(super) fn still_holds(&self) -> bool {
        // SAFETY: the entry is a word of domain 0's memory in this generation (see the module).
        unsafe { &*self.entry }.load(Ordering::Relaxed) == self.word
    }
}

/// A translation to be loaded.
#[derive(Clone, Copy, Debug)]
pub struct Translation {
    /// The linear address of the page.
    pub address: u64,
    /// The entry of the last table.
    pub word: u64,
    /// The way through the operating system's tables above its last one.
    pub upper: [Step; UPPER_LEVELS],
    /// Its last one's entry; none where a large page ends the way before.
    pub last: Option<Step>,
}

/// Regions of a page of records.
const REGIONS: usize = 23;

#[repr(C, align(4096))]
struct Records {
    next: *mut Records,
    count: usize,
    regions: [Region; REGIONS],
}

const _: () = assert!(size_of::<Records>() == 4096);

/// There is no frame left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfFrames;

/// The tables of one thread.
pub struct Space {
    root: HostPhysical,
    records: *mut Records,
    pages: usize,
    regions: usize,
    /// What regions that are new note as theirs.
    asked: u64,
    journal: Journal,
    /// The journal is of what is in the space now.
    is_settled: bool,
}

// SAFETY: all that it points to is its own, or is read as atomic words.
unsafe impl Send for Space {}

impl Space {
    /// One that translates nothing, if there is a frame for its root.
    #[must_use]
    pub fn new(frames: &FrameAllocator) -> Option<Self> {
        Some(Self {
            root: frames.allocate()?,
            records: core::ptr::null_mut(),
            pages: 0,
            regions: 0,
            asked: 0,
            journal: Journal::NONE,
            is_settled: false,
        })
    }

    /// What CR3 gets.
    #[inline]
    #[must_use]
    pub fn root(&self) -> HostPhysical {
        self.root
    }

    /// Translations in it.
    #[inline]
    #[must_use]
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Parts of 2 MiB in which it has had any.
    #[inline]
    #[must_use]
    pub fn regions(&self) -> usize {
        self.regions
    }

    /// Drops every translation whose notes no longer hold; how many.
    pub fn judge(&mut self) -> usize {
        let mut dropped = 0;
        self.for_each_region(|region| dropped += region.judge());
        self.forget(dropped);
        dropped
    }

    fn forget(&mut self, dropped: usize) {
        self.pages -= dropped;
        self.is_settled &= dropped == 0;
    }

    /// Drops every translation that `keep`, asked with its linear address and its entry, does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(u64, u64) -> bool) {
        let mut dropped = 0;
        self.for_each_region(|region| dropped += region.retain(&mut keep));
        self.forget(dropped);
    }

    /// The host address to which a linear one is translated.
    #[must_use]
    pub fn translate(&self, address: u64) -> Option<u64> {
        let mut place = self.root;
        for level in (0..=ROOT_LEVEL).rev() {
            let word = table(place)
                .get(index(address, level))?
                .load(Ordering::Relaxed);
            if !Entry(word).has(Entry::PRESENT) {
                return None;
            }
            place = HostPhysical(word & Entry::ADDRESS);
        }
        Some(place.value() | address & 0xfff)
    }

    /// Loads a translation in place of any that there was for the page.
    ///
    /// # Errors
    /// If there are no frames for tables; then some that are empty may have been added.
    pub fn load(&mut self, frames: &FrameAllocator, new: &Translation) -> Result<(), OutOfFrames> {
        self.is_settled = false;
        let start = new.address & !(span(1) - 1);
        let region = match self.region(start) {
            Some(region) => region,
            None => self.add_region(frames, start)?,
        };
        let (added, dropped) = region.load(new);
        self.pages = self.pages + added - dropped;
        Ok(())
    }

    /// Drops everything and gives all frames but the root back.
    pub fn clear(&mut self, frames: &FrameAllocator) {
        self.is_settled = false;
        self.journal.clear(frames);
        for entry in table(self.root) {
            let below = entry.swap(0, Ordering::Relaxed);
            if below != 0 {
                free_below(frames, HostPhysical(below & Entry::ADDRESS), ROOT_LEVEL - 1);
            }
        }
        let mut records = self.records;
        while !records.is_null() {
            // SAFETY: records of this space are pages of its own until they are freed here; nothing refers to them any more.
            unsafe {
                let next = (*records).next;
                for region in (*records).regions.iter().take((*records).count) {
                    frames.free(region.copies);
                }
                frames.free(HostPhysical(records as u64));
                records = next;
            }
        }
        self.records = core::ptr::null_mut();
        (self.pages, self.regions) = (0, 0);
    }

    fn for_each_region(&mut self, mut each: impl FnMut(&mut Region)) {
        let mut records = self.records;
        while !records.is_null() {
            // SAFETY: records of this space, which this core alone has.
            let page = unsafe { &mut *records };
            page.regions.iter_mut().take(page.count).for_each(&mut each);
            records = page.next;
        }
    }

    fn region(&mut self, start: u64) -> Option<&mut Region> {
        let mut records = self.records;
        while !records.is_null() {
            // SAFETY: as in `for_each_region`.
            let page = unsafe { &mut *records };
            let found = page
                .regions
                .iter_mut()
                .take(page.count)
                .find(|region| region.start == start);
            if found.is_some() {
                return found;
            }
            records = page.next;
        }
        None
    }

    fn add_region(
        &mut self,
        frames: &FrameAllocator,
        start: u64,
    ) -> Result<&mut Region, OutOfFrames> {
        let is_full = self.records.is_null()
            // SAFETY: as in `for_each_region`.
            || unsafe { &*self.records }.count == REGIONS;
        if is_full {
            let page = frames.allocate().ok_or(OutOfFrames)?.value() as *mut Records;
            // SAFETY: a zeroed page of this space's own, which is records without regions.
            unsafe { (*page).next = self.records };
            self.records = page;
        }
        let copies = frames.allocate().ok_or(OutOfFrames)?;
        let Ok((table, named_by)) = self.last_table(frames, start) else {
            // SAFETY: just allocated.
            unsafe { frames.free(copies) };
            return Err(OutOfFrames);
        };
        // SAFETY: as in `for_each_region`.
        let records = unsafe { &mut *self.records };
        let slot = records.regions.get_mut(records.count).ok_or(OutOfFrames)?;
        records.count += 1;
        self.regions += 1;
        *slot = Region {
            start,
            table,
            copies,
            original: core::ptr::null(),
            upper: [Step::NONE; UPPER_LEVELS],
            loaded: [0; WORDS],
            used: 0,
            slot: named_by,
            asked: self.asked,
            judgements: 0,
        };
        Ok(slot)
    }

    /// The table for the last level at `start`, made where there is none, and the entry that names it.
    fn last_table(
        &self,
        frames: &FrameAllocator,
        start: u64,
    ) -> Result<(HostPhysical, &'static AtomicU64), OutOfFrames> {
        let mut place = self.root;
        let mut slot = &table(place)[0];
        for level in (1..=ROOT_LEVEL).rev() {
            let entry = &table(place)[index(start, level)];
            let word = entry.load(Ordering::Relaxed);
            slot = entry;
            place = if word == 0 {
                let below = frames.allocate().ok_or(OutOfFrames)?;
                entry.store(below.value() | TABLE, Ordering::Relaxed);
                below
            } else {
                HostPhysical(word & Entry::ADDRESS)
            };
        }
        Ok((place, slot))
    }
}

fn table(place: HostPhysical) -> &'static Table {
    // SAFETY: called with frames of the space's own only, which are mapped one to one, live until they are freed, and are accessed by
    // atomic words alone.
    unsafe { &*(place.value() as *const Table) }
}

/// Frees a table at this level and all below it.
fn free_below(frames: &FrameAllocator, place: HostPhysical, level: u8) {
    if level > 0 {
        for entry in table(place) {
            let below = entry.load(Ordering::Relaxed);
            if below != 0 {
                free_below(frames, HostPhysical(below & Entry::ADDRESS), level - 1);
            }
        }
    }
    // SAFETY: it came from there, and its parent no longer names it, or is freed next.
    unsafe { frames.free(place) };
}

#[cfg(test)]
mod tests;
