//! The one algorithm that changes nested tables: it walks down to each slot of a range, stores there what shall
//! stand, splits large leaves on the way down and folds tables on the way up.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Relaxed, Release};

use adyton_x86::paging::{ENTRIES, index, span};

use super::format::{EMPTY, Entry, Format};
use super::{Emptied, End, Frames, MustFlush, Rights};
use crate::address::HostPhysical;

/// The highest level whose slots are changed as a whole: above it a subtree has too many tables for one step.
const LARGEST_STEP: u8 = 2;

/// What shall stand in the range.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The page at `place + offset` (wrapping) with these rights.
    Mapped { offset: u64, rights: Rights },
    /// Nothing.
    Unmapped(Emptied),
}

/// One slice of work.
pub(super) struct Change<'a, F> {
    frames: &'a F,
    format: Format,
    largest_leaf: u8,
    target: Target,
    budget: u32,
    progressed: bool,
    stale: bool,
    opened: bool,
    added: u64,
    removed: u64,
    end: End,
}

impl<'a, F: Frames> Change<'a, F> {
    pub(super) fn new(
        frames: &'a F,
        format: Format,
        largest_leaf: u8,
        target: Target,
        budget: u32,
    ) -> Self {
        Self {
            frames,
            format,
            largest_leaf,
            target,
            budget,
            progressed: false,
            stale: false,
            opened: false,
            added: 0,
            removed: 0,
            end: End::Complete,
        }
    }

    /// How many tables there are now, if there were `before`.
    pub(super) fn count(&self, before: u64) -> u64 {
        (before + self.added).saturating_sub(self.removed)
    }

    pub(super) fn end(&self) -> End {
        self.end
    }

    pub(super) fn flush(&self) -> MustFlush {
        MustFlush::only_if(self.stale)
    }

    pub(super) fn has_opened(&self) -> bool {
        self.opened
    }

    /// Changes `start..end`, which lies in the span of `table`, and returns how far it got.
    pub(super) fn run(&mut self, table: HostPhysical, level: u8, start: u64, end: u64) -> u64 {
        let entries = self.frames.table(table);
        let mut place = start;
        while place < end {
            if self.budget == 0 && self.progressed {
                self.end = End::Budget;
                return place;
            }
            self.spend(1);
            let slot = place & !(span(level) - 1);
            let stop = end.min(slot + span(level));
            let entry = &entries[index(place, level)];
            let old = entry.load(Relaxed);
            if stop - place == span(level)
                && let Some(new) = self.whole(level, place, old)
            {
                self.replace(entry, level, old, new);
                place = stop;
                continue;
            }
            if self.stands_already(level, slot, old) {
                self.progressed = true;
                place = stop;
                continue;
            }
            let below = match self.format.decode(level, old) {
                Entry::Table(below) => Some(below),
                Entry::Empty | Entry::Leaf(..) => self.split(entry, level, old),
            };
            let Some(below) = below else {
                self.end = End::OutOfFrames;
                return place;
            };
            let reached = self.run(below, level - 1, place, stop);
            self.fold(entry, level, below, place, reached);
            place = reached;
            if reached < stop {
                return place;
            }
        }
        place
    }

    fn spend(&mut self, entries: u32) {
        self.budget = self.budget.saturating_sub(entries);
    }

    /// The word that settles the whole slot at `place` at this level, if one can.
    fn whole(&self, level: u8, place: u64, old: u64) -> Option<u64> {
        match self.target {
            Target::Mapped { offset, rights } => {
                let base = place.wrapping_add(offset);
                let fits = level <= self.largest_leaf && base & (span(level) - 1) == 0;
                fits.then(|| self.format.leaf(level, HostPhysical(base), rights))
            }
            Target::Unmapped(emptied) => {
                let has_table = matches!(self.format.decode(level, old), Entry::Table(_));
                let stays = has_table && (emptied == Emptied::Keep || level > LARGEST_STEP);
                (!stays).then_some(EMPTY)
            }
        }
    }

    /// Whether the slot, which cannot be settled as a whole, already says what the target wants of any part of it.
    fn stands_already(&self, level: u8, slot: u64, old: u64) -> bool {
        match self.target {
            Target::Mapped { offset, rights } => {
                self.format.decode(level, old)
                    == Entry::Leaf(HostPhysical(slot.wrapping_add(offset)), rights)
            }
            Target::Unmapped(_) => old == EMPTY,
        }
    }

    fn replace(&mut self, entry: &AtomicU64, level: u8, old: u64, new: u64) {
        self.progressed = true;
        if old == new {
            return;
        }
        entry.store(new, Release);
        self.opened |= new != EMPTY;
        match self.format.decode(level, old) {
            Entry::Empty => {}
            Entry::Leaf(..) => self.stale = true,
            Entry::Table(below) => {
                self.stale = true;
                self.removed += retire(self.frames, self.format, below, level - 1);
                self.spend(ENTRIES as u32);
            }
        }
    }

    /// Puts a table into a slot that is empty or a leaf, saying the same as before.
    fn split(&mut self, entry: &AtomicU64, level: u8, old: u64) -> Option<HostPhysical> {
        let below = self.frames.allocate()?;
        self.added += 1;
        if let Entry::Leaf(base, rights) = self.format.decode(level, old) {
            for (number, part) in self.frames.table(below).iter().enumerate() {
                let word = self.format.part(level - 1, base, rights, number);
                part.store(word, Relaxed);
            }
            self.spend(ENTRIES as u32);
            // The old leaf says the same, but nothing may be concluded of a page size that a TLB remembers.
            self.stale = true;
        }
        entry.store(self.format.table(level, below), Release);
        Some(below)
    }

    /// Takes out the table below `entry` if it has become empty or uniform. `from..to` is what changed in it.
    fn fold(&mut self, entry: &AtomicU64, level: u8, below: HostPhysical, from: u64, to: u64) {
        let Some(new) = self.folded(level, from) else {
            return;
        };
        if !self.says(below, level - 1, new, from, to) {
            return;
        }
        entry.store(new, Release);
        self.frames.retire(below);
        self.removed += 1;
        self.stale = true;
    }

    /// What the whole slot would say in one word, if the part at `place` is any guide.
    fn folded(&self, level: u8, place: u64) -> Option<u64> {
        let slot = place & !(span(level) - 1);
        match self.target {
            Target::Unmapped(Emptied::Keep) => None,
            Target::Unmapped(Emptied::Detach) => Some(EMPTY),
            // A new table for which nothing was left further down.
            Target::Mapped { .. } if self.end == End::OutOfFrames => Some(EMPTY),
            Target::Mapped { offset, rights } => {
                let base = slot.wrapping_add(offset);
                let fits = level <= self.largest_leaf && base & (span(level) - 1) == 0;
                fits.then(|| self.format.leaf(level, HostPhysical(base), rights))
            }
        }
    }

    /// Whether `table` says in all its entries what `word` would say one level up.
    ///
    /// The neighbours of what changed are looked at first: while a range is being worked through they nearly always
    /// differ, which keeps the cost of many small changes down.
    fn says(&mut self, table: HostPhysical, level: u8, word: u64, from: u64, to: u64) -> bool {
        let entries = self.frames.table(table);
        let meaning = self.format.decode(level + 1, word);
        let same = |number: usize| {
            let number = number % ENTRIES;
            let wanted = match meaning {
                Entry::Leaf(base, rights) => self.format.part(level, base, rights, number),
                Entry::Table(_) | Entry::Empty => EMPTY,
            };
            entries[number].load(Relaxed) == wanted
        };
        let before = index(from, level).wrapping_sub(1);
        let after = index(to.saturating_sub(1), level) + 1;
        if !same(before) || !same(after) {
            return false;
        }
        let equal = (0..ENTRIES).take_while(|number| same(*number)).count();
        self.spend(equal as u32);
        equal == ENTRIES
    }
}

/// Retires `table` and all tables below it; how many that were.
pub(super) fn retire<F: Frames>(frames: &F, format: Format, table: HostPhysical, level: u8) -> u64 {
    let mut count = 1;
    if level > 0 {
        for entry in frames.table(table) {
            if let Entry::Table(below) = format.decode(level, entry.load(Relaxed)) {
                count += retire(frames, format, below, level - 1);
            }
        }
    }
    frames.retire(table);
    count
}
