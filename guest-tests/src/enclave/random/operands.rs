//! What a player tries: operands that should do, and what the page will be if they do.

use super::game::{Built, FLAGS, Game, PAGE, PAGES, Page, ROOMS, SIZE, kind};
use super::memory;
use crate::raw;

/// Where enclaves lie.
const BASE: u64 = 0x10_0000_0000;

impl Game {
    /// What should do, and what the page will be if it does.
    pub(super) fn operands(&mut self, leaf: u64, room: usize) -> ([u64; 3], Option<Page>) {
        match leaf {
            0x00 => self.create(),
            0x01 => self.add(),
            0x02 => self.initialize(),
            0x07 | 0x08 | 0x12 | 0x13 => self.load_back(room),
            0x0a => {
                let page = self.free();
                (
                    [kind::VA, self.windows[page], 0],
                    Some(Page::plain(kind::VA, page)),
                )
            }
            0x0b => self.write_out(room),
            0x0d => self.augment(),
            _ => (self.others(leaf), None),
        }
    }

    fn create(&mut self) -> ([u64; 3], Option<Page>) {
        let page = self.free();
        let is_debug = self.dice.once_in(2);
        let base = BASE + self.dice.below(4) * SIZE;
        let secs = self.place(memory::SECS);
        raw::store(secs, SIZE);
        raw::store(secs + 8, base);
        raw::store(secs + 16, 1);
        raw::store(secs + 48, 4 | u64::from(is_debug) << 1);
        raw::store(secs + 56, 3);
        let info = self.info(0, secs, Some(kind::SECS << 8), 0);
        let new = Page {
            address: base,
            built: Built::Empty,
            is_debug,
            ..Page::plain(kind::SECS, page)
        };
        ([info, self.windows[page], 0], Some(new))
    }

    fn add(&mut self) -> ([u64; 3], Option<Page>) {
        let wanted = [Built::Empty, Built::Empty, Built::Otherwise][self.dice.below(3) as usize];
        let owner = self.unfinished(wanted);
        let page = self.free();
        let base = self.pages[owner].map_or(BASE, |page| page.address);
        let is_first = self.pages[owner].is_some_and(|page| page.built == Built::Empty);
        let number = if is_first && !self.dice.once_in(4) {
            0
        } else {
            self.dice.below(SIZE / PAGE)
        };
        let address = base + number * PAGE;
        let info = self.info(
            address,
            self.place(memory::SOURCE),
            Some(FLAGS),
            self.windows[owner],
        );
        let new = Page {
            address,
            ..Page::plain(kind::REG, owner)
        };
        ([info, self.windows[page], 0], Some(new))
    }

    fn augment(&mut self) -> ([u64; 3], Option<Page>) {
        let owner = self
            .pick(|page| page.is_some_and(|page| page.kind == kind::SECS && page.is_initialized));
        let page = self.free();
        let base = self.pages[owner].map_or(BASE, |page| page.address);
        let address = base + self.dice.below(SIZE / PAGE) * PAGE;
        let info = self.info(address, 0, None, self.windows[owner]);
        let new = Page {
            address,
            ..Page::plain(kind::REG, owner)
        };
        ([info, self.windows[page], 0], Some(new))
    }

    fn initialize(&mut self) -> ([u64; 3], Option<Page>) {
        let wanted = match self.dice.below(8) {
            0 => Built::Otherwise,
            1 | 2 => Built::Empty,
            _ => Built::WithOne,
        };
        let secs = self.unfinished(wanted);
        let is_debug = self.pages[secs].is_some_and(|page| page.is_debug) != self.dice.once_in(10);
        let built = self.pages[secs].map_or(Built::Empty, |page| page.built);
        let set = if built == Built::WithOne { 2 } else { 0 };
        let signature = match self.dice.below(16) {
            // A page of zeros is no SIGSTRUCT at all.
            0 => memory::SOURCE,
            1 => memory::WRONG_SIGNATURE,
            _ => memory::SIGNATURES + set + u64::from(is_debug),
        };
        let token = if self.dice.once_in(16) {
            memory::WRONG_TOKEN
        } else {
            memory::TOKEN
        };
        let operands = [self.place(signature), self.windows[secs], self.place(token)];
        (operands, None)
    }

    fn slot(&mut self) -> u64 {
        let array = self.of_kind(kind::VA);
        self.windows[array] + 8 * self.dice.below(512)
    }

    fn write_out(&mut self, room: usize) -> ([u64; 3], Option<Page>) {
        let is_blocked = !self.dice.once_in(6);
        let page = self.pick(|page| page.is_some_and(|page| page.blocked == is_blocked));
        let other = self.rooms[self.dice.below(ROOMS as u64) as usize];
        let slot = match other {
            Some(out) if self.dice.once_in(8) => out.slot,
            _ => self.slot(),
        };
        let contents = self.place(memory::ROOMS + 2 * room as u64);
        if self.rooms[room].is_some() {
            // The room is taken: what it holds must not be overwritten.
            return ([0x1000, self.windows[page], slot], None);
        }
        let info = self.info(0, contents, None, 0);
        raw::store(info + 16, contents + PAGE);
        ([info, self.windows[page], slot], None)
    }

    fn load_back(&mut self, room: usize) -> ([u64; 3], Option<Page>) {
        let room = (room..room + ROOMS)
            .map(|room| room % ROOMS)
            .find(|room| self.rooms[*room].is_some());
        let page = self.free();
        let Some((room, out)) = room.and_then(|room| Some((room, self.rooms[room]?))) else {
            return (
                [
                    self.place(memory::STRUCTURES),
                    self.windows[page],
                    self.slot(),
                ],
                None,
            );
        };
        let is_child = matches!(out.page.kind, kind::REG | kind::TCS | kind::TRIM);
        let owner = (0..PAGES).find(|number| {
            self.pages[*number]
                .is_some_and(|page| page.kind == kind::SECS && page.number == out.enclave)
        });
        let secs = match owner {
            Some(owner) if is_child => self.windows[owner],
            _ => 0,
        };
        self.loading = room;
        // What lost its slot never comes back.
        if self.dice.once_in(20) {
            self.rooms[room] = None;
        }
        let contents = self.place(memory::ROOMS + 2 * room as u64);
        let address = if is_child { out.page.address } else { 0 };
        let info = self.info(address, contents, None, secs);
        raw::store(info + 16, contents + PAGE);
        let is_spoilt = self.dice.once_in(10);
        // A MAC that does not fit: the version of another slot.
        let slot = if is_spoilt { self.slot() } else { out.slot };
        let new = Page {
            owner: owner.unwrap_or(page),
            ..out.page
        };
        ([info, self.windows[page], slot], Some(new))
    }

    fn others(&mut self, leaf: u64) -> [u64; 3] {
        let scratch = self.place(memory::STRUCTURES) + 128;
        match leaf {
            0x03 => {
                let page = self.pick(|page| page.is_some());
                [0, self.windows[page], 0]
            }
            0x04 | 0x05 => {
                let page = self.pick(|page| page.is_some_and(|page| page.kind == kind::REG));
                let debugged = self.debugged().unwrap_or(page);
                let page = if self.dice.once_in(4) { page } else { debugged };
                [
                    self.dice.word(),
                    self.windows[page] + 8 * self.dice.below(512),
                    0,
                ]
            }
            0x06 => {
                let page = self.pick(|page| page.is_some_and(|page| page.kind == kind::REG));
                let raw = self.unmeasured().unwrap_or(page);
                let owner = self.pages[raw].map_or(raw, |page| page.owner);
                [
                    self.windows[owner],
                    self.windows[raw] + 256 * self.dice.below(16),
                    0,
                ]
            }
            0x09 => {
                let page = self.pick(|page| {
                    page.is_some_and(|page| {
                        page.kind >= kind::TCS && page.kind != kind::VA && !page.blocked
                    })
                });
                [0, self.windows[page], 0]
            }
            0x11 if self.dice.once_in(4) => {
                let page = self.of_kind(kind::VA);
                [0, self.windows[page], 0]
            }
            0x0c | 0x11 => {
                let page = self.of_kind(kind::SECS);
                [0, self.windows[page], 0]
            }
            0x10 if self.dice.once_in(10) => [scratch, self.place(memory::SOURCE), 0],
            0x0e | 0x0f => {
                let page = self.initialized().unwrap_or(0);
                let flags = if leaf == 0x0e {
                    kind::REG << 8 | 1
                } else {
                    kind::TRIM << 8
                };
                let secinfo = self.place(memory::STRUCTURES) + 64;
                raw::store(secinfo, flags);
                [secinfo, self.windows[page], 0]
            }
            _ => [
                scratch,
                self.windows[self.dice.below(PAGES as u64) as usize],
                0,
            ],
        }
    }

    /// A regular page whose SECS is as said.
    fn child_where(&mut self, wanted: impl Fn(Page) -> bool) -> Option<usize> {
        let first = self.dice.below(PAGES as u64) as usize;
        (first..first + PAGES)
            .map(|number| number % PAGES)
            .find(|number| {
                self.pages[*number].is_some_and(|page| {
                    let secs = self.pages[page.owner];
                    page.kind == kind::REG
                        && secs.is_some_and(|secs| secs.kind == kind::SECS && wanted(secs))
                })
            })
    }

    fn debugged(&mut self) -> Option<usize> {
        self.child_where(|secs| secs.is_debug)
    }

    fn unmeasured(&mut self) -> Option<usize> {
        self.child_where(|secs| !secs.is_initialized)
    }

    fn initialized(&mut self) -> Option<usize> {
        let first = self.dice.below(PAGES as u64) as usize;
        let all = (first..first + PAGES).map(|number| number % PAGES);
        let mut accepted = all.filter(|number| {
            self.pages[*number].is_some_and(|page| {
                let secs = self.pages[page.owner];
                let is_child = page.kind == kind::REG && !page.is_pending;
                is_child && secs.is_some_and(|secs| secs.is_initialized)
            })
        });
        accepted.next()
    }
}
