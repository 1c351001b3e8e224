//! Random calls with arguments that are almost right: none may end the monitor, and nothing may be lost.

use adyton::abi::PAGE_SIZE;
use adyton::abi::call::Call;
use adyton::{Environment, Monitor, Pool, Request};
use anyhow::{Result, ensure};
use nix::sys::wait::WaitStatus;

use crate::fixture::pool;
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("random-calls", random_calls),
    ("random-calls-on-two-cores", random_calls_on_two_cores),
];

const ROUNDS: u32 = 20_000;
/// Bytes of each range that is claimed and released all the time.
const CLAIM: u64 = 2 << 20;
/// Running time of an entry in ticks: whatever a domain of random parts does, it comes back.
const LIMIT: u64 = 200_000;

/// Marsaglia's xorshift: the same sequence for the same seed.
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.word() % bound.max(1)
    }

    /// True once in `times`.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one_of(&mut self, choices: &[u64]) -> u64 {
        let index = self.below(choices.len() as u64) as usize;
        choices.get(index).copied().unwrap_or(0)
    }
}

/// What the calls are made of: names that were right once.
struct Player<'pool> {
    pool: &'pool Pool,
    dice: Dice,
    /// First offset of the ranges that are played with, and how many there are.
    ranges: (u64, u64),
    keys: Vec<[u64; 2]>,
    regions: Vec<u64>,
    sequence: u64,
}

impl Player<'_> {
    fn range(&mut self) -> u64 {
        let (first, count) = self.ranges;
        self.pool.environment().base() + first + self.dice.below(count) * CLAIM
    }

    /// A page of a range; the first few are more likely, so that names meet.
    fn page(&mut self) -> u64 {
        let pages = if self.dice.once_in(4) {
            CLAIM / PAGE_SIZE
        } else {
            12
        };
        self.range() + self.dice.below(pages) * PAGE_SIZE
    }

    fn size(&mut self) -> u64 {
        // Never beyond the range, and so never beyond what is mapped.
        PAGE_SIZE * self.dice.one_of(&[0, 1, 1, 1, 2, 3, 4])
    }

    fn place(&mut self) -> u64 {
        let pages = self.dice.below(16) * PAGE_SIZE;
        pages
            + self.dice.one_of(&[
                0,
                0,
                0,
                1 << 21,
                1 << 30,
                1 << 39,
                (1 << 48) - PAGE_SIZE,
                1 << 63,
                8,
            ])
    }

    fn attributes(&mut self) -> u64 {
        self.dice.one_of(&[
            1, 3, 3, 7, 7, 15, 23, 31, 35, 71, 131, 135, 195, 0, 2, 255, 256,
        ])
    }

    fn region(&mut self) -> u64 {
        let last = self.regions.len().saturating_sub(16);
        let recent: Vec<u64> = self.regions.iter().skip(last).copied().collect();
        if self.dice.once_in(10) {
            self.dice.word()
        } else {
            self.dice.one_of(&recent)
        }
    }

    fn key(&mut self) -> [u64; 2] {
        let last = self.keys.len().saturating_sub(4);
        let index = last + self.dice.below(4) as usize;
        self.keys.get(index).copied().unwrap_or([1, 2])
    }

    /// Number and arguments of the next call.
    fn call(&mut self) -> Request {
        let number = self.dice.below(Call::ALL.len() as u64) as usize;
        let call = Call::ALL.get(number).copied().unwrap_or(Call::Random);
        let [low, high] = self.key();
        let name = self.page();
        let named = |rest: [u64; 5]| {
            let [a, b, c, d, e] = rest;
            [name, low, high, a, b, c, d, e]
        };
        let arguments = match call {
            Call::Claim => [self.range(), CLAIM, 0, 0, 0, 0, 0, 0],
            // Otherwise nothing would ever grow.
            Call::Release if !self.dice.once_in(8) => return self.call(),
            Call::Create => named([
                self.dice.one_of(&[0, 1, 2, 3, 252, 253, 255, 256]),
                self.dice.one_of(&[0, u64::from(u32::MAX), 1 << 8, 1 << 40]),
                self.dice.one_of(&[8, 16, 24, 32, 0, 1 << 40]),
                0,
                0,
            ]),
            Call::Vcpu => named([self.page(), self.place(), self.place(), self.place(), 0]),
            Call::Carve | Call::Share => {
                named([self.page(), self.size(), self.place(), self.attributes(), 0])
            }
            Call::Derive => named([
                self.region(),
                self.size(),
                self.size(),
                self.place(),
                self.attributes(),
            ]),
            Call::Grant => named([self.region(), self.page(), self.place(), 0, 0]),
            Call::Accept => named([
                self.region(),
                self.place(),
                self.size(),
                self.attributes(),
                0,
            ]),
            Call::Close | Call::Revoke => named([self.region(), 0, 0, 0, 0]),
            Call::Enter => named([
                self.dice.below(3),
                self.dice.one_of(&[0, 0, 1, self.sequence]),
                LIMIT,
                0,
                0,
            ]),
            Call::Abandon => named([self.dice.one_of(&[0, 1, u64::MAX]), 0, 0, 0, 0]),
            Call::Cores => named([self.dice.below(2), self.dice.below(4), 0, 0, 0]),
            Call::Enumerate => [
                name,
                self.dice.below(11),
                self.dice.word(),
                self.dice.below(2),
                0,
                0,
                0,
                0,
            ],
            _ => named([self.dice.below(9), self.place(), 0, 0, 0]),
        };
        let token = if self.dice.once_in(50) {
            0
        } else {
            self.dice.word().max(1)
        };
        Request {
            call,
            arguments,
            token,
        }
    }

    /// Makes a call, and learns from its results. Whether it was taken.
    fn play(&mut self) -> bool {
        let request = self.call();
        let response = self.pool.environment().call(&request);
        if response.status != 0 {
            return false;
        }
        let [first, second, ..] = response.results;
        match request.call {
            Call::Claim => self.keys.push([first, second]),
            Call::Carve | Call::Share | Call::Derive | Call::Grant | Call::Cores => {
                self.regions.push(first);
            }
            Call::Enter => self.sequence = second,
            _ => {}
        }
        true
    }
}

/// Plays with a few ranges of the pool, and counts the calls that were taken.
fn play(pool: &Pool, seed: u64, ranges: (u64, u64)) -> u32 {
    let dice = Dice(seed);
    let mut player = Player {
        pool,
        dice,
        ranges,
        keys: Vec::new(),
        regions: Vec::new(),
        sequence: 0,
    };
    (0..ROUNDS).map(|_| u32::from(player.play())).sum()
}

/// A new seed, or the one that `ADYTON_SEED` gives in hexadecimal, to play the same calls again.
fn seed(pool: &Pool) -> u64 {
    let given = std::env::var("ADYTON_SEED").ok();
    let given = given.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    let seed = given.unwrap_or_else(|| pool.environment().entropy());
    println!("seed {seed:#x}");
    seed
}

/// Releases what nobody holds, and compares with how it was.
fn ends_as_it_began(pool: &Pool, before: &Monitor) -> Result<()> {
    pool.collect()?;
    let after = Monitor::ask()?;
    ensure!(
        after.claimed == before.claimed,
        "{} then {}",
        before.claimed,
        after.claimed
    );
    ensure!(
        after.quota == before.quota,
        "{:?} then {:?}",
        before.quota,
        after.quota
    );
    Ok(())
}

fn random_calls() -> Result<()> {
    let pool = pool()?;
    pool.collect()?;
    let before = Monitor::ask()?;
    let taken = play(&pool, seed(&pool), (0, 3));
    println!("{taken} of {ROUNDS} calls were taken");
    ensure!(
        taken > ROUNDS / 50,
        "only {taken} calls were taken: they say little"
    );
    ends_as_it_began(&pool, &before)
}

/// Two processes play with the same ranges at once.
fn random_calls_on_two_cores() -> Result<()> {
    let pool = pool()?;
    pool.collect()?;
    let before = Monitor::ask()?;
    let seed = seed(&pool);
    let child = raw::start_copy(|| i32::from(play(&pool, seed ^ 0x5555, (0, 3)) == 0))?;
    play(&pool, seed, (0, 3));
    let end = nix::sys::wait::waitpid(child, None)?;
    ensure!(matches!(end, WaitStatus::Exited(_, 0)), "{end:?}");
    ends_as_it_began(&pool, &before)
}
