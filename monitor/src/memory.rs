//! Who gets which physical memory: the monitor's image, its reserve, the pool, and domain 0.
//!
//! [`Layout::plan`] decides it once, before anything else runs, from the firmware's map and the command line. It is
//! pure. What must hold afterwards: reserve, pool and image are disjoint, 2 MiB-aligned and lie in RAM; domain 0's
//! map shows neither image nor reserve as usable, the pool as soft reserved, and everything else as the firmware did.

use arrayvec::ArrayVec;

/// Bytes of the pages in which memory is handed out here.
pub const LARGE_PAGE: u64 = 2 << 20;
/// Most entries of the firmware's map, and of domain 0's (the boot protocol's limit is 128).
pub const MAXIMUM_ENTRIES: usize = 128;

const FOUR_GIB: u64 = 4 << 30;
const SMALLEST_POOL: u64 = 32 << 20;
const SMALLEST_RESERVE: u64 = 8 << 20;
/// The smallest EPC that may be asked for, and the smallest part of a larger one.
const SMALLEST_EPC: u64 = 8 << 20;
/// The most parts of the EPC.
pub const MOST_SECTIONS: usize = 8;
/// The most stretches in which domain 0 may find nothing.
pub const MOST_HIDDEN: usize = 3 + MOST_SECTIONS;
/// The pool's share of memory and the reserve's share of the pool, unless said otherwise.
const DEFAULT_DIVISOR: u64 = 8;

/// A stretch of physical addresses, the end not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// First byte behind.
    pub end: u64,
}

impl Range {
    /// Bytes.
    #[must_use]
    pub const fn size(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether `address` lies in it.
    #[must_use]
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Whether some byte lies in both.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Whether all of `other` lies in it.
    #[must_use]
    pub const fn holds(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }
}

/// What a stretch of the memory map is (ACPI 6.5, table 15.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Usable RAM.
    Ram,
    /// Not to be touched.
    Reserved,
    /// RAM set aside for a use of its own: the pool, as domain 0 sees it.
    SoftReserved,
    /// Something else, by its number.
    Other(u32),
}

impl Kind {
    /// From the number in an e820 or start-information map.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            2 => Self::Reserved,
            0xefff_ffff => Self::SoftReserved,
            other => Self::Other(other),
        }
    }

    /// The number in an e820 map.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::SoftReserved => 0xefff_ffff,
            Self::Other(number) => number,
        }
    }
}

/// An entry of a memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEntry {
    /// Where.
    pub range: Range,
    /// What.
    pub kind: Kind,
}

/// Where the pool shall lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Place {
    /// As high as it fits, for devices want low memory.
    #[default]
    Anywhere,
    /// At 4 GiB or higher.
    Above4G,
    /// Below 4 GiB.
    Below4G,
    /// Exactly here.
    At(u64),
}

/// How much memory the monitor sets aside for page tables and contexts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Bytes.
    Size(u64),
    /// The pool's size divided by this.
    Fraction(u64),
}

impl Default for Reserve {
    fn default() -> Self {
        Self::Fraction(DEFAULT_DIVISOR)
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// Bytes of pool, or the default.
    pub pool_size: Option<u64>,
    /// Where the pool goes.
    pub pool_place: Place,
    /// The reserve.
    pub reserve: Reserve,
    /// Bytes that the reserve is larger, for what depends on the machine and not on the pool.
    pub besides: u64,
    /// Bytes of memory for enclaves; 0 for none.
    pub epc_size: u64,
    /// Bytes of the enclaves' reserve, for each page of the EPC and besides.
    pub epc_reserve: EpcReserve,
}

/// What is set aside to keep the EPC in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EpcReserve {
    /// Bytes for each page of the EPC.
    pub per_page: u64,
    /// Bytes besides.
    pub besides: u64,
}

/// What cannot be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// There is no free stretch for a pool of this many bytes in the place asked for.
    NoRoomForPool(u64),
    /// There is no free stretch for a reserve of this many bytes.
    NoRoomForReserve(u64),
    /// So many bytes of EPC are less than 8 MiB, more than half of memory, or fit in no few stretches.
    NoRoomForEpc(u64),
    /// Domain 0's map, or the list of what is occupied, would have too many entries.
    TooManyEntries,
}

/// The decision.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The monitor's code and data.
    pub image: Range,
    /// The monitor's page tables, contexts and stacks.
    pub reserve: Range,
    /// Memory for domains; domain 0 maps it as soft reserved.
    pub pool: Range,
    /// Memory for enclaves, in a few sections.
    pub epc: ArrayVec<Range, MOST_SECTIONS>,
    /// The monitor's records of it; empty where there is none.
    pub epc_reserve: Range,
    /// The map that domain 0 sees.
    pub domain0: ArrayVec<MemoryEntry, MAXIMUM_ENTRIES>,
}

impl Layout {
    /// Decides, given the firmware's `map`, where the `image` lies, and which other stretches are `occupied` until domain
    /// 0 has taken them over.
    ///
    /// # Errors
    /// If what is wished for does not fit.
    pub fn plan(
        map: &[MemoryEntry],
        image: Range,
        occupied: &[Range],
        wishes: &Wishes,
    ) -> Result<Self, LayoutError> {
        let memory: u64 = map
            .iter()
            .filter(|entry| entry.kind == Kind::Ram)
            .map(|entry| entry.range.size())
            .sum();
        let pool_size = wishes
            .pool_size
            .unwrap_or((memory / DEFAULT_DIVISOR).max(SMALLEST_POOL));
        let pool_size = pool_size.max(LARGE_PAGE).next_multiple_of(LARGE_PAGE);
        let reserve_size = match wishes.reserve {
            Reserve::Size(size) => size,
            Reserve::Fraction(divisor) => pool_size / divisor,
        };
        let reserve_size = reserve_size
            .max(SMALLEST_RESERVE)
            .saturating_add(wishes.besides)
            .next_multiple_of(LARGE_PAGE);

        // Below the image, domain 0's kernel unpacks itself.
        let mut taken: ArrayVec<Range, MAXIMUM_ENTRIES> = ArrayVec::new();
        taken.push(Range {
            start: 0,
            end: image.end,
        });
        taken
            .try_extend_from_slice(occupied)
            .map_err(|_| LayoutError::TooManyEntries)?;
        let pool = place(map, &taken, pool_size, wishes.pool_place)
            .ok_or(LayoutError::NoRoomForPool(pool_size))?;
        taken
            .try_push(pool)
            .map_err(|_| LayoutError::TooManyEntries)?;
        let reserve = place(map, &taken, reserve_size, Place::Anywhere)
            .ok_or(LayoutError::NoRoomForReserve(reserve_size))?;
        taken
            .try_push(reserve)
            .map_err(|_| LayoutError::TooManyEntries)?;
        let (epc, epc_reserve) = enclaves(map, &mut taken, memory, wishes)?;
        let mut layout = Self {
            image,
            reserve,
            pool,
            epc,
            epc_reserve,
            domain0: ArrayVec::new(),
        };
        let mut special: ArrayVec<MemoryEntry, { MOST_HIDDEN + 1 }> = ArrayVec::new();
        special.extend(layout.hidden().into_iter().map(|range| MemoryEntry {
            range,
            kind: Kind::Reserved,
        }));
        special.push(MemoryEntry {
            range: pool,
            kind: Kind::SoftReserved,
        });
        layout.domain0 = domain0_map(map, &special).ok_or(LayoutError::TooManyEntries)?;
        Ok(layout)
    }

    /// Where domain 0 may find nothing.
    #[must_use]
    pub fn hidden(&self) -> ArrayVec<Range, MOST_HIDDEN> {
        let mut hidden = ArrayVec::from_iter([self.image, self.reserve]);
        if !self.epc.is_empty() {
            hidden.push(self.epc_reserve);
            hidden.extend(self.epc.iter().copied());
        }
        hidden
    }

    /// Whether domain 0 sees memory at this address: RAM or the pool.
    #[inline]
    #[must_use]
    pub fn is_memory(&self, address: u64) -> bool {
        self.pool.contains(address)
            || self.domain0.iter().any(|entry| {
                entry.range.contains(address)
                    && !matches!(entry.kind, Kind::Reserved | Kind::Other(_))
            })
    }

    /// The highest address of RAM and one.
    #[must_use]
    pub fn end_of_memory(&self) -> u64 {
        let usable = self
            .domain0
            .iter()
            .filter(|entry| !matches!(entry.kind, Kind::Reserved));
        usable.map(|entry| entry.range.end).max().unwrap_or(0).max(
            self.hidden()
                .iter()
                .map(|range| range.end)
                .max()
                .unwrap_or(0),
        )
    }
}

/// The EPC's sections and the reserve that goes with them, both added to what is `taken`.
fn enclaves(
    map: &[MemoryEntry],
    taken: &mut ArrayVec<Range, MAXIMUM_ENTRIES>,
    memory: u64,
    wishes: &Wishes,
) -> Result<(ArrayVec<Range, MOST_SECTIONS>, Range), LayoutError> {
    let mut sections = ArrayVec::new();
    if wishes.epc_size == 0 {
        return Ok((sections, Range::default()));
    }
    let refused = LayoutError::NoRoomForEpc(wishes.epc_size);
    if wishes.epc_size < SMALLEST_EPC || wishes.epc_size > memory / 2 {
        return Err(refused);
    }
    let size = wishes.epc_size.next_multiple_of(LARGE_PAGE);
    let records = size / 4096 * wishes.epc_reserve.per_page + wishes.epc_reserve.besides;
    let mut take = |size| {
        let range = place(map, taken, size, Place::Anywhere)?;
        taken.try_push(range).ok()?;
        Some(range)
    };
    let reserve = take(records.next_multiple_of(LARGE_PAGE)).ok_or(refused)?;
    let (mut left, mut part) = (size, size);
    while left > 0 {
        match take(part.min(left)) {
            Some(range) => {
                sections.try_push(range).map_err(|_| refused)?;
                left -= range.size();
            }
            // Memory has holes: in smaller parts then.
            None if part >= 2 * SMALLEST_EPC => part = (part / 2).next_multiple_of(LARGE_PAGE),
            None => return Err(refused),
        }
    }
    sections.sort_unstable_by_key(|range: &Range| range.start);
    Ok((sections, reserve))
}

/// The highest free stretch of `size` bytes, aligned to large pages.
fn place(map: &[MemoryEntry], taken: &[Range], size: u64, wish: Place) -> Option<Range> {
    let (low, high) = match wish {
        Place::Anywhere => (0, u64::MAX),
        Place::Above4G => (FOUR_GIB, u64::MAX),
        Place::Below4G => (0, FOUR_GIB),
        Place::At(address) => {
            let range = Range {
                start: address,
                end: address.checked_add(size)?,
            };
            let free = map
                .iter()
                .any(|entry| entry.kind == Kind::Ram && entry.range.holds(range))
                && !taken.iter().any(|other| other.overlaps(range));
            return (free && address % LARGE_PAGE == 0).then_some(range);
        }
    };
    map.iter()
        .filter(|entry| entry.kind == Kind::Ram)
        .filter_map(|entry| highest_in(entry.range, taken, size, low, high))
        .max_by_key(|range| range.start)
}

fn highest_in(ram: Range, taken: &[Range], size: u64, low: u64, high: u64) -> Option<Range> {
    let mut end = ram.end.min(high) / LARGE_PAGE * LARGE_PAGE;
    loop {
        let range = Range {
            start: end.checked_sub(size)?,
            end,
        };
        if range.start < ram.start.max(low) {
            return None;
        }
        match taken.iter().find(|other| other.overlaps(range)) {
            // Go on below what is in the way.
            Some(other) => end = other.start / LARGE_PAGE * LARGE_PAGE,
            None => return Some(range),
        }
    }
}

/// The firmware's map with the stretches of `special` cut out of RAM and shown as what they are.
fn domain0_map(
    map: &[MemoryEntry],
    special: &[MemoryEntry],
) -> Option<ArrayVec<MemoryEntry, MAXIMUM_ENTRIES>> {
    let mut result: ArrayVec<MemoryEntry, MAXIMUM_ENTRIES> = ArrayVec::new();
    for entry in map {
        let mut rest = *entry;
        while rest.range.size() > 0 {
            let next = special
                .iter()
                .filter(|cut| rest.kind == Kind::Ram && cut.range.overlaps(rest.range))
                .min_by_key(|cut| cut.range.start);
            let Some(cut) = next else {
                result.try_push(rest).ok()?;
                break;
            };
            let before = Range {
                start: rest.range.start,
                end: cut.range.start,
            };
            if before.size() > 0 {
                result
                    .try_push(MemoryEntry {
                        range: before,
                        kind: rest.kind,
                    })
                    .ok()?;
            }
            let end = cut.range.end.min(rest.range.end);
            let range = Range {
                start: cut.range.start.max(rest.range.start),
                end,
            };
            result
                .try_push(MemoryEntry {
                    range,
                    kind: cut.kind,
                })
                .ok()?;
            rest.range.start = end;
        }
    }
    result.sort_unstable_by_key(|entry| entry.range.start);
    Some(result)
}

#[cfg(test)]
mod tests;
