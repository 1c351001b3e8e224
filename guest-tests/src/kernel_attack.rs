//! What must not work: domain 0's kernel reaching memory that is not its own by a mapping of its own. Such an access
//! reads ones and changes nothing. Each attempt stands beside the same one on memory that nobody protects.
//!
//! The boot has the RAM disk driver `brd`, whose copies the CPU makes, and `iomem=relaxed`, which opens `/dev/mem`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adyton::{Flags, Pages, Pool};
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::fixture::{Running, agent, pool};
use crate::raw;

pub const TESTS: &[crate::Test] = &[
    ("kernel-disk-write", disk_write),
    ("kernel-disk-read", disk_read),
    ("kernel-physical-memory", physical_memory),
    ("kernel-pipe", pipe),
    ("kernel-monitor-memory", monitor_memory),
    ("kernel-while-carved", while_carved),
];

const PAGE: usize = 4096;
const PATTERN: u8 = 0x5a;
const ONES: u8 = 0xff;
/// What writes that must be dropped would leave.
const WRITTEN: u8 = 0x33;

/// A domain, some pages of its memory, and a page beside them that nobody took, full of the pattern.
struct Scene {
    running: Running,
    carved: [u64; 4],
    open: Pages,
    sum: u64,
}

fn scene() -> Result<Scene> {
    let mut running = agent(Flags::CONFIDENTIAL)?;
    // The private memory was the first that the claim gave away, behind its first page.
    let first = running.claim.address() + PAGE as u64;
    let carved = core::array::from_fn(|number| first + (number * PAGE) as u64);
    let open = running.claim.pages(PAGE as u64)?;
    (0..PAGE as u64 / 8).for_each(|word| open.store(8 * word, u64::from_le_bytes([PATTERN; 8])));
    let sum = sum(&mut running)?;
    Ok(Scene {
        running,
        carved,
        open,
        sum,
    })
}

fn sum(running: &mut Running) -> Result<u64> {
    let base = running.loaded.plan.private.base;
    Ok(running.ask([7, base, 4 * PAGE as u64 / 8, 0, 0, 0])?[0])
}

impl Scene {
    fn unchanged(mut self) -> Result<()> {
        let sum = sum(&mut self.running)?;
        ensure!(sum == self.sum, "the domain's memory changed");
        Ok(())
    }

    fn physical(&self, address: u64) -> Result<u64> {
        let base = self.running.pool.environment().base();
        Ok(start(&self.running.pool)? + (address - base))
    }
}

/// The physical address of the pool, as root finds it in sysfs.
pub fn start(pool: &Pool) -> Result<u64> {
    let name = pool.device().path.file_name().context("no name")?;
    let path = format!(
        "/sys/bus/dax/devices/{}/resource",
        name.to_string_lossy().trim()
    );
    let text = fs::read_to_string(&path).context(path)?;
    hexadecimal(text.trim().trim_start_matches("0x"))
}

fn hexadecimal(text: &str) -> Result<u64> {
    Ok(u64::from_str_radix(text, 16)?)
}

fn is_all(bytes: &[u8], value: u8) -> Result<()> {
    match bytes.iter().position(|byte| *byte != value) {
        None => Ok(()),
        Some(place) => bail!("byte {place} is {:#x}, not {value:#x}", bytes[place]),
    }
}

/// A RAM disk, opened so that data goes between it and the program's memory without another copy.
fn disk() -> Result<File> {
    let mut modprobe = Command::new("modprobe");
    let status = modprobe.args(["brd", "rd_nr=1", "rd_size=4096"]).status()?;
    ensure!(status.success(), "modprobe brd failed");
    let mut options = File::options();
    options.read(true).write(true);
    let disk = options.custom_flags(OFlag::O_DIRECT.bits());
    Ok(disk.open("/dev/ram0")?)
}

/// What the first page of the disk holds.
fn on_disk(disk: &File) -> Result<Vec<u8>> {
    let page = raw::anonymous_page()?;
    rewind(disk)?;
    ensure!(
        raw::read_into(disk, page, PAGE) == Ok(PAGE),
        "the disk does not read"
    );
    Ok(bytes_at(page))
}

fn bytes_at(page: u64) -> Vec<u8> {
    let words = (page..page + PAGE as u64).step_by(8);
    words.flat_map(|at| raw::load(at).to_le_bytes()).collect()
}

fn rewind(mut file: &File) -> Result<()> {
    std::io::Seek::rewind(&mut file)?;
    Ok(())
}

/// The kernel's copy to the disk reads the domain's memory.
fn disk_write() -> Result<()> {
    let scene = scene()?;
    let disk = disk()?;
    ensure!(raw::write_from(&disk, scene.open.address(), PAGE) == Ok(PAGE));
    is_all(&on_disk(&disk)?, PATTERN).context("the control")?;
    for carved in scene.carved {
        rewind(&disk)?;
        ensure!(raw::write_from(&disk, carved, PAGE) == Ok(PAGE));
        is_all(&on_disk(&disk)?, ONES).context("the domain's memory on the disk")?;
    }
    scene.unchanged()
}

/// The kernel's copy from the disk writes to the domain's memory.
fn disk_read() -> Result<()> {
    let scene = scene()?;
    let disk = disk()?;
    let page = raw::anonymous_page()?;
    (0..PAGE as u64)
        .step_by(8)
        .for_each(|at| raw::store(page + at, 0x7777_7777_7777_7777));
    ensure!(raw::write_from(&disk, page, PAGE) == Ok(PAGE));
    for address in [scene.open.address()].into_iter().chain(scene.carved) {
        rewind(&disk)?;
        ensure!(raw::read_into(&disk, address, PAGE) == Ok(PAGE));
    }
    is_all(&bytes_at(scene.open.address()), 0x77).context("the control")?;
    // What was dropped is not found again by the next access either.
    rewind(&disk)?;
    ensure!(raw::write_from(&disk, scene.carved[0], PAGE) == Ok(PAGE));
    is_all(&on_disk(&disk)?, ONES).context("what was dropped")?;
    scene.unchanged()
}

fn memory() -> Result<File> {
    let mut options = File::options();
    let memory = options.read(true).write(true).open("/dev/mem");
    memory.context("/dev/mem")
}

/// `/dev/mem`: the kernel makes a mapping for the access, and a mapping of the program's own.
fn physical_memory() -> Result<()> {
    let scene = scene()?;
    let memory = memory()?;
    let mut bytes = [0; PAGE];
    let open = scene.physical(scene.open.address())?;
    memory.read_exact_at(&mut bytes, open)?;
    is_all(&bytes, PATTERN).context("the control")?;
    memory.write_all_at(&[WRITTEN; 24], open + 8)?;
    ensure!(
        scene.open.load(16) == u64::from_le_bytes([WRITTEN; 8]),
        "the control was not written"
    );
    for carved in scene.carved {
        let carved = scene.physical(carved)?;
        // Of every size that the copies are made in.
        for (offset, length) in [(0, PAGE), (1, 1), (2, 2), (12, 4), (3, 37)] {
            bytes.fill(0);
            let part = &mut bytes[..length];
            memory.read_exact_at(part, carved + offset)?;
            is_all(part, ONES).context("the domain's memory")?;
            memory.write_all_at(&vec![WRITTEN; length], carved + offset)?;
            memory.read_exact_at(part, carved + offset)?;
            is_all(part, ONES).context("what was written")?;
        }
        let mapped = raw::map(&memory, carved, PAGE as u64, true)?;
        let end = raw::in_copy(|| raw::load(mapped) as i32 & 1)?;
        ensure!(faults(end), "a load by a mapping ended with {end:?}");
    }
    scene.unchanged()
}

pub fn faults(end: WaitStatus) -> bool {
    matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _))
}

/// A pipe that was lent the domain's memory: one instruction of the kernel's copy has the domain's memory as its source,
/// and a program's memory as its destination, which may fault in turn.
fn pipe() -> Result<()> {
    let scene = scene()?;
    let read = |source: u64, destination: u64| -> Result<nix::Result<usize>> {
        let (out, into) = nix::unistd::pipe()?;
        ensure!(raw::lend(into.as_fd().try_clone_to_owned()?, source, PAGE) == Ok(PAGE));
        Ok(raw::read_into(&File::from(out), destination, PAGE))
    };
    let page = raw::untouched_page()?;
    ensure!(read(scene.open.address(), page)? == Ok(PAGE));
    is_all(&bytes_at(page), PATTERN).context("the control")?;
    for destination in [raw::anonymous_page()?, raw::untouched_page()?] {
        ensure!(read(scene.carved[0], destination)? == Ok(PAGE));
        is_all(&bytes_at(destination), ONES).context("the domain's memory")?;
    }
    for source in [scene.carved[0], scene.open.address()] {
        let outcome = read(source, scene.carved[1])?;
        ensure!(
            outcome == Err(Errno::EFAULT),
            "into the domain: {outcome:?}"
        );
    }
    scene.unchanged()
}

/// The physical addresses of the memory that Linux uses as it likes, in order; the end of the last is above the pool.
pub fn used_ranges() -> Result<Vec<std::ops::Range<u64>>> {
    let map = fs::read_to_string("/proc/iomem")?;
    let used = map.lines().filter_map(range);
    let used = used.filter(|(_, what)| *what == "System RAM");
    // Whole pages, as the kernel counts them: what a loader handed over may lie between, within a page.
    let page = PAGE as u64;
    let whole = used.map(|(range, _)| range.start.next_multiple_of(page)..range.end / page * page);
    Ok(whole.filter(|range| !range.is_empty()).collect())
}

/// What Linux takes for reserved and is the monitor's: the large ranges below the end of memory.
fn hidden_ranges() -> Result<Vec<std::ops::Range<u64>>> {
    const LEAST: u64 = 4 << 20;
    let map = fs::read_to_string("/proc/iomem")?;
    let ranges: Vec<_> = map.lines().filter_map(range).collect();
    let ram_end = ranges.iter().filter(|(_, what)| *what == "System RAM");
    let ram_end = ram_end
        .map(|(range, _)| range.end)
        .filter(|end| *end < 4 << 30);
    let ram_end = ram_end.max().context("no memory below 4 GiB")?;
    let hidden = ranges.into_iter().filter(|(range, what)| {
        *what == "Reserved" && range.end - range.start >= LEAST && range.start < ram_end
    });
    Ok(hidden.map(|(range, _)| range).collect())
}

/// The physical address of a page of the monitor's.
pub(crate) fn hidden_memory() -> Result<u64> {
    let ranges = hidden_ranges()?;
    let first = ranges.first().context("nothing is hidden")?;
    Ok(first.start + 64 * PAGE as u64)
}

/// The monitor's own memory is in no domain: it looks like memory that is not there.
fn monitor_memory() -> Result<()> {
    let memory = memory()?;
    let mut seen = 0;
    for range in hidden_ranges()? {
        let step = (range.end - range.start) / 64;
        for place in range.clone().step_by(step as usize) {
            let mut bytes = [0; 64];
            let place = place & !63;
            memory.write_all_at(&bytes, place)?;
            memory.read_exact_at(&mut bytes, place)?;
            is_all(&bytes, ONES).with_context(|| format!("at {place:#x}"))?;
        }
        let mapped = raw::map(&memory, range.start, PAGE as u64, true)?;
        let end = raw::in_copy(|| raw::load(mapped) as i32 & 1)?;
        ensure!(faults(end), "a load by a mapping ended with {end:?}");
        seen += 1;
    }
    ensure!(seen > 0, "nothing is hidden");
    Ok(())
}

/// A line of `/proc/iomem`, of any depth.
pub fn range(line: &str) -> Option<(std::ops::Range<u64>, &str)> {
    let (range, what) = line.trim().split_once(" : ")?;
    let (start, last) = range.split_once('-')?;
    let (start, last) = (hexadecimal(start).ok()?, hexadecimal(last).ok()?);
    Some((start..last + 1, what))
}

/// Memory that several cores look at while it is taken and given back.
struct Contested {
    memory: File,
    /// Physical address of the pool.
    start: u64,
    /// Physical address of a page that is a domain's; none while there is no domain.
    taken: Mutex<Option<u64>>,
    is_over: AtomicBool,
}

/// What a domain keeps, and where in its page: further back than anything in the exit page, by which it gets there.
const SECRET: u64 = 0x5ec2_e700_feed_beef;
const SECRET_OFFSET: u64 = 4000;

impl Contested {
    /// Reads the beginning of the pool until it is over, and writes to what is a domain's. How many reads found ones, and
    /// how many something else.
    fn attack(&self, core: usize) -> Result<[u64; 2]> {
        raw::stay_on(core)?;
        let mut counts = [0; 2];
        let mut bytes = [0; 16];
        while !self.is_over.load(Ordering::Relaxed) {
            for page in 0..64 {
                let place = self.start + page * PAGE as u64 + SECRET_OFFSET;
                self.memory.read_exact_at(&mut bytes, place)?;
                ensure!(
                    !bytes.starts_with(&SECRET.to_le_bytes()),
                    "the secret was read"
                );
                counts[usize::from(is_all(&bytes, ONES).is_err())] += 1;
            }
            if let Some(place) = *self.taken.lock().expect("no panic") {
                self.memory.write_all_at(&[WRITTEN; 64], place)?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(counts)
    }

    /// One domain, from its beginning to its end.
    fn round(&self) -> Result<()> {
        let mut running = agent(Flags::CONFIDENTIAL)?;
        let private = running.loaded.plan.private.base;
        // The far end of the stack is used by nothing.
        let place = running.loaded.plan.entries[0].rsp - (60 << 10) + SECRET_OFFSET;
        let offset = running.claim.address() - running.pool.environment().base();
        let page = self.start + offset + PAGE as u64 + (place - private);
        running.ask([2, place, SECRET, 0, 0, 0])?;
        let before = sum(&mut running)?;
        *self.taken.lock().expect("no panic") = Some(page);
        for _ in 0..20 {
            ensure!(sum(&mut running)? == before, "the domain's memory changed");
            let kept = running.ask([1, place, 0, 0, 0, 0])?[0];
            ensure!(kept == SECRET, "the domain's secret changed");
            std::thread::sleep(Duration::from_millis(1));
        }
        *self.taken.lock().expect("no panic") = None;
        Ok(())
    }
}

/// One core reads and writes through the kernel while another takes the memory and gives it back, again and again.
fn while_carved() -> Result<()> {
    const ROUNDS: usize = 10;
    let contested = Contested {
        memory: memory()?,
        start: start(&pool()?)?,
        taken: Mutex::new(None),
        is_over: AtomicBool::new(false),
    };
    std::thread::scope(|scope| {
        let attackers = [0, 1].map(|core| {
            let contested = &contested;
            scope.spawn(move || contested.attack(core))
        });
        let outcome = (0..ROUNDS).try_for_each(|_| contested.round());
        contested.is_over.store(true, Ordering::Relaxed);
        for attacker in attackers {
            let [ones, others] = attacker.join().expect("no panic")?;
            ensure!(
                ones > 0 && others > 0,
                "{ones} pages of ones, {others} others"
            );
        }
        outcome
    })
}
