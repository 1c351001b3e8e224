//! What a player knows of its pages, and whether the EPCM says the same.

use super::game::{Built, Game, Out, PAGE, PAGES, Page, kind};
use super::gates::encls;
use super::memory;
use super::tally::Ended;
use crate::raw;

/// Of ERDINFO, about a page that is free.
const PG_INVLD: Ended = Ended::Code(6);

impl Game {
    /// What has happened to the page that the second operand names.
    pub(super) fn follow(&mut self, leaf: u64, operands: [u64; 3], new: Option<Page>, room: usize) {
        let target = operands[1] & !(PAGE - 1);
        let Some(number) = self.windows.iter().position(|window| *window == target) else {
            return;
        };
        match leaf {
            0x00 => {
                self.enclaves += 1;
                let found = new.map(|page| Page {
                    owner: number,
                    number: self.enclaves,
                    ..page
                });
                self.pages[number] = found;
            }
            0x01 => {
                self.pages[number] = new;
                self.note_added(new);
            }
            0x0d => {
                self.pages[number] = new.map(|page| Page {
                    is_pending: true,
                    ..page
                });
            }
            0x06 => self.set_built(self.pages[number], Built::Otherwise),
            0x02 => {
                if let Some(page) = &mut self.pages[number] {
                    page.is_initialized = true;
                }
            }
            0x03 => self.pages[number] = None,
            0x09 => {
                if let Some(page) = &mut self.pages[number] {
                    page.blocked = true;
                }
            }
            0x0a => self.pages[number] = Some(Page::plain(kind::VA, number)),
            0x0b => {
                self.rooms[room] = self.pages[number].take().map(|page| Out {
                    page,
                    enclave: self.pages[page.owner].map_or(page.number, |secs| secs.number),
                    slot: operands[2],
                });
            }
            0x07 | 0x08 | 0x12 | 0x13 => self.came_back(leaf, number, new),
            0x0f => {
                if let Some(page) = &mut self.pages[number] {
                    page.kind = kind::TRIM;
                }
            }
            _ => {}
        }
    }

    /// The enclave of a new page has one more.
    fn note_added(&mut self, new: Option<Page>) {
        let secs = new.and_then(|page| Some((page, self.pages[page.owner]?)));
        let is_first = secs
            .is_some_and(|(page, secs)| secs.built == Built::Empty && page.address == secs.address);
        let built = if is_first {
            Built::WithOne
        } else {
            Built::Otherwise
        };
        self.set_built(new, built);
    }

    fn set_built(&mut self, child: Option<Page>, built: Built) {
        if let Some(secs) = child.and_then(|page| self.pages.get_mut(page.owner)?.as_mut()) {
            secs.built = built;
        }
    }

    fn came_back(&mut self, leaf: u64, number: usize, new: Option<Page>) {
        let Some(mut page) = new else { return };
        page.blocked = matches!(leaf, 0x07 | 0x12);
        if matches!(page.kind, kind::SECS | kind::VA) {
            page.owner = number;
        }
        self.pages[number] = Some(page);
        self.rooms[self.loading] = None;
    }

    /// Asks the EPCM about every page, by ERDINFO. Its neighbour only looks at them.
    pub(super) fn compare(&mut self) {
        let scratch = self.place(memory::STRUCTURES) + 128;
        for number in 0..PAGES {
            let ended = encls(0x10, [scratch, self.windows[number], 0]);
            let flags = raw::load(scratch + 8);
            let is_right = match self.pages[number] {
                None => ended == PG_INVLD,
                Some(page) => ended == Ended::Success && flags >> 8 & 0xff == page.kind,
            };
            if !is_right {
                self.complain(number, ended, flags);
            }
        }
    }

    fn complain(&mut self, number: usize, ended: Ended, flags: u64) {
        if self.wrong == 0 {
            let (fault, code) = match ended {
                Ended::Success => (0, 0),
                Ended::Code(code) => (0, code),
                Ended::Fault(vector) => (vector, 0),
            };
            let place = 1 << 63 | (number as u64) << 48;
            self.wrong = place | fault << 40 | code << 32 | flags & 0xffff;
        }
    }

    /// A page that the player has not been told of must be noticed.
    pub(super) fn control(&mut self) {
        let page = self.windows[0];
        let added = encls(0x0a, [kind::VA, page, 0]);
        self.compare();
        let removed = encls(0x03, [0, page, 0]);
        let is_noticed = self.wrong != 0;
        self.wrong = 0;
        self.compare();
        let is_done = added == Ended::Success && removed == Ended::Success;
        self.is_noticing = is_done && is_noticed && self.wrong == 0;
    }

    /// Removes everything: what belongs to enclaves first.
    pub(super) fn remove_all(&mut self) {
        for is_last in [false, true] {
            for number in 0..PAGES {
                let Some(page) = self.pages[number] else {
                    continue;
                };
                if (page.kind == kind::SECS) == is_last {
                    match encls(0x03, [0, self.windows[number], 0]) {
                        Ended::Success => self.pages[number] = None,
                        ended => self.complain(number, ended, 0),
                    }
                }
            }
        }
    }
}
