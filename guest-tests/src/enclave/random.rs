//! Random leaves on two cores: ENCLS in kernel mode of both, each on pages that the driver does not use, by players that know what they have built and
//! spoil operands now and then; ENCLU by a program and its enclave on the second core; and by a program on the first what no program may. Afterwards the EPCM
//! must say what the players say, a monitor under test finds it in order, and everything can be removed. The leaves by themselves are played with
//! on the host (`sgx/tests/leaves/random`); this is the machine around them.
//!
//! `ADYTON_ROUNDS` plays more, `ADYTON_SEED` the same again, as far as two cores can.
#![allow(unsafe_code)]

mod game;
mod gates;
mod inside;
mod knowledge;
mod operands;
mod outside;
mod running;
mod tally;

use adyton::Environment;
use adyton_player::Dice;
use anyhow::{Context, Result, ensure};

use super::abuse::{Victim, epc_pages, put_physical};
use super::image::{Attributes, Image, PAGE};
use super::{image, physical_pages, place, signature};
use crate::fixture::{Selfcheck, selfcheck};
use crate::random::setting;
use crate::{kernel_mode, raw};
use game::{Game, PAGES, Purpose, ROOMS};
use inside::{ADDED, CHANGED, Change, FIRST_ADDED, Player};
use running::{Running, SPARES};
use tally::Row;

pub(crate) const TESTS: &[crate::Test] = &[("enclave-random-leaves", random_leaves)];

/// Leaves of ENCLS that each core plays, unless `ADYTON_ROUNDS` says otherwise.
const ROUNDS: u64 = 20_000;
/// Of them in one visit to kernel mode, with interrupts off all the while.
const VISIT: u64 = 500;
/// Leaves that are played between two visits, inside and by the program outside.
const BETWEEN: u64 = 40;

/// Pages of a player's memory by number.
mod memory {
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
    /// A SIGSTRUCT with another signature than its signer's.
    pub const WRONG_SIGNATURE: u64 = 8;
    /// A token that says that it is one.
    pub const WRONG_TOKEN: u64 = 9;
    /// Rooms of two pages: contents and PCMD.
    pub const ROOMS: u64 = 10;
}

/// MRENCLAVE of what the player creates, without pages or with the first, of which nothing but its place is measured.
fn measurement(with_page: bool) -> [u8; 32] {
    let image = Image {
        size: game::SIZE,
        base: None,
        frame_pages: 1,
        attributes: Attributes::PLAIN,
        pages: Vec::new(),
        heap: with_page.into(),
    };
    image.measurement()
}

/// A player's memory, with what it signs enclaves with.
fn players_memory() -> Result<u64> {
    let size = (memory::ROOMS + 2 * ROOMS as u64) * PAGE as u64;
    let start = raw::anonymous(size)?;
    for at in (start..start + size).step_by(8) {
        raw::store(at, 0);
    }
    let put = |page: u64, bytes: &[u8]| {
        for (word, number) in bytes.chunks_exact(8).zip(0..) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            raw::store(start + page * PAGE as u64 + 8 * number, word);
        }
    };
    let mut debug = Attributes::PLAIN;
    debug.flags |= Attributes::DEBUG;
    let kinds = [false, true]
        .into_iter()
        .flat_map(|with_page| [Attributes::PLAIN, debug].map(|attributes| (with_page, attributes)));
    for ((with_page, attributes), page) in kinds.zip(memory::SIGNATURES..) {
        put(page, &signature::sign(&measurement(with_page), attributes));
    }
    // SIGNATURE begins at 516 (table 35-23); bit 0 of EINITTOKEN is VALID.
    let mut wrong = signature::sign(&measurement(true), Attributes::PLAIN);
    wrong[600] ^= 1;
    put(memory::WRONG_SIGNATURE, &wrong);
    put(memory::WRONG_TOKEN, &1_u64.to_le_bytes());
    Ok(start)
}

/// Maps so many pages of the EPC from the end, where the driver takes pages last, before `before` others.
fn windows<const COUNT: usize>(before: usize) -> Result<[u64; COUNT]> {
    let all = epc_pages()?;
    let first = all.len().checked_sub(before + COUNT).context("an EPC")?;
    let mut windows = [0; COUNT];
    for (window, page) in windows.iter_mut().zip(&all[first..]) {
        *window = put_physical(*page, None)?;
    }
    Ok(windows)
}

/// The enclave that runs, as the players see it, and what its kernel does for it.
fn running(victim: &Victim) -> Result<(Running, Box<Change>)> {
    let data = physical_pages(&victim.enclave, place::DATA, place::DATA_PAGES)?;
    let operands = raw::anonymous_page()?;
    let first = victim.enclave.page(place::DATA);
    let secs = put_physical(running::secs(first, operands)?, None)?;
    let mut spares = [0; SPARES];
    for (spare, page) in spares.iter_mut().zip(data.iter().rev()) {
        *spare = put_physical(*page, None)?;
    }
    let pages = windows::<ADDED>(2 * PAGES)?;
    let all = epc_pages()?;
    let physical = &all[all.len() - 2 * PAGES - ADDED..];
    let mut added = [[0; 2]; ADDED];
    for ((pair, page), number) in added.iter_mut().zip(pages).zip(0..) {
        let address = victim.enclave.page(FIRST_ADDED + number);
        put_physical(physical[number as usize], Some(address))?;
        // So that it is mapped; from outside it reads ones.
        ensure!(raw::load(address) == u64::MAX && raw::load(page) == u64::MAX);
        *pair = [page, address];
    }
    let seen = Running {
        secs,
        spares,
        is_elsewhere: false,
    };
    let change = Change {
        memory: operands,
        secs,
        restricted: std::array::from_fn(|number| first + (number * PAGE) as u64),
        added,
        is_last: false,
        gates: [[0; 2]; 256],
    };
    const { assert!(CHANGED + SPARES < place::DATA_PAGES as usize) };
    Ok((seen, Box::new(change)))
}

/// Sends a player to kernel mode.
fn send(game: &mut Game, purpose: Purpose) -> Result<()> {
    game.purpose = purpose;
    kernel_mode::run(game::visit, &raw mut *game as u64)
}

fn random_leaves() -> Result<()> {
    let rounds = setting("ADYTON_ROUNDS").unwrap_or(ROUNDS);
    let entropy = || adyton::Linux::without_memory().map(|place| place.entropy());
    let seed = setting("ADYTON_SEED").map_or_else(entropy, Ok)?;
    println!("ADYTON_SEED={seed:#x}");
    outside::prepare()?;
    // The driver sets the registers of launch control of each core to the tests' signer when it initializes an enclave there.
    raw::stay_on(1)?;
    let victim = Victim::new()?;
    raw::stay_on(0)?;
    let witness = Victim::new()?;
    let data = witness.enclave.page(place::DATA);
    ensure!(witness.word(data)? == 1);
    let (seen, change) = running(&victim)?;
    let [ours, theirs] = [windows(0)?, windows(PAGES)?];
    let elsewhere = Running {
        is_elsewhere: true,
        ..seen
    };
    let first = Game::new(Dice::new(seed), ours, theirs, elsewhere, players_memory()?);
    let second = Game::new(Dice::new(!seed), theirs, ours, seen, players_memory()?);
    let mut games = [first, second].map(Box::new);
    for game in &mut games {
        send(game, Purpose::Control)?;
        ensure!(
            game.is_noticing,
            "a page that nobody was told of: unnoticed"
        );
    }
    let mut player = Player {
        victim: &victim,
        dice: Dice::new(seed ^ 1),
        change,
        rows: Default::default(),
        refused: Row::default(),
    };
    let [first, second] = &mut games;
    let addresses = [
        ours[0],
        seen.secs,
        victim.enclave.page(place::TCS),
        data,
        0x1000,
    ];
    let refused = std::thread::scope(|scope| {
        let thread = scope.spawn(|| with_enclave(second, &mut player, rounds));
        let outside = with_program(first, &addresses, Dice::new(seed ^ 2), rounds);
        thread.join().expect("no panic")?;
        outside
    })?;
    let [built, enclaves] = audit()?;
    ensure!(built > 0 && enclaves >= 2, "{enclaves} enclaves");
    audit_is_sharp()?;
    player.end()?;
    for game in &mut games {
        send(game, Purpose::End)?;
        let wrong = game.wrong;
        ensure!(wrong == 0, "the EPCM is not what was built: {wrong:#x}");
    }
    // What is left are the driver's two.
    let [left, enclaves] = audit()?;
    ensure!(left <= built && enclaves == 2, "{enclaves} enclaves");
    ensure!(witness.word(data)? == 1, "the driver's enclave has changed");
    image_loads()?;
    judge(&games, &player, refused)
}

/// The second core: kernel mode, and the program with its enclave, by turns.
fn with_enclave(game: &mut Game, player: &mut Player<'_>, rounds: u64) -> Result<()> {
    raw::stay_on(1)?;
    for visit in 0..rounds.div_ceil(VISIT) {
        if visit % 4 == 0 {
            player.stay();
        }
        send(game, Purpose::Play(VISIT))?;
        player.play(BETWEEN)?;
    }
    Ok(())
}

/// The first core: kernel mode, and a program that tries what it may not, by turns.
fn with_program(
    game: &mut Game,
    addresses: &[u64],
    mut dice: Dice,
    rounds: u64,
) -> Result<[Row; 2]> {
    let mut rows = [Row::default(); 2];
    let [encls, enclu] = &mut rows;
    for _ in 0..rounds.div_ceil(VISIT) {
        send(game, Purpose::Play(VISIT))?;
        for _ in 0..BETWEEN {
            outside::play(&mut dice, addresses, encls, enclu);
        }
    }
    Ok(rows)
}

fn judge(games: &[Box<Game>; 2], player: &Player<'_>, [encls, enclu]: [Row; 2]) -> Result<()> {
    let [first, second] = games;
    let mut leaves = Vec::new();
    for (leaf, (row, other)) in first.rows.iter().zip(&second.rows).enumerate() {
        let mut row = *row;
        row.add(other);
        leaves.push((format!("ENCLS {leaf:#x}"), row));
    }
    for (leaf, row) in player
        .rows
        .iter()
        .enumerate()
        .filter(|(leaf, _)| *leaf != 8)
    {
        leaves.push((format!("ENCLU {leaf}"), *row));
    }
    let mut in_kernel_mode = first.refused;
    in_kernel_mode.add(&second.refused);
    let refused = [
        ("no leaf of ENCLS, or ENCLU, in kernel mode", in_kernel_mode),
        ("no leaf of ENCLU, inside", player.refused),
        ("ENCLS in user mode", encls),
        ("ENCLU outside", enclu),
    ];
    tally::judge(&leaves, &refused)
}

/// A monitor under test finds the EPCM in order, and nobody inside: how many pages and enclaves there are.
fn audit() -> Result<[u64; 2]> {
    let [kind, pages, enclaves, threads, ..] = selfcheck(Selfcheck::AuditEnclaves, 0)?;
    ensure!(kind == 0, "page {pages} of the EPC is wrong: {kind}");
    println!("{pages} pages of {enclaves} enclaves are in order");
    ensure!(threads == 0, "{threads} threads");
    Ok([pages, enclaves])
}

/// It does not while a leaf's claim is left on a page.
fn audit_is_sharp() -> Result<()> {
    const CLAIMED: u64 = 1;
    let last = epc_pages()?.len() as u64 - 1;
    selfcheck(Selfcheck::HoldPage, last + 1)?;
    let found = selfcheck(Selfcheck::AuditEnclaves, 0)?;
    selfcheck(Selfcheck::HoldPage, 0)?;
    ensure!(
        found[..2] == [CLAIMED, last],
        "a claim that was left: {found:?}"
    );
    Ok(())
}

/// The driver goes on.
fn image_loads() -> Result<()> {
    let victim = Victim::new()?;
    let last = image(Attributes::PLAIN).pages.len() as u64 - 1;
    let word = victim.word(victim.enclave.page(last))?;
    ensure!(word == place::DATA_PAGES, "a new enclave reads {word:#x}");
    Ok(())
}
