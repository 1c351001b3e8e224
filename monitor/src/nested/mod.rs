//! Nested page tables: which host-physical page stands at which place of a domain, and with which rights.
//!
//! [`NestedTables`] changes one domain's tables in place, in slices of bounded length; [`View`] reads them. The
//! algorithm ([`change`]) knows nothing of the vendor: [`Format`] alone says what the bits of an entry are. Table pages
//! come from and go back to [`Frames`].
//!
//! The largest page that alignment of place, base and size allows is always the one used: a large leaf is split only
//! where a part of it changes, and a table whose entries again say the same as one large leaf is merged into it.
//!
//! What must hold:
//! - *One changer.* `&mut NestedTables` sees to it. Other cores and the hardware may walk meanwhile: every entry goes
//!   from one valid meaning to another by one atomic store, and a new table is complete before anything names it.
//! - *Flush before reuse.* Every change that a TLB might have cached comes back as a [`MustFlush`]; until that is
//!   answered on every core, [`Frames`] keeps the table pages that the change took out, for hardware may still be
//!   walking them.
//! - *No more than asked.* Rights that the hardware cannot express are left out, never rounded up.

mod change;
mod detour;
mod format;
mod frames;
mod rights;
mod view;

#[cfg(test)]
mod tests;

use adyton_x86::paging::span;

pub use detour::{Detour, NoWay};
pub use format::Format;
pub use frames::{Frames, MustFlush};
pub use rights::Rights;
pub use view::{Leaf, Translation, View};

use crate::address::{GuestPhysical, HostPhysical, PAGE_SIZE};
use change::{Change, Target};

/// The level of the root table: four levels, 48 bits of guest-physical address.
const ROOT_LEVEL: u8 = 3;

/// The end of the guest-physical space.
const PLACES: u64 = span(ROOT_LEVEL + 1);

/// The end of the host-physical space that an entry can name.
const BASES: u64 = 1 << 52;

/// A mapping to be made: `size` bytes at `base` are to stand at `place`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where the domain sees it.
    pub place: GuestPhysical,
    /// Where it is.
    pub base: HostPhysical,
    /// How long it is, in bytes.
    pub size: u64,
    /// What the domain may do with it.
    pub rights: Rights,
}

/// What happens to a table page that loses its last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emptied {
    /// It stays, so that mapping the same parts there again allocates nothing: for what comes back, as after a carve.
    Keep,
    /// It is taken out: for what is gone for good.
    Detach,
}

/// Why a call changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A place, base or size is not a multiple of 4 KiB.
    Misaligned,
    /// The range reaches beyond the addresses that the tables can express.
    OutOfRange,
}

/// Why a slice ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is done.
    Complete,
    /// The budget is used up; call again for the rest.
    Budget,
    /// [`Frames`] had no table page left; what was done before stays done.
    OutOfFrames,
}

/// How far a slice got.
#[must_use = "a slice may end before its range does, and what it changed must be flushed"]
#[derive(Debug)]
pub struct Progress {
    /// Bytes of the range that are done, counted from its start.
    pub done: u64,
    /// Why it went no further.
    pub end: End,
    /// What must be flushed for the part that is done.
    pub flush: MustFlush,
    /// Something was mapped that was not before: for hardware that remembers also what is absent.
    pub opened: bool,
}

/// One domain's nested page tables.
///
/// A budget counts entries looked at or written. A slice goes on until its budget is used up, but always at least one
/// step, which may cost up to three tables (split, split, merge) more than was left.
#[derive(Debug)]
pub struct NestedTables {
    view: View,
    largest_leaf: u8,
    tables: u64,
}

impl NestedTables {
    /// Tables that map nothing, or `None` if there is no page for the root. `gigabyte_pages` says whether the CPU can
    /// do 1 GiB pages (CPUID 8000_0001 EDX bit 26).
    #[must_use]
    pub fn new(frames: &impl Frames, format: Format, gigabyte_pages: bool) -> Option<Self> {
        Some(Self {
            view: View::new(frames.allocate()?, format),
            largest_leaf: if gigabyte_pages { 2 } else { 1 },
            tables: 1,
        })
    }

    /// What the hardware is given: the root table's address.
    #[inline]
    #[must_use]
    pub fn root(&self) -> HostPhysical {
        self.view.root()
    }

    /// A copyable reader of the same tables, which other cores may use while this changes them.
    #[inline]
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// How many table pages are in use, the root included.
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.tables
    }

    /// Where `place` leads, with which rights; `None` if nowhere.
    #[inline]
    #[must_use]
    pub fn translate(&self, frames: &impl Frames, place: GuestPhysical) -> Option<Translation> {
        self.view.translate(frames, place)
    }

    /// Makes `mapping`, in place of whatever stood there. Rights that include nothing that the hardware can grant
    /// unmap.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn map(
        &mut self,
        frames: &impl Frames,
        mapping: Mapping,
        budget: u32,
    ) -> Result<Progress, Refused> {
        let end = range(mapping.place.0, mapping.size, PLACES)?;
        range(mapping.base.0, mapping.size, BASES)?;
        let target = match self.view.format().grantable(mapping.rights) {
            Some(rights) => Target::Mapped {
                offset: mapping.base.0.wrapping_sub(mapping.place.0),
                rights,
            },
            None => Target::Unmapped(Emptied::Detach),
        };
        Ok(self.change(frames, target, mapping.place.0, end, budget))
    }

    /// Takes away whatever stands in `size` bytes at `place`.
    ///
    /// # Errors
    /// [`Refused`], with nothing changed.
    pub fn unmap(
        &mut self,
        frames: &impl Frames,
        place: GuestPhysical,
        size: u64,
        emptied: Emptied,
        budget: u32,
    ) -> Result<Progress, Refused> {
        let end = range(place.0, size, PLACES)?;
        Ok(self.change(frames, Target::Unmapped(emptied), place.0, end, budget))
    }

    /// Gives up all tables at once. The time this takes grows with their number: whoever must not hold a core for
    /// long unmaps everything in slices first.
    pub fn destroy(self, frames: &impl Frames) -> MustFlush {
        change::retire(frames, self.view.format(), self.root(), ROOT_LEVEL);
        MustFlush::needed()
    }

    fn change(
        &mut self,
        frames: &impl Frames,
        target: Target,
        start: u64,
        end: u64,
        budget: u32,
    ) -> Progress {
        let mut change = Change::new(
            frames,
            self.view.format(),
            self.largest_leaf,
            target,
            budget,
        );
        let reached = change.run(self.root(), ROOT_LEVEL, start, end);
        self.tables = change.count(self.tables);
        Progress {
            done: reached - start,
            end: change.end(),
            flush: change.flush(),
            opened: change.has_opened(),
        }
    }
}

/// The most table pages, beyond the root, that mapping `size` bytes at `place` page by page can take: one for each slot
/// of 512 GiB, 1 GiB and 2 MiB that the range overlaps.
#[must_use]
pub const fn tables_needed(place: GuestPhysical, size: u64) -> u64 {
    if size == 0 {
        return 0;
    }
    let last = place.0.saturating_add(size - 1);
    let mut count = 0;
    let mut level = 1;
    while level <= ROOT_LEVEL {
        count += last / span(level) - place.0 / span(level) + 1;
        level += 1;
    }
    count
}

fn range(start: u64, size: u64, limit: u64) -> Result<u64, Refused> {
    if !start.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Refused::Misaligned);
    }
    start
        .checked_add(size)
        .filter(|end| *end <= limit)
        .ok_or(Refused::OutOfRange)
}
