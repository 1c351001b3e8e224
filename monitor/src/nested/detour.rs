//! Nested tables for one core alone: the same as a domain's, but for a few pages that lead elsewhere.
//!
//! Only the tables on the way to those pages are copied; all others are the domain's own. What must hold:
//! - Other cores may change the domain's tables meanwhile. Each entry is read once and is valid by itself, but what was taken
//!   away since [`Detour::begin`] still stands in the copy. So whoever uses it must hold back the flush of the domain for as
//!   long, and begin again after one.
//! - The tables that are copied are not freed while they are read: the reader is inside the monitor since before.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use adyton_x86::paging::{index, span};

use super::format::{EMPTY, Entry, Format};
use super::{Frames, PLACES, ROOT_LEVEL, Rights, View};
use crate::address::{GuestPhysical, HostPhysical};

/// The copy, in pages that are its own for good.
#[derive(Debug)]
pub struct Detour<const TABLES: usize> {
    format: Format,
    /// The first is the root.
    tables: [HostPhysical; TABLES],
    used: usize,
}

/// The place cannot be led elsewhere: there is no page left for a table on the way, or no such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoWay;

impl<const TABLES: usize> Detour<TABLES> {
    /// One that is made of these pages; [`Detour::begin`] comes first.
    #[must_use]
    pub const fn new(format: Format, tables: [HostPhysical; TABLES]) -> Self {
        const { assert!(TABLES > 0) };
        Self {
            format,
            tables,
            used: 1,
        }
    }

    /// What the hardware is given.
    #[must_use]
    pub fn root(&self) -> HostPhysical {
        self.tables[0]
    }

    /// Begins again: it says what `view` says.
    pub fn begin(&mut self, frames: &impl Frames, view: View) {
        self.used = 1;
        copy(frames, view.root(), self.root());
    }

    /// Leads the page at `place` to `page`.
    ///
    /// # Errors
    /// [`NoWay`]; then it still says what it said before.
    pub fn redirect(
        &mut self,
        frames: &impl Frames,
        place: GuestPhysical,
        page: HostPhysical,
        rights: Rights,
    ) -> Result<(), NoWay> {
        if place.0 >= PLACES {
            return Err(NoWay);
        }
        let mut table = self.root();
        let mut level = ROOT_LEVEL;
        while level > 0 {
            let entry = &frames.table(table)[index(place.0, level)];
            level -= 1;
            table = match self.format.decode(level + 1, entry.load(Relaxed)) {
                Entry::Table(below) if self.owns(below) => below,
                old => {
                    let below = self.take()?;
                    self.fill(frames, below, level, old);
                    entry.store(self.format.table(level + 1, below), Release);
                    below
                }
            };
        }
        let leaf = self.format.leaf(0, page, rights);
        frames.table(table)[index(place.0, 0)].store(leaf, Release);
        Ok(())
    }

    /// A reader of it.
    #[must_use]
    pub fn view(&self) -> View {
        View::new(self.root(), self.format)
    }

    fn owns(&self, table: HostPhysical) -> bool {
        self.tables.iter().take(self.used).any(|own| *own == table)
    }

    fn take(&mut self) -> Result<HostPhysical, NoWay> {
        let table = *self.tables.get(self.used).ok_or(NoWay)?;
        self.used += 1;
        Ok(table)
    }

    /// Makes `table`, at `level`, say what the entry `old` above it said.
    fn fill(&self, frames: &impl Frames, table: HostPhysical, level: u8, old: Entry) {
        let word = |number| match old {
            Entry::Leaf(base, rights) => self.format.part(level, base, rights, number),
            _ => EMPTY,
        };
        match old {
            Entry::Table(original) => copy(frames, original, table),
            _ => (0..)
                .zip(frames.table(table))
                .for_each(|(number, entry)| entry.store(word(number), Relaxed)),
        }
        debug_assert!(span(level) < PLACES);
    }
}

fn copy(frames: &impl Frames, from: HostPhysical, to: HostPhysical) {
    for (old, new) in frames.table(from).iter().zip(frames.table(to)) {
        new.store(old.load(Acquire), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::pages::Pages;
    use super::super::{Emptied, Leaf, Mapping, NestedTables, tables_needed};
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const SCRATCH: HostPhysical = HostPhysical(0x5_5000);
    const OWN: usize = 8;

    /// The machine one to one with pages of 1 GiB, and what was carved out of it.
    fn tables(frames: &Pages, carved: &[(u64, u64)]) -> NestedTables {
        let mut tables = NestedTables::new(frames, Format::Npt, true).unwrap();
        let all = Mapping {
            place: GuestPhysical(0),
            base: HostPhysical(0),
            size: 600 * GIB,
            rights: Rights::ALL,
        };
        frames.flush(tables.map(frames, all, u32::MAX).unwrap().flush);
        for &(place, size) in carved {
            let emptied = Emptied::Keep;
            let progress = tables.unmap(frames, GuestPhysical(place), size, emptied, u32::MAX);
            frames.flush(progress.unwrap().flush);
        }
        tables
    }

    fn leaves(frames: &Pages, view: View) -> Vec<Leaf> {
        let mut all = Vec::new();
        view.for_each(frames, |leaf| all.push(leaf));
        all
    }

    /// What `view` says with `pages` led elsewhere, by a list of everything.
    fn expected(frames: &Pages, view: View, pages: &[u64]) -> Vec<Leaf> {
        let page = |place: u64, base, rights| Leaf {
            place: GuestPhysical(place),
            base: HostPhysical(base),
            size: 4096,
            rights,
        };
        let mut all = Vec::new();
        for leaf in leaves(frames, view) {
            let (mut start, end) = (leaf.place.0, leaf.place.0 + leaf.size);
            let mut inside: Vec<u64> = pages.to_vec();
            inside.retain(|place| (start..end).contains(place));
            inside.sort_unstable();
            for cut in inside.into_iter().chain([end]) {
                if cut > start {
                    all.push(Leaf {
                        base: HostPhysical(leaf.base.0 + (start - leaf.place.0)),
                        size: cut - start,
                        ..page(start, 0, leaf.rights)
                    });
                }
                start = cut + 4096;
            }
        }
        all.extend(
            pages
                .iter()
                .map(|place| page(*place, SCRATCH.0, Rights::READ_WRITE)),
        );
        all.sort_unstable_by_key(|leaf| leaf.place);
        all
    }

    /// Two neighbours may continue each other by chance; cut everything to compare.
    fn same(frames: &Pages, detour: &Detour<OWN>, expected: &[Leaf]) {
        let found = leaves(frames, detour.view());
        let total = |list: &[Leaf]| list.iter().map(|leaf| leaf.size).sum::<u64>();
        assert_eq!(total(&found), total(expected));
        for leaf in expected {
            for place in [leaf.place.0, leaf.place.0 + leaf.size - 1] {
                let there = detour.view().translate(frames, GuestPhysical(place));
                let there = there.expect("it translates");
                assert_eq!(there.address.0, leaf.base.0 + (place - leaf.place.0));
                assert_eq!(there.rights, leaf.rights);
            }
        }
    }

    fn detour(frames: &Pages) -> Detour<OWN> {
        let tables = core::array::from_fn(|_| frames.allocate().unwrap());
        Detour::new(Format::Npt, tables)
    }

    #[test]
    fn one_page_leads_elsewhere_and_nothing_else_changes() {
        let frames = Pages::new(64);
        // A single page, a large page, and a large page of 1 GiB without anything carved near it.
        let tables = tables(&frames, &[(5 * GIB + 4096, 4096), (2 * MIB, 2 * MIB)]);
        let mut detour = detour(&frames);
        for place in [5 * GIB + 4096, 3 * MIB, 17 * GIB, 0, 599 * GIB] {
            let before = leaves(&frames, tables.view());
            detour.begin(&frames, tables.view());
            let place = GuestPhysical(place);
            detour
                .redirect(&frames, place, SCRATCH, Rights::READ_WRITE)
                .unwrap();
            let view = tables.view();
            same(&frames, &detour, &expected(&frames, view, &[place.0]));
            assert_eq!(leaves(&frames, tables.view()), before);
        }
    }

    #[test]
    fn what_has_no_way_changes_nothing() {
        let frames = Pages::new(64);
        let tables = tables(&frames, &[(0, 4 * MIB)]);
        let mut detour = detour(&frames);
        detour.begin(&frames, tables.view());
        let rights = Rights::READ_WRITE;
        // Each takes three tables of its own: the third has room for one of them.
        for gibibyte in [0, 1, 520] {
            let place = GuestPhysical(gibibyte * GIB);
            let outcome = detour.redirect(&frames, place, SCRATCH, rights);
            assert_eq!(outcome.is_ok(), gibibyte != 520);
        }
        let view = tables.view();
        same(&frames, &detour, &expected(&frames, view, &[0, GIB]));
        let nowhere = GuestPhysical(PLACES);
        let outcome = detour.redirect(&frames, nowhere, SCRATCH, rights);
        assert_eq!(outcome, Err(NoWay));
        detour.begin(&frames, tables.view());
        assert_eq!(
            leaves(&frames, detour.view()),
            leaves(&frames, tables.view())
        );
    }

    proptest! {
        #[test]
        fn any_pages(
            carved in prop::collection::vec((0..2048_u64, 1..700_u64), 0..6),
            pages in prop::collection::btree_set(0..2048_u64, 1..=4),
        ) {
            let frames = Pages::new(64);
            let carved: Vec<_> = carved.iter().map(|(page, count)| (page * 4096, count * 4096)).collect();
            let tables = tables(&frames, &carved);
            prop_assert!(tables.tables() <= 2 + tables_needed(GuestPhysical(0), 12 * MIB));
            let mut detour = detour(&frames);
            detour.begin(&frames, tables.view());
            let pages: Vec<u64> = pages.iter().map(|page| page * 4096).collect();
            for place in &pages {
                detour.redirect(&frames, GuestPhysical(*place), SCRATCH, Rights::READ_WRITE).unwrap();
            }
            same(&frames, &detour, &expected(&frames, tables.view(), &pages));
        }
    }
}
