//! Random calls that are right often enough to lead somewhere (`player/`): none may end the monitor, nothing may be lost, and
//! afterwards the monitor agrees with itself.
//!
//! They are made where an attacker stands: in user mode on two cores at once, in kernel mode with interrupts off, inside a domain.

mod judgement;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use adyton::abi::enclave::REPORT_SIZE;
use adyton::convention::{FINISHED, PAYLOAD};
use adyton::devices::Holder;
use adyton::{Environment, Exit, Flags, Function, Linux, Monitor, Pool, READ_WRITE};
use adyton_player::{Dice, Ground, Player, Tally, World};
use anyhow::{Result, bail, ensure};

use self::judgement::{Complete, judge};
use crate::device::assigned::nvme_function;
use crate::enclave::evidence::any_report;
use crate::fixture::{audit, build_with, pool};
use crate::whole_core::Offline;
use crate::{attempt, kernel_mode, machine, raw};

pub(crate) const TESTS: &[crate::Test] = &[
    ("random-calls", random_calls),
    ("random-calls-on-two-cores", random_calls_on_two_cores),
    ("random-calls-in-kernel-mode", random_calls_in_kernel_mode),
    ("random-calls-inside", random_calls_inside),
    ("random-calls-everywhere", random_calls_everywhere),
    (
        "random-calls-on-a-whole-machine",
        random_calls_on_a_whole_machine,
    ),
];

/// Bytes of each range that is claimed and released all the time.
const RANGE: u64 = 2 << 20;
const RANGES: u64 = 3;
/// Calls of one player in a test of CI; `ADYTON_ROUNDS` says otherwise.
const ROUNDS: u32 = 20_000;
/// Calls that one visit to kernel mode makes, with interrupts off all the while.
const VISIT: u32 = 500;
/// The first word of a payload's exit that reports.
const TALLY: u64 = PAYLOAD + 1;

/// What a domain that plays may do.
const ALL_FLAGS: Flags = Flags::CONFIDENTIAL
    .union(Flags::MAY_COMPOSE)
    .union(Flags::MAY_ACCEPT)
    .union(Flags::MAY_ATTEST);

/// What the environment says, a number in decimal or hexadecimal.
pub(crate) fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn rounds() -> u32 {
    setting("ADYTON_ROUNDS").map_or(ROUNDS, |rounds| rounds as u32)
}

/// A new seed, or the one that `ADYTON_SEED` gives, to play the same calls again.
fn seed(pool: &Pool) -> u64 {
    let seed = setting("ADYTON_SEED").unwrap_or_else(|| pool.environment().entropy());
    println!("ADYTON_SEED={seed:#x}");
    seed
}

/// What the players know, one at a time. A mutex alone would ask Linux to wake who waits for it, which code in kernel mode cannot: whoever
/// has it taken finds the mutex free, and leaves nobody behind that waits in it.
struct Knowledge {
    is_taken: AtomicBool,
    world: Mutex<World>,
}

impl Knowledge {
    const fn new() -> Self {
        Self {
            is_taken: AtomicBool::new(false),
            world: Mutex::new(World::new()),
        }
    }

    /// None while another player has it.
    fn try_with<R>(&self, act: impl FnOnce(&mut World) -> R) -> Option<R> {
        if self.is_taken.swap(true, Ordering::Acquire) {
            return None;
        }
        let result = act(&mut self.world.try_lock().expect("nobody else has it"));
        self.is_taken.store(false, Ordering::Release);
        Some(result)
    }

    /// Waits for it, in user mode.
    fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut act = Some(act);
        loop {
            let attempt = self.try_with(|world| act.take().map(|act| act(world)));
            match attempt.flatten() {
                Some(result) => return result,
                None => std::thread::yield_now(),
            }
        }
    }
}

/// What a machine must have so that every call can succeed, beside a boot that was measured.
struct Whole {
    /// A PCI function that nobody drives, and its registers.
    function: Function,
    registers: Linux,
    /// A REPORT for the monitor.
    report: &'static [u8; REPORT_SIZE],
    /// A core that Linux does without.
    core: Offline,
}

impl Whole {
    fn new() -> Result<Self> {
        let function = nvme_function()?;
        function.unbind()?;
        Ok(Self {
            registers: function.map()?,
            function,
            report: Box::leak(Box::new(any_report()?)),
            core: Offline::of(2)?,
        })
    }
}

/// What several players share.
struct Table {
    pool: Pool,
    world: Knowledge,
    ground: Ground,
    before: Monitor,
}

impl Table {
    fn new(whole: Option<&Whole>) -> Result<Self> {
        let pool = pool()?;
        pool.collect()?;
        let before = Monitor::ask()?;
        // The end of the pool: whoever claims for himself takes from the beginning.
        let base = pool.environment().base() + pool.size() - RANGES * RANGE;
        // Nothing faults later, where a fault would be the kernel's.
        (0..RANGES).for_each(|range| raw::store(base + range * RANGE, 0));
        let ground = Ground {
            base,
            ranges: RANGES,
            size: RANGE,
            ordinary: ordinary()?,
            answers: Some(answers()?),
            report: whole.map(|whole| whole.report),
            device: whole.map(|whole| (whole.function.number.into(), whole.registers.base())),
            long: long(&pool).ok(),
            unmapped: Some(0x1000),
            is_inside: false,
        };
        attempt::skip_faulting_calls()?;
        Ok(Self {
            pool,
            world: Knowledge::new(),
            ground,
            before,
        })
    }

    fn player(&self, seed: u64) -> Player {
        Player {
            ground: self.ground,
            dice: Dice::new(seed),
            tally: Tally::new(),
        }
    }

    /// Plays in user mode.
    fn play(&self, player: &mut Player, rounds: u32) {
        for _ in 0..rounds {
            let request = self.world.with(|world| player.choose(world));
            player.ask(&request, raw::store);
            let response = self.pool.environment().call(&request);
            self.world
                .with(|world| player.learn(world, &request, &response));
        }
    }

    /// The monitor agrees with itself while all that was made still stands, and when all of it is gone; and nothing was lost.
    fn end(&self) -> Result<()> {
        let pages = audit()?;
        println!("audited {pages} pages");
        self.pool.collect()?;
        audit()?;
        let after = Monitor::ask()?;
        let same = (after.claimed, after.quota) == (self.before.claimed, self.before.quota);
        ensure!(same, "{:?}, then {after:?}", self.before);
        Ok(())
    }
}

/// Some pages of this process that follow each other in its address space only.
fn ordinary() -> Result<(u64, u64)> {
    const PAGES: u64 = 16;
    let base = raw::anonymous_in_small_pages(PAGES * 4096)?;
    // Every other one first, so that neighbours get frames that are none.
    let order = (0..PAGES).step_by(2).chain((1..PAGES).step_by(2));
    order.for_each(|page| raw::store(base + page * 4096, 1));
    Ok((base, PAGES * 4096))
}

/// Some more of them, all there.
fn answers() -> Result<(u64, u64)> {
    const SIZE: u64 = 128 << 10;
    let base = raw::anonymous_in_small_pages(SIZE + 4096)?;
    (0..=SIZE)
        .step_by(4096)
        .for_each(|offset| raw::store(base + offset, 0));
    Ok((base, SIZE))
}

/// The pool, mapped by small pages, more of them than one call looks at.
fn long(pool: &Pool) -> Result<(u64, u64)> {
    const SIZE: u64 = RANGES * RANGE;
    // The players' own ranges: whoever has a claim's memory mapped may release it.
    let end = crate::kernel_attack::start(pool)? + pool.size();
    Ok((machine::map_physical(end - SIZE, SIZE)?, SIZE))
}

fn random_calls() -> Result<()> {
    let table = Table::new(None)?;
    let mut player = table.player(seed(&table.pool));
    table.play(&mut player, rounds());
    judge(&player.tally, Complete::No)?;
    table.end()
}

/// Two threads play with the same claims at once, and meet each other's unfinished calls.
fn random_calls_on_two_cores() -> Result<()> {
    let table = Table::new(None)?;
    let seed = seed(&table.pool);
    let tally = on_two_cores(&table, seed, |player, rounds, _| {
        table.play(player, rounds);
        Ok(())
    })?;
    judge(&tally, Complete::No)?;
    table.end()
}

fn on_two_cores(
    table: &Table,
    seed: u64,
    play: impl Fn(&mut Player, u32, usize) -> Result<()> + Sync,
) -> Result<Tally> {
    let one = |core: usize| -> Result<Tally> {
        raw::stay_on(core)?;
        let mut player = table.player(seed ^ (core as u64) << 40);
        play(&mut player, rounds(), core)?;
        Ok(player.tally)
    };
    let tallies = std::thread::scope(|scope| {
        let threads = [0, 1].map(|core| scope.spawn(move || one(core)));
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let mut all = Tally::new();
    for tally in tallies {
        all.add_words(&tally?.words());
    }
    Ok(all)
}

/// What a visit to kernel mode finds.
struct Visit<'a> {
    player: &'a mut Player,
    world: &'a Knowledge,
    place: &'a Linux,
}

/// Plays with interrupts off. Whoever holds the world may wait for this core, so nobody is waited for.
extern "C" fn visit(argument: u64) {
    let visit: &mut Visit<'_> = raw::borrowed(argument);
    for _ in 0..VISIT {
        let _others_turn = visit.world.try_with(|world| {
            let request = visit.player.choose(world);
            visit.player.ask(&request, raw::store);
            let response = visit.place.call(&request);
            visit.player.learn(world, &request, &response);
        });
    }
}

fn play_in_kernel_mode(table: &Table, player: &mut Player, rounds: u32) -> Result<()> {
    player.ground.unmapped = None;
    for _ in 0..rounds.div_ceil(VISIT) {
        let mut it = Visit {
            player,
            world: &table.world,
            place: table.pool.environment(),
        };
        kernel_mode::run(visit, &raw mut it as u64)?;
    }
    player.ground.unmapped = table.ground.unmapped;
    Ok(())
}

fn random_calls_in_kernel_mode() -> Result<()> {
    let table = Table::new(None)?;
    let mut player = table.player(seed(&table.pool));
    play_in_kernel_mode(&table, &mut player, rounds())?;
    judge(&player.tally, Complete::No)?;
    table.end()
}

/// What a domain that plays reports. It drives the function, if nobody else does at some moment.
fn play_inside(seed: u64, rounds: u32, flags: Flags, whole: Option<&Whole>) -> Result<Tally> {
    let (seed, rounds) = (seed.to_string(), rounds.to_string());
    let function = whole.map(|whole| &whole.function);
    let facts = function.map(Function::facts).transpose()?;
    let mut running = build_with("player", &[&seed, &rounds], flags, |program| {
        program.pool = 1 << 20;
        program.heap = 256 << 10;
        program.quota = Some(300);
        program.device = facts.map(|facts| facts.kind());
    })?;
    if let Some(function) = function {
        let place = running.loaded.plan.device().base;
        let is_given = |_| {
            let given = function.assign(running.domain(), place, READ_WRITE).is_ok();
            if !given {
                sleep(Duration::from_millis(20));
            }
            given
        };
        let _without = (0..50).any(is_given);
    }
    running.domain().seal()?;
    let mut words = [0; Tally::WORDS];
    loop {
        match running.vcpu().enter(0)? {
            Exit::Call([PAYLOAD, ..]) => {}
            Exit::Call([TALLY, place, rest @ ..]) => {
                let places = words.iter_mut().skip(place as usize);
                places.zip(rest).for_each(|(place, word)| *place = word);
            }
            Exit::Call([FINISHED, ..]) => break,
            other => bail!("the player left: {other:?}"),
        }
    }
    let mut tally = Tally::new();
    tally.add_words(&words);
    Ok(tally)
}

fn random_calls_inside() -> Result<()> {
    let table = Table::new(None)?;
    let seed = seed(&table.pool);
    let tally = play_inside(seed, rounds(), ALL_FLAGS, None)?;
    judge(&tally, Complete::No)?;
    table.end()
}

fn random_calls_everywhere() -> Result<()> {
    everywhere(None, Complete::OnAnyMachine)
}

/// The same where every call can succeed.
fn random_calls_on_a_whole_machine() -> Result<()> {
    let whole = Whole::new()?;
    everywhere(Some(&whole), Complete::OnWholeMachine)?;
    // Nothing is left of what was given away.
    ensure!(whole.function.facts()?.holder == Holder::System);
    whole.core.end()
}

/// On one core user and kernel mode by turns, on the other user mode and a domain by turns, all with the same claims.
fn everywhere(whole: Option<&Whole>, complete: Complete) -> Result<()> {
    const TURN: u32 = 2000;
    let table = Table::new(whole)?;
    let seed = seed(&table.pool);
    let inside = Mutex::new(Tally::new());
    let (failed, turns) = (AtomicBool::new(false), AtomicU64::new(0));
    let turn = |player: &mut Player, core: usize| -> Result<()> {
        table.play(player, TURN / 2);
        if core == 0 {
            return play_in_kernel_mode(&table, player, TURN / 2);
        }
        let number = turns.fetch_add(1, Ordering::Relaxed);
        // Every other one may do little.
        let flags = [ALL_FLAGS, Flags::CONFIDENTIAL | Flags::MAY_CREATE][number as usize % 2];
        let tally = play_inside(seed ^ number << 20, TURN / 2, flags, whole)?;
        inside.lock().expect("no panic").add_words(&tally.words());
        Ok(())
    };
    let mut tally = on_two_cores(&table, seed, |player, rounds, core| {
        for _ in 0..rounds / TURN {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            let outcome = turn(player, core);
            failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
            outcome?;
        }
        Ok(())
    })?;
    tally.add_words(&inside.lock().expect("no panic").words());
    judge(&tally, complete)?;
    table.end()
}
