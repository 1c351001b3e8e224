//! Reading nested tables, also while another core changes them.

use core::sync::atomic::Ordering::Acquire;

use adyton_x86::paging::{ENTRIES, index, span};

use super::format::{Entry, Format};
use super::{Frames, PLACES, ROOT_LEVEL, Rights};
use crate::address::{GuestPhysical, HostPhysical};

/// A reader of one domain's nested tables.
#[derive(Clone, Copy, Debug)]
pub struct View {
    root: HostPhysical,
    format: Format,
}

/// Where a place leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The very byte that was asked for.
    pub address: HostPhysical,
    /// What the domain may do with it.
    pub rights: Rights,
    /// The size of the page that it lies in, in bytes.
    pub page_size: u64,
}

/// A stretch of places that lead to consecutive bytes with the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Where the domain sees it.
    pub place: GuestPhysical,
    /// Where it is.
    pub base: HostPhysical,
    /// Its length in bytes.
    pub size: u64,
    /// What the domain may do with it.
    pub rights: Rights,
}

impl View {
    pub(super) const fn new(root: HostPhysical, format: Format) -> Self {
        Self { root, format }
    }

    /// The root table's address.
    #[inline]
    #[must_use]
    pub const fn root(self) -> HostPhysical {
        self.root
    }

    pub(super) const fn format(self) -> Format {
        self.format
    }

    /// Where `place` leads, with which rights; `None` if nowhere.
    #[inline]
    #[must_use]
    pub fn translate(self, frames: &impl Frames, place: GuestPhysical) -> Option<Translation> {
        if place.0 >= PLACES {
            return None;
        }
        let mut table = self.root;
        let mut level = ROOT_LEVEL;
        loop {
            let word = frames.table(table)[index(place.0, level)].load(Acquire);
            match self.format.decode(level, word) {
                Entry::Leaf(base, rights) => {
                    let page_size = span(level);
                    return Some(Translation {
                        address: HostPhysical(base.0 | (place.0 & (page_size - 1))),
                        rights,
                        page_size,
                    });
                }
                Entry::Table(next) if level > 0 => table = next,
                Entry::Table(_) | Entry::Empty => return None,
            }
            level -= 1;
        }
    }

    /// Calls `visit` for everything that is mapped, in order of place, neighbours that continue each other as one:
    /// what an audit compares with what the engine says.
    pub fn for_each(self, frames: &impl Frames, mut visit: impl FnMut(Leaf)) {
        let mut pending: Option<Leaf> = None;
        self.walk(
            frames,
            self.root,
            ROOT_LEVEL,
            0,
            &mut |leaf| match &mut pending {
                Some(last) if last.continues_with(&leaf) => last.size += leaf.size,
                _ => {
                    if let Some(last) = pending.replace(leaf) {
                        visit(last);
                    }
                }
            },
        );
        if let Some(last) = pending {
            visit(last);
        }
    }

    fn walk<F: Frames>(
        self,
        frames: &F,
        table: HostPhysical,
        level: u8,
        start: u64,
        visit: &mut impl FnMut(Leaf),
    ) {
        for number in 0..ENTRIES {
            let place = start + number as u64 * span(level);
            let word = frames.table(table)[number].load(Acquire);
            match self.format.decode(level, word) {
                Entry::Empty => {}
                Entry::Leaf(base, rights) => visit(Leaf {
                    place: GuestPhysical(place),
                    base,
                    size: span(level),
                    rights,
                }),
                Entry::Table(next) => self.walk(frames, next, level - 1, place, visit),
            }
        }
    }
}

impl Leaf {
    fn continues_with(&self, next: &Self) -> bool {
        self.rights == next.rights
            && self.place.checked_add(self.size) == Some(next.place)
            && self.base.checked_add(self.size) == Some(next.base)
    }
}
