//! 2 MiB of a space: the operating system's entries that its translations come from, as they were noted.

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_x86::paging::{ENTRIES, Entry, index, span};

use super::journal::{Full, Journal};
use super::{Step, Table, Translation, UPPER_LEVELS, WORDS, table};
use crate::address::HostPhysical;

/// How often a region is judged before what was not touched in between is dropped: by then judging has cost as much as loading anew.
pub(super) const JUDGEMENTS: u32 = 64;

/// 2 MiB of linear addresses.
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) table: HostPhysical,
    /// A page with a copy of each entry of `original` that is used.
    pub(super) copies: HostPhysical,
    /// The operating system's table, null where it has a large page.
    pub(super) original: *const AtomicU64,
    pub(super) upper: [Step; UPPER_LEVELS],
    /// A bit for each translation that is there.
    pub(super) loaded: [u64; WORDS],
    /// A bit for each word of `loaded` that is not zero.
    pub(super) used: u64,
    /// The entry that names `table`, present while the region is attached ([`super::attachment`]).
    pub(super) slot: *const AtomicU64,
    /// The EPCM's restrictions when it was last asked about all translations; newer ones were allowed later.
    pub(super) asked: u64,
    pub(super) judgements: u32,
}

impl Region {
    pub(super) fn slot(&self) -> &AtomicU64 {
        // SAFETY: an entry of a table of the same space, which is freed only with all of its regions.
        unsafe { &*self.slot }
    }

    /// Drops what no longer holds; how many.
    #[inline]
    pub(super) fn judge(&mut self) -> usize {
        if self.used == 0 {
            return 0;
        }
        if !self.upper.iter().all(Step::still_holds) {
            return self.retain(&mut |_, _| false);
        }
        if self.original.is_null() {
            return 0;
        }
        let (table, copies) = (table(self.table), table(self.copies));
        self.judgements = self.judgements.wrapping_add(1);
        let ages = self.judgements.is_multiple_of(JUDGEMENTS);
        let mut dropped = 0;
        let mut words = self.used;
        while words != 0 {
            let word = words.trailing_zeros() as usize % WORDS;
            words &= words - 1;
            let (base, mut left) = (64 * word, self.loaded[word]);
            if left == u64::MAX && !ages && self.all_hold(base) {
                continue;
            }
            while left != 0 {
                let bit = left.trailing_zeros() as usize;
                left &= left - 1;
                let number = (base + bit) % ENTRIES;
                // SAFETY: the table is a page of domain 0's memory in this generation, and the number is below its length.
                let now = unsafe { &*self.original.add(number) }.load(Ordering::Relaxed);
                let is_old = ages && !touched(&table[number]);
                if is_old || now != copies[number].load(Ordering::Relaxed) {
                    table[number].store(0, Ordering::Relaxed);
                    self.forget(number);
                    dropped += 1;
                }
            }
        }
        dropped
    }

    pub(super) fn list_upper(&self, journal: &mut Journal) -> Result<(), Full> {
        if self.used == 0 {
            return Ok(());
        }
        self.upper
            .iter()
            .try_for_each(|step| journal.add_shared(step))
    }

    pub(super) fn list_last(&self, journal: &mut Journal) -> Result<(), Full> {
        if self.original.is_null() {
            return Ok(());
        }
        let copies = table(self.copies);
        for (word, loaded) in self.loaded.iter().enumerate() {
            let mut left = *loaded;
            while left != 0 {
                let number = (64 * word + left.trailing_zeros() as usize) % ENTRIES;
                left &= left - 1;
                journal.add(Step {
                    entry: self.original.wrapping_add(number),
                    word: copies[number].load(Ordering::Relaxed),
                })?;
            }
        }
        Ok(())
    }

    /// Whether all of 64 entries say what was noted.
    #[inline]
    fn all_hold(&self, first: usize) -> bool {
        // SAFETY: the table is a page of domain 0's memory in this generation.
        let originals = unsafe { &*self.original.cast::<Table>() };
        let pairs = originals.iter().zip(table(self.copies));
        // One look at the end takes fewer instructions than one at each.
        let difference = pairs.skip(first).take(64).fold(0, |all, (now, noted)| {
            all | (now.load(Ordering::Relaxed) ^ noted.load(Ordering::Relaxed))
        });
        difference == 0
    }

    pub(super) fn retain(&mut self, keep: &mut impl FnMut(u64, u64) -> bool) -> usize {
        let table = table(self.table);
        let mut dropped = 0;
        for (number, entry) in table.iter().enumerate() {
            let (word, bit) = (number / 64, 1 << (number % 64));
            let is_loaded = self
                .loaded
                .get(word)
                .is_some_and(|loaded| loaded & bit != 0);
            let address = self.start + number as u64 * span(0);
            if is_loaded && !keep(address, entry.load(Ordering::Relaxed)) {
                entry.store(0, Ordering::Relaxed);
                self.forget(number);
                dropped += 1;
            }
        }
        dropped
    }

    fn forget(&mut self, number: usize) {
        let word = number / 64 % WORDS;
        self.loaded[word] &= !(1 << (number % 64));
        if self.loaded[word] == 0 {
            self.used &= !(1 << word);
        }
    }

    /// How many translations were added, and how many dropped.
    pub(super) fn load(&mut self, new: &Translation) -> (usize, usize) {
        let number = index(new.address, 0);
        let original = new
            .last
            .map_or(core::ptr::null(), |last| last.entry.wrapping_sub(number));
        let is_same = self.is_attached() && self.original == original && self.upper == new.upper;
        let dropped = if is_same {
            0
        } else {
            self.retain(&mut |_, _| false)
        };
        self.attach();
        self.original = original;
        self.upper = new.upper;
        if let Some(last) = new.last {
            table(self.copies)[number].store(last.word, Ordering::Relaxed);
        }
        table(self.table)[number].store(new.word, Ordering::Relaxed);
        let (word, bit) = (number / 64 % WORDS, 1 << (number % 64));
        let added = usize::from(self.loaded[word] & bit == 0);
        self.loaded[word] |= bit;
        self.used |= 1 << word;
        (added, dropped)
    }
}

/// Whether the processor has used a translation since this was asked last, while the thread is not inside.
fn touched(entry: &AtomicU64) -> bool {
    let word = entry.load(Ordering::Relaxed);
    entry.store(word & !Entry::ACCESSED, Ordering::Relaxed);
    Entry(word).has(Entry::ACCESSED)
}
