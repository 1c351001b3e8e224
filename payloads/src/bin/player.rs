//! Plays random calls from inside a domain, and reports what came of them.
//!
//! Arguments: a seed, and how many calls. Afterwards each exit carries [`TALLY`], a position and four numbers of the tally from
//! there on; then it ends. An exit while it plays begins with [`PAYLOAD`].

#![no_std]
#![no_main]

use adyton_player::{Dice, Ground, Player, Tally, World};
use adyton_runtime::abi::PAGE_SIZE;
use adyton_runtime::abi::call::Call;
use adyton_runtime::compose::convention::PAYLOAD;
use adyton_runtime::compose::environment::Environment;
use adyton_runtime::device::Buffer;
use adyton_runtime::exception::{self, Frame, Verdict};
use adyton_runtime::{Domain, Inside, call_parent};

adyton_runtime::entry!(main);

/// First word of an exit that reports.
const TALLY: u64 = PAYLOAD + 1;
/// Bytes of a range.
const RANGE: u64 = 256 << 10;
/// Pages into which calls answer.
const ANSWERS: u64 = 32;
/// The status that stands for a fault.
const FAULTED: u64 = u64::MAX;
/// Bytes of VMMCALL.
const CALL_LENGTH: u64 = 3;
/// #GP and #PF.
const FAULTS: [u64; 2] = [13, 14];

/// Goes on behind the calling instruction, the only one here that faults.
fn skip(frame: &mut Frame) -> Verdict {
    if !FAULTS.contains(&frame.vector) {
        return Verdict::Report;
    }
    frame.rip += CALL_LENGTH;
    frame.general[14] = FAULTED;
    Verdict::Resume
}

fn main(domain: &mut Domain) -> u64 {
    exception::set_handler(skip);
    let seed = domain.number(0).unwrap_or(1);
    let rounds = domain.number(1).unwrap_or(0);
    let pool = domain.pool();
    let answers = Buffer::new(ANSWERS as usize + 1);
    let ground = Ground {
        base: pool.base,
        ranges: (pool.size / RANGE).min(4),
        size: RANGE,
        // Its own start page and what follows: memory, but no pool.
        ordinary: (4 << 20, 4096),
        answers: Some((answers.address(), ANSWERS * PAGE_SIZE)),
        report: None,
        device: domain.device().map(|device| (0, device.address())),
        long: None,
        unmapped: Some(0x1000),
        is_inside: true,
    };
    let mut player = Player {
        ground,
        dice: Dice::new(seed),
        tally: Tally::new(),
    };
    let mut world = World::new();
    for _ in 0..rounds {
        let mut request = player.choose(&world);
        if request.call == Call::Exit {
            request.arguments[0] = PAYLOAD;
        }
        player.ask(&request, |address, word| {
            answers.store((address - answers.address()) as usize / 8, word);
        });
        let response = Inside.call(&request);
        player.learn(&mut world, &request, &response);
    }
    report(&player.tally);
    0
}

fn report(tally: &Tally) {
    let words = tally.words();
    for (index, chunk) in words.chunks(4).enumerate() {
        let mut exit = [TALLY, 4 * index as u64, 0, 0, 0, 0];
        for (word, number) in exit[2..].iter_mut().zip(chunk) {
            *word = *number;
        }
        call_parent(exit);
    }
}
