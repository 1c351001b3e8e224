//! How often domain 0 comes out of its guest mode, by reason, while it is idle and while it works.

use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use adyton::{Linux, Monitor};
use anyhow::{Context, Result, ensure};

use crate::meter::{counter, report, reserve_in_use};

/// The reasons, by the number of their counter, see `docs/calls.md`.
const REASONS: [&str; 9] = [
    "cpuid",
    "msr-read",
    "msr-write",
    "port",
    "nested-fault",
    "exception",
    "interrupt",
    "nmi",
    "other",
];

/// What is watched for how long.
const SPAN: Duration = Duration::from_secs(10);

/// How often domain 0 has left for the monitor so far, by reason, on the one core.
pub struct Exits([u64; REASONS.len()]);

impl Exits {
    /// None without a monitor.
    pub fn so_far() -> Option<Self> {
        Monitor::ask().ok()?;
        let place = Linux::without_memory().ok()?;
        let mut counts = [0; REASONS.len()];
        for (number, count) in (0..).zip(&mut counts) {
            *count = counter(&place, number).ok()?;
        }
        Some(Self(counts))
    }

    /// How many of each reason there were since.
    fn since(&self) -> Option<impl Iterator<Item = (&'static str, u64)>> {
        let now = Self::so_far()?.0.into_iter();
        let counts = now.zip(self.0).map(|(now, before)| now - before);
        Some(REASONS.into_iter().zip(counts))
    }

    /// Prints how many there were since in so many of `things`.
    pub fn report_per_thousand(&self, things: &str, number: u64) {
        let mut sum = 0;
        for (reason, count) in self.since().into_iter().flatten() {
            println!("{reason}: {count} in {number} {things}");
            sum += count;
        }
        report(
            &format!("exits-per-1000-{things}"),
            sum * 1000 / number,
            "exits",
        );
    }
}

/// Watches domain 0 do nothing, or ordinary work, on its one core.
pub fn exits(kind: &str) -> Result<()> {
    let place = Linux::without_memory()?;
    if kind == "idle" {
        // No domain has been made yet.
        report("monitor-memory-in-use", reserve_in_use(&place)?, "bytes");
    }
    // What starting this program brought about is over then.
    sleep(Duration::from_secs(1));
    let before = Exits::so_far().context("no monitor counts exits")?;
    let begin = Instant::now();
    if kind == "idle" {
        sleep(SPAN);
    } else {
        while begin.elapsed() < SPAN {
            work()?;
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    let mut sum = 0.0;
    for (reason, count) in before.since().into_iter().flatten() {
        let rate = count as f64 / seconds;
        sum += rate;
        println!("ADYTON-BENCH {kind}-{reason} {rate:.1} exits/s");
    }
    println!("ADYTON-BENCH {kind}-exits {sum:.1} exits/s");
    Ok(())
}

/// Processes, page faults, files and arithmetic.
fn work() -> Result<()> {
    for _ in 0..10 {
        let status = Command::new("/bin/busybox").arg("true").status()?;
        ensure!(status.success(), "busybox true: {status}");
    }
    let memory = vec![1_u8; 16 << 20];
    let path = "/tmp/work";
    fs::write(path, &memory).context("writing a file")?;
    let digest = Command::new("/bin/sha256sum")
        .arg(path)
        .stdout(Stdio::null())
        .status()?;
    ensure!(digest.success(), "sha256sum: {digest}");
    black_box(&memory);
    Ok(())
}
