//! Where everything of a payload lies in its domain, decided before anything is written.
//!
//! ```text
//! image | start page | arguments | (guard, stack) for each vCPU | page tables     measured, one carve
//! heap                                                                            2 MiB-aligned
//! windows 0 to 6                                                                  shared
//! room for offers                                                                 addresses only
//! pool                                                                            2 MiB-aligned
//! ```

use alloc::vec::Vec;

use adyton_abi::PAGE_SIZE;
use adyton_abi::start::{Range, WINDOWS};

use crate::calls::Entry;
use crate::convention::OFFER_WINDOW;
use crate::image::Image;
use crate::tables::{self, Access, LARGE_PAGE, Mapping};

/// Sizes in bytes of what a payload gets.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// vCPUs.
    pub vcpus: u64,
    /// Stack of each vCPU.
    pub stack: u64,
    /// Private memory besides the image.
    pub heap: u64,
    /// Its own pool.
    pub pool: u64,
    /// Shared windows; the last is the room for offers.
    pub windows: [u64; WINDOWS],
    /// The argument vector.
    pub arguments: u64,
}

/// The places.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Image, start page, arguments, stacks, tables: what is measured.
    pub private: Range,
    /// The start page.
    pub start: u64,
    /// The argument vector.
    pub arguments: Range,
    /// The heap.
    pub heap: Range,
    /// The windows.
    pub windows: [Range; WINDOWS],
    /// The pool.
    pub pool: Range,
    /// The root page table; the others follow it.
    pub tables: u64,
    /// How each vCPU starts.
    pub entries: Vec<Entry>,
    /// What the page tables map.
    pub mappings: Vec<Mapping>,
}

const READ_ONLY: Access = Access {
    write: false,
    execute: false,
};
const READ_WRITE: Access = Access {
    write: true,
    execute: false,
};

/// Hands out addresses in rising order.
struct Cursor(u64);

impl Cursor {
    fn take(&mut self, size: u64, alignment: u64) -> Range {
        if size == 0 {
            return Range::default();
        }
        let base = self.0.next_multiple_of(alignment);
        let size = size.next_multiple_of(PAGE_SIZE);
        self.0 = base + size;
        Range { base, size }
    }
}

impl Plan {
    /// Places everything of `image`.
    #[must_use]
    pub fn new(image: &Image<'_>, sizes: &Sizes) -> Self {
        let mut cursor = Cursor(image.end());
        let mut mappings: Vec<_> = image.segments.iter().map(segment).collect();
        let start = cursor.take(PAGE_SIZE, PAGE_SIZE);
        let arguments = cursor.take(sizes.arguments, PAGE_SIZE);
        mappings.extend(
            [start, arguments]
                .iter()
                .filter_map(|range| mapping(range, READ_ONLY)),
        );
        let stacks: Vec<_> = (0..sizes.vcpus)
            .map(|_| stack(&mut cursor, sizes.stack))
            .collect();
        mappings.extend(stacks.iter().filter_map(|range| mapping(range, READ_WRITE)));

        let behind = Self::behind(&mut Cursor(room_for_tables(cursor.0)), sizes);
        let (heap, windows, pool) = behind;
        let outside = [heap, pool].into_iter().chain(windows);
        mappings.extend(outside.filter_map(|range| mapping(&range, READ_WRITE)));
        let tables = place_tables(&mut cursor, &mut mappings);

        let entries = stacks.iter().zip(0..).map(|(stack, index)| Entry {
            rip: image.entry,
            rsp: stack.base + stack.size,
            cr3: tables,
            argument: start.base + index,
        });
        Self {
            private: Range {
                base: image.first(),
                size: cursor.0 - image.first(),
            },
            start: start.base,
            arguments: Range {
                size: sizes.arguments,
                ..arguments
            },
            heap,
            windows,
            pool,
            tables,
            entries: entries.collect(),
            mappings,
        }
    }

    fn behind(cursor: &mut Cursor, sizes: &Sizes) -> (Range, [Range; WINDOWS], Range) {
        let heap = cursor.take(sizes.heap, LARGE_PAGE);
        let windows = sizes.windows.map(|size| cursor.take(size, LARGE_PAGE));
        (heap, windows, cursor.take(sizes.pool, LARGE_PAGE))
    }

    /// Where the registers of a device go.
    #[must_use]
    pub fn device(&self) -> Range {
        self.windows.get(OFFER_WINDOW).copied().unwrap_or_default()
    }

    /// The windows that are memory, with their numbers.
    pub fn shared(&self) -> impl Iterator<Item = (usize, Range)> {
        let memory = self.windows.into_iter().enumerate().take(OFFER_WINDOW);
        memory.filter(|(_, range)| range.size != 0)
    }

    /// Bytes of the claim that the payload takes, its control and exit pages included.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let windows: u64 = self.shared().map(|(_, range)| range.size).sum();
        let pages = 1 + self.entries.len() as u64;
        self.private.size + self.heap.size + self.pool.size + windows + pages * PAGE_SIZE
    }
}

fn segment(segment: &crate::image::Segment<'_>) -> Mapping {
    let base = segment.first();
    Mapping {
        base,
        size: segment.end() - base,
        access: segment.access,
    }
}

fn mapping(range: &Range, access: Access) -> Option<Mapping> {
    (range.size != 0).then_some(Mapping {
        base: range.base,
        size: range.size,
        access,
    })
}

/// A stack with an unmapped page below it, so that an overflow faults.
fn stack(cursor: &mut Cursor, size: u64) -> Range {
    cursor.take(PAGE_SIZE, PAGE_SIZE);
    cursor.take(size.max(PAGE_SIZE), PAGE_SIZE)
}

/// The tables of the private part need a page for each 2 MiB and few more; those of the rest
/// lie there too. 16 MiB of room are enough for terabytes in large pages.
fn room_for_tables(end: u64) -> u64 {
    end + (16 << 20)
}

/// Maps the tables as well: a payload that accepts offers may change them.
fn place_tables(cursor: &mut Cursor, mappings: &mut Vec<Mapping>) -> u64 {
    let base = cursor.0;
    let mut pages = 1;
    loop {
        let size = pages * PAGE_SIZE;
        mappings.push(Mapping {
            base,
            size,
            access: READ_WRITE,
        });
        let needed = tables::count(mappings);
        if needed <= pages {
            cursor.take(size, PAGE_SIZE);
            return base;
        }
        mappings.pop();
        pages = needed;
    }
}
