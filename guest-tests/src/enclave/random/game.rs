//! A player of ENCLS that knows what it has built, so that most of what it tries should do, and spoils operands now and then. Now and then it looks
//! at what is its neighbour's on the other core, and at an enclave that runs there. It plays in kernel mode: all memory is there beforehand, and
//! nothing may ask the kernel for anything.

use super::gates::{self, Gates};
use super::memory;
use super::running::Running;
use super::tally::{Ended, Row};
use crate::enclave::image::HEAP_FLAGS;
use crate::raw;
use adyton_player::Dice;

/// Pages of the EPC that a player has.
pub const PAGES: usize = 28;
/// Pages that can be out of the EPC at a time.
pub const ROOMS: usize = 8;
/// Leaves of ENCLS, by number.
pub const LEAVES: usize = 20;
/// Bytes of an enclave's address space.
pub const SIZE: u64 = 64 * PAGE;
pub(super) const PAGE: u64 = 4096;

/// Types of pages, as SECINFO has them.
pub(super) mod kind {
    pub const SECS: u64 = 0;
    pub const TCS: u64 = 1;
    pub const REG: u64 = 2;
    pub const VA: u64 = 3;
    pub const TRIM: u64 = 4;
}

/// How far an enclave was built: whether there is a signature for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Built {
    Empty,
    /// It has got its first page.
    WithOne,
    Otherwise,
}

/// Flags of the pages that are added.
pub const FLAGS: u64 = HEAP_FLAGS;

/// EWB's remark that a slot was taken.
const VA_SLOT_OCCUPIED: u64 = 12;

/// What the player knows of a page that is valid.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub kind: u64,
    /// Index of its SECS's page; for others, its own.
    pub owner: usize,
    pub address: u64,
    pub blocked: bool,
    /// Of a SECS.
    pub built: Built,
    /// Augmented, and nobody accepts it.
    pub is_pending: bool,
    pub is_initialized: bool,
    pub is_debug: bool,
    /// Of a SECS: which of all that ever were.
    pub number: u64,
}

impl Page {
    pub const fn plain(kind: u64, owner: usize) -> Self {
        Self {
            kind,
            owner,
            address: 0,
            blocked: false,
            built: Built::Otherwise,
            is_pending: false,
            is_initialized: false,
            is_debug: false,
            number: 0,
        }
    }
}

/// A page that is out.
#[derive(Clone, Copy)]
pub(super) struct Out {
    pub page: Page,
    /// The number of its enclave, which may be gone.
    pub enclave: u64,
    pub slot: u64,
}

/// What a visit to kernel mode is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Before anything is built: that the EPCM is compared at all.
    Control,
    /// So many leaves.
    Play(u64),
    /// To remove everything.
    End,
}

/// All of a player's state, in memory that is there in kernel mode too.
pub struct Game {
    pub(super) dice: Dice,
    pub(super) windows: [u64; PAGES],
    /// Where it sees its neighbour's pages.
    neighbours: [u64; PAGES],
    pub(super) running: Running,
    pub(super) memory: u64,
    pub(super) pages: [Option<Page>; PAGES],
    pub(super) rooms: [Option<Out>; ROOMS],
    pub(super) enclaves: u64,
    /// Where a page is loaded back from.
    pub(super) loading: usize,
    pub purpose: Purpose,
    /// What came of each leaf.
    pub rows: [Row; LEAVES],
    /// What came of leaves that there are not, and of ENCLU.
    pub refused: Row,
    /// 0, or what the EPCM says otherwise than the player: page and what it says.
    pub wrong: u64,
    /// The control has noticed what the player had not been told.
    pub is_noticing: bool,
    gates: Gates,
}

/// Visits kernel mode with a [`Game`].
pub extern "C" fn visit(argument: u64) {
    let game: &mut Game = raw::borrowed(argument);
    let mut gates = std::mem::replace(&mut game.gates, [[0; 2]; 256]);
    gates::with(&mut gates, || match game.purpose {
        Purpose::Control => game.control(),
        Purpose::Play(steps) => {
            (0..steps).for_each(|_| game.step());
            game.compare();
        }
        Purpose::End => {
            game.compare();
            game.remove_all();
        }
    });
}

impl Game {
    pub fn new(
        dice: Dice,
        windows: [u64; PAGES],
        neighbours: [u64; PAGES],
        running: Running,
        memory: u64,
    ) -> Self {
        Self {
            dice,
            windows,
            neighbours,
            running,
            memory,
            pages: [None; PAGES],
            rooms: [None; ROOMS],
            enclaves: 0,
            loading: 0,
            purpose: Purpose::Control,
            rows: [Row::default(); LEAVES],
            refused: Row::default(),
            wrong: 0,
            is_noticing: false,
            gates: [[0; 2]; 256],
        }
    }

    /// A page for which `wanted` says so; any where there is none.
    pub(super) fn pick(&mut self, wanted: impl Fn(Option<Page>) -> bool) -> usize {
        let first = self.dice.below(PAGES as u64) as usize;
        let all = (first..first + PAGES).map(|number| number % PAGES);
        let mut fitting = all.filter(|number| wanted(self.pages[*number]));
        fitting.next().unwrap_or(first)
    }

    pub(super) fn of_kind(&mut self, kind: u64) -> usize {
        self.pick(|page| page.is_some_and(|page| page.kind == kind))
    }

    pub(super) fn free(&mut self) -> usize {
        self.pick(|page| page.is_none())
    }

    /// A SECS that is not initialized, built so far if there is one.
    pub(super) fn unfinished(&mut self, built: Built) -> usize {
        self.pick(|page| {
            let secs = page.filter(|page| page.kind == kind::SECS && !page.is_initialized);
            secs.is_some_and(|page| page.built == built)
        })
    }

    pub(super) fn place(&self, page: u64) -> u64 {
        self.memory + page * PAGE
    }

    /// PAGEINFO, and SECINFO with these flags.
    pub(super) fn info(&self, address: u64, source: u64, flags: Option<u64>, secs: u64) -> u64 {
        let info = self.place(memory::STRUCTURES);
        let secinfo = info + 64;
        raw::store(secinfo, flags.unwrap_or(0));
        raw::store(info, address);
        raw::store(info + 8, source);
        raw::store(info + 16, if flags.is_some() { secinfo } else { 0 });
        raw::store(info + 24, secs);
        info
    }

    fn step(&mut self) {
        const WEIGHTED: [u64; 40] = [
            0x00, 0x00, 0x01, 0x01, 0x01, 0x02, 0x02, 0x03, 0x03, 0x04, 0x05, 0x06, 0x06, 0x07,
            0x08, 0x08, 0x09, 0x09, 0x09, 0x09, 0x0a, 0x0b, 0x0b, 0x0b, 0x0b, 0x0c, 0x0c, 0x0c,
            0x0d, 0x0d, 0x0e, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x12, 0x13, 0x13, 0x0d,
        ];
        if self.running.is_inside() && self.dice.once_in(8) {
            return self.disturb();
        }
        if self.dice.once_in(12) {
            return self.visit_neighbour();
        }
        let leaf = WEIGHTED[self.dice.below(40) as usize];
        let room = self.dice.below(ROOMS as u64) as usize;
        let (mut operands, new) = self.operands(leaf, room);
        if self.dice.once_in(4) {
            let index = self.dice.below(3) as usize;
            operands[index] = self.spoiled(operands[index], index);
        }
        // Now and then no leaf at all, or one of ENCLU.
        if self.dice.once_in(100) {
            return self.play_refused(operands);
        }
        let ended = gates::encls(leaf, operands);
        self.note(leaf, ended);
        // EWB into a slot that is taken: it has happened, and the page that the slot was for is lost.
        let is_remark = leaf == 0x0b && ended == Ended::Code(VA_SLOT_OCCUPIED);
        if ended == Ended::Success || is_remark {
            self.follow(leaf, operands, new, room);
        }
    }

    fn note(&mut self, leaf: u64, ended: Ended) {
        self.rows[leaf as usize].note(ended);
    }

    fn play_refused(&mut self, operands: [u64; 3]) {
        let ended = if self.dice.once_in(2) {
            gates::encls(LEAVES as u64 + self.dice.below(0xffff), operands)
        } else {
            gates::enclu(self.dice.below(16), operands)
        };
        self.refused.note(ended);
    }

    /// Leaves that change nothing of a page, on pages that another player changes meanwhile.
    fn visit_neighbour(&mut self) {
        let page = self.neighbours[self.dice.below(PAGES as u64) as usize];
        let leaf = [0x10, 0x10, 0x0c, 0x11][self.dice.below(4) as usize];
        let scratch = self.place(memory::STRUCTURES) + 128;
        let ended = gates::encls(leaf, [scratch, page, 0]);
        self.note(leaf, ended);
    }

    /// Leaves on an enclave of which a thread is inside, on the other core.
    fn disturb(&mut self) {
        let scratch = self.place(memory::STRUCTURES) + 128;
        let (leaf, page) = self.running.choose(&mut self.dice);
        let ended = gates::encls(leaf, [scratch, page, 0]);
        self.note(leaf, ended);
        if leaf == 0x03 && ended == Ended::Success {
            self.running.lose(page);
        }
    }

    /// Another operand: another page, one that is not aligned, one that is nowhere. The first one is never another that is right.
    fn spoiled(&mut self, operand: u64, index: usize) -> u64 {
        let other = self.windows[self.dice.below(PAGES as u64) as usize];
        let choice = self.dice.below(6);
        match choice {
            0 | 1 if index == 1 => other,
            0 if index == 2 => other + 8 * self.dice.below(512),
            1 => operand ^ 8,
            2 => operand | 1 << 63,
            3 => 0x1000,
            4 => other + 8,
            _ => operand ^ 1,
        }
    }
}
