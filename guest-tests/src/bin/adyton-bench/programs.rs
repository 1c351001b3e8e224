//! What an enclave costs the program in it: the same work inside and outside, in one boot.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use adyton_guest_tests::enclave::program::Program;
use adyton_guest_tests::enclave::program::agreement::{REQUEST, work};
use anyhow::{Context, Result, bail, ensure};

use super::meter::{median, now, report};

/// Of the memory-bound work.
const SIZES: [u64; 2] = [8, 32];
/// What other work needs at most.
const SMALL: u64 = 256 << 10;
const KIB: u64 = 1 << 10;

/// Measures all, in `instructions`, which need `-icount`, or in `ns`, which are the emulator's.
pub fn programs(unit: &str) -> Result<()> {
    let unit = match unit {
        "instructions" => Unit::Instructions,
        "ns" => Unit::Nanoseconds,
        other => bail!("no unit {other}"),
    };
    compare("compute", unit, |place| {
        computing(unit, place, SMALL, work::MULTIPLY, [30, 0, 0])
    })?;
    for mebibytes in SIZES {
        let size = mebibytes << 20;
        let name = format!("stream-{mebibytes}-mib");
        compare(&name, unit, |place| {
            computing(unit, place, size, work::STREAM, [size, 32 / mebibytes, 0])
        })?;
        let name = format!("chase-{mebibytes}-mib");
        compare(&name, unit, |place| {
            computing(unit, place, size, work::CHASE, [4_000_000, 0, 0])
        })?;
    }
    for size in [1, 4, 16] {
        let name = format!("answers-of-{size}-kib");
        compare(&name, unit, |place| serving(unit, place, size * KIB))?;
    }
    Ok(())
}

/// What is counted.
#[derive(Clone, Copy)]
enum Unit {
    Instructions,
    Nanoseconds,
}

impl Unit {
    /// What an action takes.
    fn of(self, action: impl FnOnce() -> Result<()>) -> Result<u64> {
        let (ticks, time) = (now(), Instant::now());
        action()?;
        Ok(match self {
            Self::Instructions => now() - ticks,
            Self::Nanoseconds => time.elapsed().as_nanos() as u64,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Nanoseconds => "ns",
        }
    }
}

/// Where a program is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Outside,
}

/// The program, with so much memory.
fn program(place: Place, memory: u64) -> Result<Program> {
    match place {
        Place::Inside => Program::inside(memory),
        Place::Outside => Program::outside(memory),
    }
}

/// Prints what work takes in both places, and the ratio.
fn compare(name: &str, unit: Unit, measure: impl Fn(Place) -> Result<u64>) -> Result<()> {
    let (inside, outside) = (measure(Place::Inside)?, measure(Place::Outside)?);
    report(&format!("{name}-inside"), inside, unit.name());
    report(&format!("{name}-outside"), outside, unit.name());
    let ratio = inside as f64 / outside as f64;
    println!("ADYTON-BENCH {name}-ratio {ratio:.3} times");
    Ok(())
}

/// The median over several rounds of work that asks for nothing, after one that brings all memory into use.
fn computing(
    unit: Unit,
    place: Place,
    memory: u64,
    wanted: u64,
    operands: [u64; 3],
) -> Result<u64> {
    const ROUNDS: usize = 5;
    let mut program = program(place, memory)?;
    // Whatever the work is, the memory is the program's in both places, and holds a way through itself.
    program.run(work::SHUFFLE, [memory, 0, 0])?;
    program.run(wanted, operands)?;
    let rounds: Result<Vec<u64>> = (0..ROUNDS)
        .map(|_| unit.of(|| program.run(wanted, operands).map(drop)))
        .collect();
    Ok(median(rounds?))
}

/// What one answer of this size takes, with all that client, kernel and server do for it.
fn serving(unit: Unit, place: Place, size: u64) -> Result<u64> {
    const ROUNDS: usize = 11;
    const ANSWERS: u64 = 100;
    let mut program = program(place, SMALL)?;
    let (server, client) = connected(size)?;
    let serve = [server.as_raw_fd() as u64, ANSWERS, size];
    let mut rounds = Vec::new();
    for _ in 0..=ROUNDS {
        let round = unit.of(|| {
            let came = program.run(work::SERVE, serve)?;
            ensure!(came == ANSWERS * REQUEST, "{came} bytes of requests");
            Ok(())
        })?;
        rounds.push(round / ANSWERS);
    }
    drop(server);
    client.join().ok().context("the client panicked")?;
    // The first brings everything into use.
    Ok(median(rounds.split_off(1)))
}

/// A connection over loopback whose other end asks for answers of this size, one after the other, until it is closed.
fn connected(size: u64) -> Result<(TcpStream, JoinHandle<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let asking = thread::spawn(move || {
        let mut answer = vec![0; size as usize];
        while client.write_all(&[1; REQUEST as usize]).is_ok()
            && client.read_exact(&mut answer).is_ok()
        {}
    });
    Ok((server, asking))
}
