//! What the player does in kernel mode. Nothing here may fault but ENCLS itself, and nothing may ask the kernel for anything: all memory is
//! there beforehand.

use std::arch::{asm, global_asm};

use super::Dice;
use crate::raw;

/// Pages of the EPC that are played with.
pub const PAGES: usize = 28;
/// Pages that can be out of the EPC at a time.
pub const ROOMS: usize = 8;
/// Leaves of ENCLS, by number.
pub const LEAVES: usize = 20;
/// Bytes of an enclave's address space.
pub const SIZE: u64 = 64 * PAGE;
const PAGE: u64 = 4096;
/// Where enclaves lie.
const BASE: u64 = 0x10_0000_0000;

/// Pages of the player's memory by number.
pub mod memory {
    /// PAGEINFO; SECINFO, RDINFO behind it.
    pub const STRUCTURES: u64 = 0;
    /// What pages are added from.
    pub const SOURCE: u64 = 1;
    /// A SECS to be.
    pub const SECS: u64 = 2;
    /// SIGSTRUCTs: of an enclave without pages, in production and for debugging; of one with its first page, likewise.
    pub const SIGNATURES: u64 = 3;
    /// A token that is none.
    pub const TOKEN: u64 = 7;
    /// Rooms of two pages: contents and PCMD.
    pub const ROOMS: u64 = 8;
}

/// Types of pages, as SECINFO has them.
mod kind {
    pub const SECS: u64 = 0;
    pub const TCS: u64 = 1;
    pub const REG: u64 = 2;
    pub const VA: u64 = 3;
    pub const TRIM: u64 = 4;
}

/// How far an enclave was built: whether there is a signature for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Built {
    Empty = 0,
    /// It has got its first page.
    WithOne = 1,
    Otherwise,
}

/// Flags of the pages that are added: regular, readable and writable.
pub const FLAGS: u64 = kind::REG << 8 | 3;

/// What the player knows of a page that is valid.
#[derive(Clone, Copy)]
struct Page {
    kind: u64,
    /// Index of its SECS's page; for others, its own.
    owner: usize,
    address: u64,
    blocked: bool,
    /// Of a SECS.
    built: Built,
    /// Augmented, and nobody accepts it.
    is_pending: bool,
    is_initialized: bool,
    is_debug: bool,
    /// Of a SECS: which of all that ever were.
    number: u64,
}

/// A page that is out.
#[derive(Clone, Copy)]
struct Out {
    page: Page,
    /// The number of its enclave, which may be gone.
    enclave: u64,
    slot: u64,
}

/// All of the player's state, in memory that is there in kernel mode too.
pub struct Game {
    dice: Dice,
    windows: [u64; PAGES],
    memory: u64,
    pages: [Option<Page>; PAGES],
    rooms: [Option<Out>; ROOMS],
    enclaves: u64,
    /// Where a page is loaded back from.
    loading: usize,
    /// How many leaves the next visit plays.
    pub steps: u64,
    /// Whether the next visit removes everything at its end.
    pub is_last: bool,
    /// How often each leaf was tried.
    pub tried: [u64; LEAVES],
    /// How often it succeeded.
    pub done: [u64; LEAVES],
    /// How often each code came.
    pub codes: [u64; 32],
    /// #UD, #GP, #PF.
    pub faults: [u64; 3],
    /// 0, or what the EPCM says otherwise than the player: page and what it says.
    pub wrong: u64,
    gates: [[u64; 2]; 256],
}

/// How a leaf ended.
#[derive(Clone, Copy)]
struct Ended {
    status: u64,
    fault: u64,
}

/// Leaves that have no code.
const SILENT: [u64; 5] = [0x00, 0x01, 0x06, 0x0a, 0x0d];

impl Ended {
    fn is_success(self, leaf: u64) -> bool {
        self.fault == 0 && (self.status == 0 || SILENT.contains(&leaf))
    }

    /// EWB into a slot that is taken: it has happened, and the page that the slot was for is lost.
    fn is_remark(self, leaf: u64) -> bool {
        const VA_SLOT_OCCUPIED: u64 = 12;
        self.fault == 0 && leaf == 0x0b && self.status == VA_SLOT_OCCUPIED
    }
}

global_asm!(
    r#"
.section .text.random_leaves, "ax"
// rdi: the leaf; rsi: RBX, RCX, RDX for it, and where the vector of a fault goes.
random_encls:
    push rbx
    mov r8, rsi
    mov rax, rdi
    mov rbx, [r8]
    mov rcx, [r8 + 8]
    mov rdx, [r8 + 16]
    .byte 0x0f, 0x01, 0xcf
    pop rbx
    ret
random_undefined:
    mov qword ptr [r8 + 24], 6
    add qword ptr [rsp], 3
    iretq
random_protection:
    add rsp, 8
    mov qword ptr [r8 + 24], 13
    add qword ptr [rsp], 3
    iretq
random_page:
    add rsp, 8
    mov qword ptr [r8 + 24], 14
    add qword ptr [rsp], 3
    iretq
.text
"#
);

unsafe extern "C" {
    fn random_encls(leaf: u64, operands: *mut [u64; 4]) -> u64;
    static random_undefined: u8;
    static random_protection: u8;
    static random_page: u8;
}

/// Executes a leaf.
fn execute(leaf: u64, operands: [u64; 3]) -> Ended {
    let [first, second, third] = operands;
    let mut words = [first, second, third, 0];
    // SAFETY: in kernel mode under the player's gates, which go on behind the instruction where it faults. It writes to pages of the
    // EPC that nobody else uses, and to the player's memory.
    let status = unsafe { random_encls(leaf, &raw mut words) };
    Ended {
        status,
        fault: words[3],
    }
}

/// Plays so many leaves, with interrupts off and faults caught.
pub extern "C" fn visit(argument: u64) {
    let game: &mut Game = raw::borrowed(argument);
    let mut kernels = [0_u8; 10];
    // SAFETY: stores where the kernel's table is.
    unsafe { asm!("sidt [{0}]", in(reg) kernels.as_mut_ptr(), options(nostack)) };
    let base = u64::from_le_bytes([
        kernels[2], kernels[3], kernels[4], kernels[5], kernels[6], kernels[7], kernels[8],
        kernels[9],
    ]);
    // SAFETY: the kernel's table has 256 gates.
    unsafe { std::ptr::copy_nonoverlapping(base as *const [u64; 2], game.gates.as_mut_ptr(), 256) };
    let stubs = [
        (6, &raw const random_undefined),
        (13, &raw const random_protection),
        (14, &raw const random_page),
    ];
    let selector: u16;
    // SAFETY: reads a register.
    unsafe { asm!("mov {0:x}, cs", out(reg) selector, options(nomem, nostack)) };
    for (vector, stub) in stubs {
        let place = stub as u64;
        let low = place & 0xffff | u64::from(selector) << 16 | 0x8e << 40;
        game.gates[vector] = [low | (place >> 16 & 0xffff) << 48, place >> 32];
    }
    let mut own = [0_u8; 10];
    own[..2].copy_from_slice(&4095_u16.to_le_bytes());
    own[2..].copy_from_slice(&(&raw const game.gates as u64).to_le_bytes());
    // SAFETY: the gates lie in memory that is locked; they are the kernel's but for three, and the kernel's come back.
    unsafe { asm!("lidt [{0}]", in(reg) own.as_ptr(), options(nostack)) };
    for _ in 0..game.steps {
        game.step();
    }
    game.compare();
    if game.is_last {
        game.remove_all();
    }
    // SAFETY: as it was.
    unsafe { asm!("lidt [{0}]", in(reg) kernels.as_ptr(), options(nostack)) };
}

impl Game {
    pub fn new(dice: Dice, windows: [u64; PAGES], memory: u64) -> Self {
        Self {
            dice,
            windows,
            memory,
            pages: [None; PAGES],
            rooms: [None; ROOMS],
            enclaves: 0,
            loading: 0,
            steps: 0,
            is_last: false,
            tried: [0; LEAVES],
            done: [0; LEAVES],
            codes: [0; 32],
            faults: [0; 3],
            wrong: 0,
            gates: [[0; 2]; 256],
        }
    }

    /// A page for which `wanted` says so; any where there is none.
    fn pick(&mut self, wanted: impl Fn(Option<Page>) -> bool) -> usize {
        let first = self.dice.below(PAGES as u64) as usize;
        let all = (first..first + PAGES).map(|number| number % PAGES);
        let mut fitting = all.filter(|number| wanted(self.pages[*number]));
        fitting.next().unwrap_or(first)
    }

    fn of_kind(&mut self, kind: u64) -> usize {
        self.pick(|page| page.is_some_and(|page| page.kind == kind))
    }

    fn free(&mut self) -> usize {
        self.pick(|page| page.is_none())
    }

    /// A SECS that is not initialized, built so far if there is one.
    fn unfinished(&mut self, built: Built) -> usize {
        self.pick(|page| {
            let secs = page.filter(|page| page.kind == kind::SECS && !page.is_initialized);
            secs.is_some_and(|page| page.built == built)
        })
    }

    fn place(&self, page: u64) -> u64 {
        self.memory + page * PAGE
    }

    /// PAGEINFO, and SECINFO with these flags.
    fn info(&self, address: u64, source: u64, flags: Option<u64>, secs: u64) -> u64 {
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
        let leaf = WEIGHTED[self.dice.below(40) as usize];
        let room = self.dice.below(ROOMS as u64) as usize;
        let (operands, new) = self.operands(leaf, room);
        let mut operands = operands;
        if self.dice.once_in(4) {
            let index = self.dice.below(3) as usize;
            operands[index] = self.spoiled(operands[index], index);
        }
        // Now and then no leaf at all.
        let number = if self.dice.once_in(200) {
            0x14 + self.dice.next() % 0xffff
        } else {
            leaf
        };
        let ended = execute(number, operands);
        if number != leaf {
            self.note_fault(ended.fault);
            return;
        }
        self.note(leaf, ended);
        if ended.is_success(leaf) || ended.is_remark(leaf) {
            self.follow(leaf, operands, new, room);
        }
    }

    fn note(&mut self, leaf: u64, ended: Ended) {
        let leaf_place = leaf as usize;
        self.tried[leaf_place] += 1;
        if ended.is_success(leaf) {
            self.done[leaf_place] += 1;
        } else if ended.fault != 0 {
            self.note_fault(ended.fault);
        } else if let Some(count) = self.codes.get_mut(ended.status as usize) {
            *count += 1;
        }
    }

    fn note_fault(&mut self, vector: u64) {
        match vector {
            6 => self.faults[0] += 1,
            13 => self.faults[1] += 1,
            14 => self.faults[2] += 1,
            _ => {}
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

    /// What should do, and what the page will be if it does.
    fn operands(&mut self, leaf: u64, room: usize) -> ([u64; 3], Option<Page>) {
        match leaf {
            0x00 => self.create(),
            0x01 => self.add(),
            0x02 => self.initialize(),
            0x07 | 0x08 | 0x12 | 0x13 => self.load_back(room),
            0x0a => {
                let page = self.free();
                (
                    [kind::VA, self.windows[page], 0],
                    Some(plain(kind::VA, page)),
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
            ..plain(kind::SECS, page)
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
            ..plain(kind::REG, owner)
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
            ..plain(kind::REG, owner)
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
        let signature = self.place(memory::SIGNATURES + set + u64::from(is_debug));
        raw::store(self.place(memory::TOKEN), 0);
        if self.dice.once_in(10) {
            // A page of zeros is no SIGSTRUCT at all.
            return (
                [
                    self.place(memory::SOURCE),
                    self.windows[secs],
                    self.place(memory::TOKEN),
                ],
                None,
            );
        }
        (
            [signature, self.windows[secs], self.place(memory::TOKEN)],
            None,
        )
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
                    self.dice.next(),
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
            0x0c | 0x11 => {
                let page = self.of_kind(kind::SECS);
                [0, self.windows[page], 0]
            }
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

    /// What has happened to the page that the second operand names.
    fn follow(&mut self, leaf: u64, operands: [u64; 3], new: Option<Page>, room: usize) {
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
            0x0a => self.pages[number] = Some(plain(kind::VA, number)),
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

    /// Asks the EPCM about every page, by ERDINFO.
    fn compare(&mut self) {
        let scratch = self.place(memory::STRUCTURES) + 128;
        for number in 0..PAGES {
            let ended = execute(0x10, [scratch, self.windows[number], 0]);
            let flags = raw::load(scratch + 8);
            let is_right = match self.pages[number] {
                None => ended.fault == 0 && ended.status == 6,
                Some(page) => {
                    let found = flags >> 8 & 0xff;
                    ended.fault == 0 && ended.status == 0 && found == page.kind
                }
            };
            if !is_right && self.wrong == 0 {
                self.wrong = (number as u64) << 48
                    | ended.fault << 40
                    | ended.status << 32
                    | flags & 0xffff
                    | 1 << 63;
            }
        }
    }

    /// Removes everything.
    fn remove_all(&mut self) {
        for is_last in [false, true] {
            for number in 0..PAGES {
                let Some(page) = self.pages[number] else {
                    continue;
                };
                if (page.kind == kind::SECS) == is_last {
                    let ended = execute(0x03, [0, self.windows[number], 0]);
                    if ended.is_success(0x03) {
                        self.pages[number] = None;
                    } else if self.wrong == 0 {
                        self.wrong = (number as u64) << 48
                            | ended.fault << 40
                            | ended.status << 32
                            | 1 << 62;
                    }
                }
            }
        }
    }
}

const fn plain(kind: u64, owner: usize) -> Page {
    Page {
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
