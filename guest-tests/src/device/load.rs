//! A disk under load while memory is taken and given back.

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton::Flags;
use anyhow::{Context, Result, ensure};
use nix::fcntl::OFlag;

use crate::fixture::agent;
use crate::raw;

/// Bytes of one transfer.
pub const CHUNK: usize = 64 << 10;
/// How many of them the test goes round in.
const CHUNKS: u64 = 256;

/// How long, in seconds, unless the environment says otherwise.
const DURATION: u64 = 15;

pub(super) fn disk_while_carved() -> Result<()> {
    let disk = disk()?;
    let seconds = std::env::var("ADYTON_SECONDS").map_or(Ok(DURATION), |text| text.parse())?;
    let (ends, transfers) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| keep_busy(&disk, &ends, &transfers));
        let begin = Instant::now();
        let mut rounds = 0;
        let outcome = loop {
            if begin.elapsed() > Duration::from_secs(seconds) || worker.is_finished() {
                break Ok(());
            }
            match come_and_go() {
                Ok(()) => rounds += 1,
                Err(error) => break Err(error),
            }
        };
        ends.store(true, Ordering::Relaxed);
        let worked = worker.join();
        worked.map_err(|_| anyhow::anyhow!("the disk's thread panicked"))??;
        outcome?;
        let transfers = transfers.load(Ordering::Relaxed);
        println!("{rounds} domains, {transfers} transfers");
        ensure!(rounds > 3 && transfers > 20);
        Ok(())
    })
}

/// A domain that is built, entered, and ends.
fn come_and_go() -> Result<()> {
    let running = agent(Flags::CONFIDENTIAL)?;
    running.domain().destroy()?;
    Ok(())
}

/// Waits until something holds, ten seconds at most.
pub fn until(holds: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    while !holds() {
        if begin.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// The disk, opened so that data goes between it and the program's memory without another copy.
///
/// # Errors
/// If there is none.
pub fn disk() -> Result<File> {
    for module in ["virtio_pci", "virtio_blk"] {
        let status = Command::new("modprobe").arg(module).status()?;
        ensure!(status.success(), "modprobe {module} failed");
    }
    let found = until(|| std::path::Path::new("/dev/vda").exists());
    ensure!(found, "there is no disk");
    let mut options = File::options();
    options.read(true).write(true);
    let disk = options.custom_flags(OFlag::O_DIRECT.bits());
    disk.open("/dev/vda").context("/dev/vda")
}

/// Writes and reads back until told to end; what is read must be what was written.
fn keep_busy(disk: &File, ends: &AtomicBool, transfers: &AtomicU64) -> Result<()> {
    let written = buffer()?;
    let seen = buffer()?;
    let mut number = 0;
    while !ends.load(Ordering::Relaxed) {
        let place = number % CHUNKS * CHUNK as u64;
        fill(written, number);
        disk.write_all_at(raw::bytes(written, CHUNK), place)?;
        // What was written in the round before, half the disk away, and what was written now.
        let older = number.checked_sub(CHUNKS / 2);
        for expected in older.into_iter().chain([number]) {
            let place = expected % CHUNKS * CHUNK as u64;
            read_into(disk, seen, place)?;
            fill(written, expected);
            ensure!(
                raw::bytes(seen, CHUNK) == raw::bytes(written, CHUNK),
                "transfer {expected} came back changed"
            );
        }
        number += 1;
        transfers.store(number, Ordering::Relaxed);
    }
    Ok(())
}

/// Reads a chunk into a buffer.
///
/// # Errors
/// What the kernel says.
pub fn read_into(disk: &File, buffer: u64, place: u64) -> Result<()> {
    let mut at = disk;
    std::io::Seek::seek(&mut at, std::io::SeekFrom::Start(place))?;
    let count = raw::read_into(disk, buffer, CHUNK)?;
    ensure!(count == CHUNK, "a read of {count} bytes");
    Ok(())
}

/// Room for a chunk.
///
/// # Errors
/// What the kernel says.
pub fn buffer() -> Result<u64> {
    let buffer = raw::anonymous(CHUNK as u64)?;
    raw::store(buffer, 0);
    Ok(buffer)
}

fn fill(buffer: u64, number: u64) {
    for at in (0..CHUNK as u64).step_by(8) {
        let word = (number << 32 | at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        raw::store(buffer + at, word);
    }
}
