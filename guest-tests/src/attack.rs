//! What must not work: reaching a domain's memory from domain 0. Each attempt stands beside the same one on
//! memory that nobody protects, which succeeds.

use std::fs::File;
use std::io::{IoSliceMut, Read, Seek, SeekFrom, Write};

use adyton::{Flags, Pages};
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use crate::fixture::{Running, agent};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("user-access", user_access),
    ("kernel-copy", kernel_copy),
    ("other-process", other_process),
    ("second-mapping", second_mapping),
];

/// A domain, an address of its memory, and a page beside it that nobody took.
struct Scene {
    running: Running,
    carved: u64,
    open: Pages,
    sum: u64,
}

const WORDS: u64 = 512;

fn scene() -> Result<Scene> {
    let mut running = agent(Flags::CONFIDENTIAL)?;
    // The private memory was the first that the claim gave away, behind its first page.
    let carved = running.claim.address() + 4096;
    let open = running.claim.pages(4096)?;
    open.zero();
    open.store(0, 0x0be9);
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
    Ok(running.ask([7, base, WORDS, 0, 0, 0])?[0])
}

impl Scene {
    fn unchanged(mut self) -> Result<()> {
        let sum = sum(&mut self.running)?;
        ensure!(sum == self.sum, "the domain's memory changed");
        Ok(())
    }
}

fn faults(end: WaitStatus) -> bool {
    matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _))
}

fn user_access() -> Result<()> {
    let scene = scene()?;
    let (carved, open) = (scene.carved, scene.open.address());
    let end = raw::in_copy(move || i32::from(raw::load(open) != 0x0be9))?;
    ensure!(
        matches!(end, WaitStatus::Exited(_, 0)),
        "the control ended with {end:?}"
    );
    let end = raw::in_copy(move || raw::load(carved) as i32 & 1)?;
    ensure!(faults(end), "a load ended with {end:?}");
    let end = raw::in_copy(move || {
        raw::store(carved, 1);
        0
    })?;
    ensure!(faults(end), "a store ended with {end:?}");
    scene.unchanged()
}

fn kernel_copy() -> Result<()> {
    let scene = scene()?;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open("/tmp/copy")?;
    let open = scene.open.address();
    ensure!(
        raw::write_from(&file, open, 4096) == Ok(4096),
        "the control failed"
    );
    file.seek(SeekFrom::Start(0))?;
    let written = raw::write_from(&file, scene.carved, 4096);
    ensure!(
        written == Err(Errno::EFAULT),
        "write(2) from the domain: {written:?}"
    );
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&[0x77; 4096])?;
    file.seek(SeekFrom::Start(0))?;
    let read = raw::read_into(&file, scene.carved, 4096);
    ensure!(
        read == Err(Errno::EFAULT),
        "read(2) into the domain: {read:?}"
    );
    file.seek(SeekFrom::Start(0))?;
    ensure!(
        raw::read_into(&file, open, 4096) == Ok(4096),
        "the control failed"
    );
    ensure!(scene.open.load(0) == 0x7777_7777_7777_7777);
    scene.unchanged()
}

/// Root reading another process's memory through the kernel, which copies by its own mapping of all memory: such
/// a copy gets ones, or fails.
fn other_process() -> Result<()> {
    let scene = scene()?;
    let read = |address: u64| {
        let mut bytes = [0; 64];
        let remote = RemoteIoVec {
            base: address as usize,
            len: 64,
        };
        let count = process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut bytes)], &[remote]);
        count.map(|count| (count, bytes))
    };
    let (count, bytes) = read(scene.open.address())?;
    ensure!(
        count == 64 && bytes[..2] == [0xe9, 0x0b],
        "the control failed: {count}, {bytes:x?}"
    );
    let attempt = read(scene.carved);
    let harmless = [Err(Errno::EFAULT), Ok((64, [0xff; 64]))];
    ensure!(
        harmless.contains(&attempt),
        "process_vm_readv: {attempt:x?}"
    );
    let mut memory = File::open("/proc/self/mem").context("/proc/self/mem")?;
    memory.seek(SeekFrom::Start(scene.carved))?;
    let mut bytes = [0; 64];
    let attempt = memory.read(&mut bytes);
    ensure!(
        attempt.is_err() || bytes == [0xff; 64],
        "/proc/self/mem: {bytes:x?}"
    );
    scene.unchanged()
}

/// Mapping the device again, as another process of the same user does.
fn second_mapping() -> Result<()> {
    let scene = scene()?;
    let pool = &scene.running.pool;
    let base = raw::map_pool(pool.device(), 0, pool.size(), true)?;
    let there = |address: u64| base + (address - pool.environment().base());
    let (carved, open) = (there(scene.carved), there(scene.open.address()));
    ensure!(raw::load(open) == 0x0be9, "the control failed");
    let end = raw::in_copy(move || raw::load(carved) as i32 & 1)?;
    ensure!(faults(end), "a load ended with {end:?}");
    scene.unchanged()
}
