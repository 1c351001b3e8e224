//! Random leaves on two cores, most of them with operands that make sense, some under attack: page tables that lie, old copies of pages, claims
//! that others hold. After every step the EPCM must make sense, and no core may hold a translation that leads to what is not its enclave's.
//!
//! `ADYTON_SGX_STEPS` plays more steps per seed, `ADYTON_SGX_SEED` one seed.

mod inside;
mod invariants;
mod kernel;

use std::collections::{BTreeMap, BTreeSet};

use adyton_sgx::epcm::PageType;
use adyton_sgx::leaf::{Encls, Enclu};
use adyton_sgx::{Capabilities, EpcPage, ErrorCode, Fault, Processor, Progress, Thread};

use crate::support::enclave::{BASE, Enclave, SIZE};
use crate::support::machine::Bytes;
use crate::support::world::{Answer, World, capabilities, registers};

/// Pages of the EPC: enough for two enclaves and some more.
const PAGES: u32 = 30;
/// Rooms in memory for pages that were written out.
const ROOMS: usize = 10;
/// Places where enclaves lie.
const PLACES: u64 = 3;

/// A generator of numbers (SplitMix64).
pub struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ word >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// True once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        let count = u64::try_from(choices.len())
            .ok()
            .filter(|count| *count != 0)?;
        choices.get(self.below(count) as usize).copied()
    }
}

/// A translation that a core has loaded.
#[derive(Clone, Copy, Debug)]
pub struct Cached {
    pub address: u64,
    pub page: EpcPage,
    pub write: bool,
    pub execute: bool,
}

/// A core that is not at its turn, and what each one's translation cache holds.
struct Core {
    thread: Option<Thread>,
    processor: Processor,
    progress: Progress,
    cache: Vec<Cached>,
}

/// A room with a page in it.
#[derive(Clone)]
pub struct Stored {
    pub out: crate::evict::Out,
    /// What the page held; `None` once it has come back.
    pub contents: Option<Box<Bytes>>,
    /// The bytes outside, to be put there again.
    pub copy: [Vec<u8>; 3],
    pub kind: PageType,
    pub secs: EpcPage,
    pub slot: u64,
}

pub struct Game {
    pub world: World,
    pub dice: Dice,
    cores: Vec<Core>,
    /// The core whose turn it is; its own state lies in `world`.
    turn: usize,
    pub enclaves: Vec<Enclave>,
    pub stored: Vec<Stored>,
    rooms: Vec<crate::evict::Out>,
    /// Entries that may be repeated, by the TCS's address.
    pub noted: BTreeMap<u64, crate::again::Noted>,
    /// Memory that stays.
    kept: usize,
    pub seen: Seen,
}

/// What has happened so far.
#[derive(Default)]
pub struct Seen {
    pub successes: BTreeMap<String, u64>,
    pub codes: BTreeSet<(String, u64)>,
    pub faults: BTreeSet<(String, u8)>,
    /// Entries by a precedent, and those for which it would not do.
    pub repeated: u64,
    pub not_repeated: u64,
}

impl Seen {
    fn note(&mut self, leaf: &str, answer: Answer) {
        match answer {
            Answer::Code(0 | u64::MAX, false, false) | Answer::Entered | Answer::Left => {
                *self.successes.entry(leaf.to_owned()).or_default() += 1;
            }
            Answer::Code(code, ..) => drop(self.codes.insert((leaf.to_owned(), code))),
            Answer::Fault(fault) => drop(self.faults.insert((leaf.to_owned(), fault.vector))),
        }
    }

    fn join(&mut self, other: Self) {
        for (leaf, count) in other.successes {
            *self.successes.entry(leaf).or_default() += count;
        }
        self.repeated += other.repeated;
        self.not_repeated += other.not_repeated;
        self.codes.extend(other.codes);
        self.faults.extend(other.faults);
    }
}

impl Game {
    fn new(seed: u64) -> Self {
        let capabilities: Capabilities = capabilities();
        let mut world = World::with(PAGES, 7, capabilities);
        let rooms = (0..ROOMS).map(|_| world.room()).collect();
        let kept = world.machine.memory.len();
        let core = || Core {
            thread: None,
            processor: registers(),
            progress: Progress::new(),
            cache: Vec::new(),
        };
        Self {
            world,
            dice: Dice(seed),
            cores: vec![core(), core()],
            turn: 0,
            enclaves: Vec::new(),
            stored: Vec::new(),
            rooms,
            noted: BTreeMap::new(),
            kept,
            seen: Seen::default(),
        }
    }

    fn step(&mut self) {
        if self.dice.once_in(4) {
            self.switch();
        }
        if self.dice.once_in(40) {
            self.lie();
        }
        let inside = self.world.thread.is_some();
        if inside && self.dice.below(3) != 0 {
            self.play_inside();
        } else if !inside && self.dice.once_in(3) {
            self.play_entry();
        } else {
            self.play_kernel();
        }
        if self.world.thread.is_none() {
            self.cores[self.turn].cache.clear();
        }
        self.check();
        self.world.drop_memory(self.kept);
    }

    fn switch(&mut self) {
        self.exchange();
        self.turn = (self.turn + 1) % self.cores.len();
        self.exchange();
    }

    fn exchange(&mut self) {
        let core = &mut self.cores[self.turn];
        std::mem::swap(&mut core.thread, &mut self.world.thread);
        std::mem::swap(&mut core.processor, &mut self.world.processor);
        std::mem::swap(&mut core.progress, &mut self.world.progress);
    }

    /// Threads inside with what their cores hold.
    pub fn threads(&self) -> Vec<(Thread, &[Cached])> {
        let cores = self.cores.iter().enumerate();
        let threads = cores.filter_map(|(number, core)| {
            let thread = if number == self.turn {
                self.world.thread
            } else {
                core.thread
            };
            Some((thread?, core.cache.as_slice()))
        });
        threads.collect()
    }

    pub fn cache(&mut self) -> &mut Vec<Cached> {
        &mut self.cores[self.turn].cache
    }

    /// A leaf of the kernel's.
    pub fn system(&mut self, leaf: Encls, operands: [u64; 3]) -> Answer {
        let operands = self.spoil(operands);
        self.exactly(leaf, operands)
    }

    /// A leaf of the kernel's with just these operands.
    pub fn exactly(&mut self, leaf: Encls, operands: [u64; 3]) -> Answer {
        // Others may be at work on a page at the same time.
        let entries: &'static [adyton_sgx::EpcmEntry] = self.world.machine.platform.epcm;
        let held = self
            .dice
            .once_in(60)
            .then(|| self.dice.pick(&entries.iter().collect::<Vec<_>>()));
        let claim = held.flatten().and_then(|entry| entry.claim());
        let answer = self.world.encls(leaf, operands);
        drop(claim);
        let answer = if crate::support::world::is_silent(leaf) && matches!(answer, Answer::Code(..))
        {
            crate::support::enclave::OK_SILENT
        } else {
            answer
        };
        self.seen.note(&format!("{leaf:?}"), answer);
        answer
    }

    /// A leaf of a program's.
    pub fn user(&mut self, leaf: Enclu, operands: [u64; 3]) -> Answer {
        let operands = self.spoil(operands);
        let answer = self.world.enclu(leaf, operands);
        let silent = matches!(leaf, Enclu::Ereport | Enclu::Emodpe | Enclu::Edeccssa);
        let answer = match answer {
            Answer::Code(..) if silent => crate::support::enclave::OK_SILENT,
            answer => answer,
        };
        self.seen.note(&format!("{leaf:?}"), answer);
        answer
    }

    /// Once in a while an operand with a wrong bit.
    fn spoil(&mut self, mut operands: [u64; 3]) -> [u64; 3] {
        if self.dice.once_in(30) {
            let which = self.dice.below(3) as usize;
            operands[which] ^= 1 << self.dice.below(64);
        }
        operands
    }

    pub fn any_page(&mut self) -> EpcPage {
        EpcPage(self.dice.below(PAGES.into()) as u32)
    }

    /// A page with such attributes, or once in a while any.
    pub fn page_where(&mut self, wanted: impl Fn(adyton_sgx::epcm::Attributes) -> bool) -> EpcPage {
        let fitting: Vec<EpcPage> = (0..PAGES)
            .map(EpcPage)
            .filter(|page| wanted(self.world.entry(*page).attributes()))
            .collect();
        let any = self.any_page();
        if self.dice.once_in(12) {
            return any;
        }
        self.dice.pick(&fitting).unwrap_or(any)
    }

    pub fn free(&self) -> usize {
        let pages = (0..PAGES).map(EpcPage);
        pages
            .filter(|page| !self.world.entry(*page).attributes().valid)
            .count()
    }

    /// The system's tables lead an enclave's address somewhere else.
    fn lie(&mut self) {
        use crate::support::machine::Target;
        let address = BASE + self.dice.below(PLACES * SIZE / 4096) * 4096;
        let target = if self.dice.once_in(4) {
            Target::Memory(0)
        } else {
            Target::Epc(self.any_page())
        };
        self.world.map(address, target);
    }

    fn takeable_room(&mut self) -> Option<crate::evict::Out> {
        if self.rooms.is_empty() && !self.stored.is_empty() {
            let victim = self.dice.below(self.stored.len() as u64) as usize;
            let stored = self.stored.swap_remove(victim);
            self.rooms.push(stored.out);
        }
        self.rooms.pop()
    }
}

#[test]
fn random_leaves_keep_the_epcm_in_order() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|value| value.parse::<u64>().ok())
    };
    let steps = number("ADYTON_SGX_STEPS").unwrap_or(40_000);
    let seeds = match number("ADYTON_SGX_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..4,
    };
    let whole = seeds.end - seeds.start > 1;
    let mut seen = Seen::default();
    for seed in seeds {
        let mut game = Game::new(seed);
        for step in 0..steps {
            let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| game.step()));
            assert!(played.is_ok(), "ADYTON_SGX_SEED={seed}, step {step}");
        }
        seen.join(game.seen);
    }
    describe(&seen);
    if whole {
        judge(&seen);
    }
}

/// What occurred, one line a leaf.
fn describe(seen: &Seen) {
    for (leaf, count) in &seen.successes {
        let codes = seen.codes.iter().filter(|(name, _)| name == leaf);
        let codes: Vec<u64> = codes.map(|(_, code)| *code).collect();
        let faults = seen.faults.iter().filter(|(name, _)| name == leaf);
        let faults: Vec<u8> = faults.map(|(_, vector)| *vector).collect();
        println!("{leaf}: {count} successes, codes {codes:?}, faults {faults:?}");
    }
}

/// Every leaf succeeded often, and every code and fault that there is occurred.
fn judge(seen: &Seen) {
    let leaves = Encls::ALL.iter().map(|leaf| format!("{leaf:?}"));
    for leaf in leaves.chain(Enclu::ALL.iter().map(|leaf| format!("{leaf:?}"))) {
        let count = seen.successes.get(&leaf).copied().unwrap_or(0);
        assert!(
            count >= 50,
            "{leaf} succeeded {count} times: {:?}",
            seen.successes
        );
    }
    let repeated = (seen.repeated, seen.not_repeated);
    assert!(
        repeated.0 >= 50 && repeated.1 >= 50,
        "entries were repeated, and not: {repeated:?}"
    );
    let codes: BTreeSet<u64> = seen.codes.iter().map(|(_, code)| *code).collect();
    use ErrorCode::*;
    let expected = [
        InvalidSigStruct,
        InvalidAttribute,
        Blkstate,
        InvalidMeasurement,
        Notblockable,
        PgInvld,
        EpcPageConflict,
        InvalidSignature,
        MacCompareFail,
        PageNotBlocked,
        NotTracked,
        VaSlotOccupied,
        ChildPresent,
        EnclaveAct,
        InvalidEinittoken,
        PrevTrkIncmpl,
        PgIsSecs,
        PageAttributesMismatch,
        PageNotModifiable,
        PageNotDebuggable,
        InvalidCpusvn,
        InvalidIsvsvn,
        InvalidKeyname,
        TrackNotRequired,
        PgNonepc,
    ];
    for code in expected.map(|code| code as u64) {
        assert!(
            codes.contains(&code),
            "code {code} never occurred: {codes:?}"
        );
    }
    for leaf in Encls::ALL {
        let name = format!("{leaf:?}");
        assert!(
            seen.faults.contains(&(name.clone(), Fault::GP)),
            "{name} never raised #GP"
        );
    }
}
