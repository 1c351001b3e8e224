//! What a program and its enclave play: every leaf of ENCLU, with operands that are right, of another page, or nowhere. Now and then the program's
//! kernel restricts pages and adds some, so that the enclave has something to accept.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};

use super::gates::{self, Gates};
use super::running::{IS_INSIDE, MET};
use super::tally::{Ended, Row};
use crate::enclave::abuse::Victim;
use crate::enclave::code::{Command, Entered, Leaf, enter, enter_by_vdso};
use crate::enclave::image::{PAGE, secinfo};
use crate::enclave::place;
use crate::{kernel_mode, raw};
use adyton_player::Dice;

/// Leaves of ENCLU, by number; 8 is none.
pub const LEAVES: usize = 10;
const EENTER: u64 = 2;
const ERESUME: u64 = 3;
const EEXIT: u64 = 4;
const EACCEPT: u64 = 5;
const EMODPE: u64 = 6;
const EACCEPTCOPY: u64 = 7;
const EDECCSSA: u64 = 9;

const PENDING: u64 = 1 << 3;
const RESTRICTED: u64 = 1 << 5;
const READ_WRITE: u64 = secinfo::REGULAR | secinfo::READ | secinfo::WRITE;

/// How many pages are restricted, from the first page of data on.
pub const CHANGED: usize = 9;
/// How many pages are added, where the image has none.
pub const ADDED: usize = 4;
/// The first of these.
pub const FIRST_ADDED: u64 = 24;

/// What the program's kernel does for the enclave, in kernel mode.
pub struct Change {
    /// A page for operands.
    pub memory: u64,
    /// Where the SECS is seen.
    pub secs: u64,
    pub restricted: [u64; CHANGED],
    /// Where each page is seen that is added, and where it goes.
    pub added: [[u64; 2]; ADDED],
    /// The enclave ends: what the driver does not know of must be gone.
    pub is_last: bool,
    pub gates: Gates,
}

/// Visits kernel mode with a [`Change`].
extern "C" fn change(argument: u64) {
    let it: &mut Change = raw::borrowed(argument);
    let (info, secinfo) = (it.memory, it.memory + 64);
    raw::store(secinfo, READ_WRITE);
    gates::with(&mut it.gates, || {
        for [page, _] in it.added {
            gates::encls(0x03, [0, page, 0]);
        }
        if it.is_last {
            return;
        }
        for page in it.restricted {
            gates::encls(0x0e, [secinfo, page, 0]);
        }
        for [page, address] in it.added {
            for (word, place) in [address, 0, 0, it.secs].into_iter().zip(0..) {
                raw::store(info + 8 * place, word);
            }
            gates::encls(0x0d, [info, page, 0]);
        }
        gates::encls(0x0c, [0, it.secs, 0]);
    });
}

/// The program.
pub struct Player<'a> {
    pub victim: &'a Victim,
    pub dice: Dice,
    pub change: Box<Change>,
    /// What came of each leaf.
    pub rows: [Row; LEAVES],
    /// What came of leaves that there are not.
    pub refused: Row,
}

impl Player<'_> {
    /// Plays so many leaves.
    pub fn play(&mut self, rounds: u64) -> Result<()> {
        kernel_mode::run(change, &raw mut *self.change as u64)?;
        for _ in 0..rounds {
            match self.dice.below(16) {
                0 => self.enter_wrongly(EENTER),
                1 => self.enter_wrongly(ERESUME),
                _ => self.inside()?,
            }
            let sum = self.enter(Command::Add, 20, 22);
            ensure!(sum == 42, "it computes no more: {sum}");
        }
        Ok(())
    }

    /// Takes back what the kernel has done for the enclave.
    pub fn end(&mut self) -> Result<()> {
        self.change.is_last = true;
        kernel_mode::run(change, &raw mut *self.change as u64)
    }

    /// Stays inside until others have met it, if any come.
    pub fn stay(&mut self) {
        const ROUNDS: u64 = 2_000_000;
        const TIMES: u64 = 20;
        const MEETINGS: u64 = 8;
        let counter = self.victim.enclave.page(place::DATA);
        let before = MET.load(Ordering::Relaxed);
        IS_INSIDE.store(true, Ordering::Relaxed);
        for _ in 0..TIMES {
            self.enter(Command::Count, ROUNDS, counter);
            if MET.load(Ordering::Relaxed) - before >= MEETINGS {
                break;
            }
        }
        IS_INSIDE.store(false, Ordering::Relaxed);
    }

    /// Enters and leaves, which is EENTER and EEXIT.
    fn enter(&mut self, command: Command, first: u64, second: u64) -> u64 {
        let tcs = self.victim.enclave.page(place::TCS);
        for leaf in [EENTER, EEXIT] {
            self.rows[leaf as usize].note(Ended::Success);
        }
        enter(tcs, command, first, second)
    }

    /// By what is no thread, or has nothing to go on with.
    fn enter_wrongly(&mut self, leaf: u64) {
        let right = self.victim.enclave.page(place::TCS);
        let tcs = if leaf == ERESUME && self.dice.once_in(2) {
            right
        } else {
            self.wrong(right)
        };
        let by = if leaf == EENTER {
            Leaf::Enter
        } else {
            Leaf::Resume
        };
        let operands = [Command::Add as u64, 0, 0];
        let entered = self.victim.enter_at(tcs, by, operands);
        let row = &mut self.rows[leaf as usize];
        if entered.run.function == EEXIT as u32 {
            // By another page than was meant it went well.
            row.note(Ended::Success);
        } else {
            row.note(Ended::Fault(entered.run.vector.into()));
        }
    }

    fn inside(&mut self) -> Result<()> {
        const CHOICES: [u64; 12] = [
            0,
            1,
            1,
            1,
            EEXIT,
            EACCEPT,
            EACCEPT,
            EACCEPT,
            EMODPE,
            EACCEPTCOPY,
            EDECCSSA,
            8,
        ];
        let leaf = CHOICES[self.dice.below(CHOICES.len() as u64) as usize];
        let mut operands = self.right(leaf);
        if self.dice.once_in(3) && leaf != EEXIT {
            let index = self.dice.below(3) as usize;
            operands[index] = self.wrong(operands[index]);
        }
        let number = if leaf == 8 && self.dice.once_in(2) {
            10 + self.dice.below(0xffff)
        } else {
            leaf
        };
        let ended = self.ask(number, operands)?;
        match self.rows.get_mut(number as usize) {
            Some(row) if number != 8 => row.note(ended),
            _ => self.refused.note(ended),
        }
        Ok(())
    }

    /// Has the enclave execute a leaf. What faults is stepped over and resumed, or given up by EDECCSSA.
    fn ask(&mut self, leaf: u64, operands: [u64; 3]) -> Result<Ended> {
        const GPRSGX: u64 = PAGE as u64 - 184;
        const ENCLU: u64 = 3;
        const SILENT: [u64; 3] = [0, EMODPE, EDECCSSA];
        let tcs = self.victim.enclave.page(place::TCS);
        let registers = self.victim.enclave.page(place::FRAMES) + GPRSGX;
        let mut vector = 0;
        let mut gives_up = self.dice.once_in(4);
        let (mut resumed, mut gone_back) = (0, false);
        let words = [leaf, operands.as_ptr() as u64];
        let ended = self
            .victim
            .ask_and_mend(Command::Leaf, words, |met: &Entered| {
                ensure!(vector == 0, "leaf {leaf} faults for ever: {met:?}");
                vector = u64::from(met.run.vector);
                ensure!(
                    met.run.function == ERESUME as u32,
                    "entered no more: {met:?}"
                );
                gives_up &= matches!(vector, 13 | 14);
                if gives_up {
                    let nothing = [0; 3];
                    enter(tcs, Command::Leaf, EDECCSSA, nothing.as_ptr() as u64);
                    gone_back = true;
                    return Ok(false);
                }
                enter(tcs, Command::StepOver, registers, ENCLU);
                resumed += 1;
                Ok(true)
            })?;
        let inner = u64::from(vector != 0);
        for _ in 0..1 + inner {
            self.rows[EENTER as usize].note(Ended::Success);
        }
        for _ in 0..1 + resumed {
            self.rows[EEXIT as usize].note(Ended::Success);
        }
        for _ in 0..resumed {
            self.rows[ERESUME as usize].note(Ended::Success);
        }
        if gone_back {
            self.rows[EDECCSSA as usize].note(Ended::Success);
        } else {
            ensure!(ended.run.function == EEXIT as u32, "{ended:?}");
        }
        Ok(match (vector, ended.result) {
            (0, _) if SILENT.contains(&leaf) => Ended::Success,
            (0, 0) => Ended::Success,
            (0, code) => Ended::Code(code),
            (vector, _) => Ended::Fault(vector),
        })
    }

    /// Operands that should do, once what they name holds what it should.
    fn right(&mut self, leaf: u64) -> [u64; 3] {
        // The last frame of a thread that never enters.
        let page = |number| self.victim.enclave.page(number);
        let zeros = page(place::SECOND_TCS + 2);
        let [secinfo, output, source, request] =
            [9, 10, 11, 12].map(|number| page(place::DATA + number));
        let changed = page(place::DATA + self.dice.below(CHANGED as u64));
        let added = page(FIRST_ADDED + self.dice.below(ADDED as u64));
        match leaf {
            0 => [zeros, zeros + 1024, output],
            1 => {
                self.ask_for_key(request);
                [request, output, 0]
            }
            // Out to nowhere.
            EEXIT => [1 << 63, 0, 0],
            EACCEPT if self.dice.once_in(3) => {
                self.write(secinfo, READ_WRITE | PENDING);
                [secinfo, added, 0]
            }
            EACCEPT => {
                self.write(secinfo, READ_WRITE | RESTRICTED);
                [secinfo, changed, 0]
            }
            EMODPE => {
                self.write(secinfo, READ_WRITE);
                [secinfo, output, 0]
            }
            _ => {
                self.write(secinfo, READ_WRITE);
                [secinfo, added, source]
            }
        }
    }

    /// SECINFO with these flags.
    fn write(&mut self, secinfo: u64, flags: u64) {
        self.enter(Command::Store, secinfo, flags);
        for word in 1..8 {
            self.enter(Command::Store, secinfo + 8 * word, 0);
        }
    }

    /// KEYREQUEST: one of six keys, the version of the enclave or a higher one, the processor's or a higher one.
    fn ask_for_key(&mut self, request: u64) {
        let (name, version) = (self.dice.below(6), self.dice.below(5));
        let processor = if self.dice.once_in(6) { 0xff } else { 0 };
        self.enter(Command::Store, request, name | version << 32);
        self.enter(Command::Store, request + 8, processor);
        for word in 2..64 {
            self.enter(Command::Store, request + 8 * word, 0);
        }
    }

    fn wrong(&mut self, operand: u64) -> u64 {
        let dice = &mut self.dice;
        let enclave = &self.victim.enclave;
        // Any but frames, which are kept as they are: a TCS, the code, data, nothing.
        let data = place::DATA + dice.below(place::DATA_PAGES);
        let choices = [place::TCS, place::CODE, 31, data];
        let page = enclave.page(choices[dice.below(4) as usize]);
        match dice.below(6) {
            0 => page,
            1 => page + 8 * dice.below(512),
            2 => operand ^ 8,
            3 => operand | 1 << 63,
            4 => enclave.base + enclave.size,
            _ => 0x1000,
        }
    }
}

impl Victim {
    /// Enters by any page.
    fn enter_at(&self, tcs: u64, leaf: Leaf, [command, first, second]: [u64; 3]) -> Entered {
        enter_by_vdso(self.function, tcs, leaf, command, [first, second])
    }
}
