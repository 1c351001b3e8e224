//! What root tries. Every attempt runs in a copy of this process, first on a page that nobody protects and then on
//! the domain's memory; the copy's end tells what happened.

use std::fs::File;
use std::io::IoSliceMut;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use adyton::Pool;
use adyton_guest_tests::raw;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::screen;

/// Where the attacks aim.
pub struct Aim<'pool> {
    /// The pool that both addresses lie in.
    pub pool: &'pool Pool,
    /// Address of a page that nobody protects; it holds the pattern.
    pub open: u64,
    /// Addresses of the domain's memory.
    pub domain: std::ops::Range<u64>,
    /// What the domain keeps beside its key, and the open page holds too.
    pub pattern: &'pool [u8],
}

const PAGE: usize = 4096;
/// The attempt reached the memory.
const REACHED: i32 = 0;
/// It reached something, but not what the memory holds.
const NOTHING: i32 = 1;
/// The kernel's copy failed: `EFAULT`.
const FAULT: i32 = 2;
/// The kernel took the write; whether it arrived is for the domain to say, which looks afterwards.
const TAKEN: i32 = 3;
/// The attempt could not be made at all.
const IMPOSSIBLE: i32 = 4;

/// One kind of attempt: on an address, and told whether this is the open page.
struct Attempt<'aim> {
    what: &'static str,
    /// Refused by a signal: each page costs a copy of the process, so not every page is tried.
    fatal: bool,
    make: Box<dyn Fn(u64, bool) -> i32 + 'aim>,
}

/// Of the attempts that end their process, one in so many pages is tried.
const STRIDE: usize = 8;

impl Aim<'_> {
    /// Makes every attempt. The control must succeed, the attempt on the domain must not.
    pub fn try_everything(&self) -> Result<()> {
        self.attempts()
            .iter()
            .try_for_each(|attempt| self.try_one(attempt))
    }

    fn attempts(&self) -> Vec<Attempt<'_>> {
        let holds = |bytes: &[u8]| i32::from(!self.found_in(bytes));
        let fatal = |what, make| Attempt {
            what,
            fatal: true,
            make,
        };
        let harmless = |what, make| Attempt {
            what,
            fatal: false,
            make,
        };
        vec![
            fatal(
                "read through the device (mmap)",
                Box::new(move |at, _| holds(&read_mapped(at))),
            ),
            fatal(
                "write through the device (mmap)",
                Box::new(|at, _| write_mapped(at)),
            ),
            harmless(
                "process_vm_readv",
                Box::new(move |at, _| copied(read_by_other_process(at), &holds)),
            ),
            harmless(
                "O_DIRECT, memory to disk",
                Box::new(move |at, _| copied(to_disk(at), &holds)),
            ),
            harmless(
                "O_DIRECT, disk to memory",
                Box::new(|at, open| from_disk(at, open, self.pattern)),
            ),
            harmless(
                "/dev/mem, read",
                Box::new(move |at, _| copied(self.read_physical(at), &holds)),
            ),
            harmless(
                "/dev/mem, write",
                Box::new(|at, open| self.write_physical(at, open)),
            ),
        ]
    }

    fn try_one(&self, attempt: &Attempt<'_>) -> Result<()> {
        let Attempt { what, fatal, make } = attempt;
        let (control, succeeded) = outcome(raw::in_copy(|| make(self.open, true))?);
        ensure!(
            succeeded,
            "{what}: the control on an open page failed: {control}"
        );
        let pages = || self.domain.clone().step_by(PAGE);
        let (said, reached) = if *fatal {
            let ends = pages()
                .step_by(STRIDE)
                .map(|page| raw::in_copy(|| make(page, false)));
            let ends = ends.collect::<Result<Vec<_>>>()?;
            let reached = ends.iter().any(|&end| outcome(end).1);
            (
                ends.first().map_or(String::new(), |&end| outcome(end).0),
                reached,
            )
        } else {
            // The first page that is reached ends the copy; else the last page's outcome stands for all.
            let all = || {
                let outcomes = pages().map(|page| make(page, false));
                outcomes.reduce(i32::min).unwrap_or(IMPOSSIBLE)
            };
            outcome(raw::in_copy(all)?)
        };
        ensure!(!reached, "{what}: reached the domain's memory");
        screen::attempt(what, &control, &said);
        Ok(())
    }

    fn found_in(&self, bytes: &[u8]) -> bool {
        bytes
            .windows(self.pattern.len())
            .any(|window| window == self.pattern)
    }

    /// The physical address of a pool address, as root finds it in sysfs.
    fn physical(&self, address: u64) -> Option<u64> {
        let name = self
            .pool
            .device()
            .path
            .file_name()?
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(format!("/sys/bus/dax/devices/{name}/resource")).ok()?;
        let base = u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()?;
        Some(base + (address - self.pool.environment().base()))
    }

    fn read_physical(&self, address: u64) -> nix::Result<Vec<u8>> {
        let physical = self.physical(address).ok_or(Errno::ENODEV)?;
        let mut bytes = vec![0; PAGE];
        let memory = File::open("/dev/mem").map_err(|_| Errno::EPERM)?;
        let count = memory.read_at(&mut bytes, physical);
        count.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
        Ok(bytes)
    }

    /// Writes elsewhere in the page than where the pattern is looked for.
    fn write_physical(&self, address: u64, open: bool) -> i32 {
        let Some(physical) = self.physical(address) else {
            return IMPOSSIBLE;
        };
        let Ok(memory) = File::options().write(true).open("/dev/mem") else {
            return IMPOSSIBLE;
        };
        let change = [0x66; 8];
        if memory.write_at(&change, physical + 4000).is_err() {
            return FAULT;
        }
        if !open {
            return TAKEN;
        }
        let seen = read_mapped_word(address + 4000);
        i32::from(seen != u64::from_le_bytes(change))
    }
}

/// What the end of a copy says, in words, and whether it reached the memory.
fn outcome(end: WaitStatus) -> (String, bool) {
    match end {
        WaitStatus::Exited(_, REACHED) => ("succeeds".into(), true),
        WaitStatus::Exited(_, NOTHING) => ("reaches nothing".into(), false),
        WaitStatus::Exited(_, FAULT) => ("EFAULT".into(), false),
        WaitStatus::Exited(_, TAKEN) => ("changes nothing".into(), false),
        WaitStatus::Exited(_, IMPOSSIBLE) => ("not possible".into(), false),
        WaitStatus::Signaled(_, Signal::SIGSEGV, _) => ("SIGSEGV".into(), false),
        other => (format!("{other:?}"), false),
    }
}

fn copied(bytes: nix::Result<Vec<u8>>, holds: &dyn Fn(&[u8]) -> i32) -> i32 {
    match bytes {
        Ok(bytes) => holds(&bytes),
        Err(Errno::EFAULT) => FAULT,
        Err(_) => IMPOSSIBLE,
    }
}

fn read_mapped(address: u64) -> Vec<u8> {
    (address..address + PAGE as u64)
        .step_by(8)
        .flat_map(|at| raw::load(at).to_le_bytes())
        .collect()
}

fn read_mapped_word(address: u64) -> u64 {
    raw::load(address)
}

fn write_mapped(address: u64) -> i32 {
    raw::store(address + 4008, 0x6666);
    i32::from(raw::load(address + 4008) != 0x6666)
}

fn read_by_other_process(address: u64) -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; PAGE];
    let remote = RemoteIoVec {
        base: address as usize,
        len: PAGE,
    };
    let mut local = [IoSliceMut::new(&mut bytes)];
    process_vm_readv(Pid::parent(), &mut local, &[remote])?;
    Ok(bytes)
}

fn disk() -> nix::Result<File> {
    let mut options = File::options();
    options
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_DIRECT.bits());
    options.open("/dev/ram0").map_err(|_| Errno::ENODEV)
}

/// The CPU copies from the memory to the disk; then the disk is read back to where it can be looked at.
fn to_disk(address: u64) -> nix::Result<Vec<u8>> {
    let disk = disk()?;
    raw::write_from(&disk, address, PAGE)?;
    read_disk()
}

fn read_disk() -> nix::Result<Vec<u8>> {
    let mut bytes = vec![0; PAGE];
    let plain = File::open("/dev/ram0").map_err(|_| Errno::ENODEV)?;
    plain.read_at(&mut bytes, 0).map_err(|_| Errno::EIO)?;
    Ok(bytes)
}

fn from_disk(address: u64, open: bool, pattern: &[u8]) -> i32 {
    let change: Vec<u8> = pattern.iter().copied().cycle().take(PAGE).collect();
    let plain = File::options().write(true).open("/dev/ram0");
    let written = plain.and_then(|disk| {
        disk.write_all_at(&change, 0)?;
        disk.sync_all()
    });
    let (Ok(()), Ok(disk)) = (written, disk()) else {
        return IMPOSSIBLE;
    };
    match raw::read_into(&disk, address, PAGE) {
        Ok(_) if !open => TAKEN,
        Ok(_) => i32::from(read_mapped(address) != change),
        Err(Errno::EFAULT) => FAULT,
        Err(_) => IMPOSSIBLE,
    }
}

/// Has the kernel load the RAM disk driver.
pub fn prepare() -> Result<()> {
    let mut modprobe = std::process::Command::new("modprobe");
    let status = modprobe.args(["brd", "rd_nr=1", "rd_size=4096"]).status();
    let status = status.context("modprobe brd")?;
    ensure!(status.success(), "modprobe brd failed");
    Ok(())
}
