//! What tests do that programs should not: touch memory that may fault, fork, map where it hurts.
#![allow(unsafe_code)]

use std::arch::asm;
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;

use adyton::Device;
use anyhow::{Context, Result};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

/// Loads a word from anywhere; a fault is the caller's to expect.
pub fn load(address: u64) -> u64 {
    let word: u64;
    // SAFETY: a load changes nothing; where it faults the process ends, as the test expects.
    unsafe { asm!("mov {0}, [{1}]", out(reg) word, in(reg) address, options(nostack)) };
    word
}

/// Stores a word to pool memory, or to where it faults.
pub fn store(address: u64, word: u64) {
    // SAFETY: tests store only to pool memory, to which no reference points, or to what must fault.
    unsafe { asm!("mov [{0}], {1}", in(reg) address, in(reg) word, options(nostack)) };
}

/// Runs `action` in a forked copy of this process and waits for its end; the copy exits with what `action` returns.
///
/// # Errors
/// What the kernel refuses.
pub fn in_copy(action: impl FnOnce() -> i32) -> Result<WaitStatus> {
    let child = start_copy(action)?;
    Ok(waitpid(child, None)?)
}

/// Starts `action` in a forked copy of this process.
///
/// # Errors
/// What the kernel refuses.
pub fn start_copy(action: impl FnOnce() -> i32) -> Result<Pid> {
    // SAFETY: the tests fork before they start threads, and the copy leaves by `_exit`.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let status = action();
            // SAFETY: ends the copy without running what belongs to the original.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Installs a signal handler, without `SA_RESTART`.
///
/// # Errors
/// What the kernel refuses.
pub fn on_signal(signal: Signal, handler: extern "C" fn(libc::c_int)) -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(handler),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handlers of these tests use atomics and the calling instruction only.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// Sends this process `SIGALRM` after `microseconds`, once.
///
/// # Errors
/// What the kernel refuses.
pub fn alarm(microseconds: i64) -> Result<()> {
    set_timer(0, microseconds)
}

/// Sends this process `SIGALRM` every so many microseconds, 0 for never.
///
/// # Errors
/// What the kernel refuses.
pub fn alarm_every(microseconds: i64) -> Result<()> {
    set_timer(microseconds, microseconds)
}

fn set_timer(interval: i64, first: i64) -> Result<()> {
    let time = |microseconds: i64| libc::timeval {
        tv_sec: microseconds / 1_000_000,
        tv_usec: microseconds % 1_000_000,
    };
    let timer = libc::itimerval {
        it_interval: time(interval),
        it_value: time(first),
    };
    // SAFETY: both pointers are valid or null as the call allows.
    let status = unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut()) };
    nix::errno::Errno::result(status).context("setitimer")?;
    Ok(())
}

/// Maps `size` bytes of the pool from `offset` on, with the given rights, at any place.
///
/// # Errors
/// What the kernel refuses.
pub fn map_pool(device: &Device, offset: u64, size: u64, writable: bool) -> Result<u64> {
    let file = File::options().read(true).write(true).open(&device.path)?;
    map(&file, offset, size, writable)
}

/// Maps a part of any file.
///
/// # Errors
/// What the kernel refuses.
pub fn map(file: &File, offset: u64, size: u64, writable: bool) -> Result<u64> {
    let mut rights = ProtFlags::PROT_READ;
    if writable {
        rights |= ProtFlags::PROT_WRITE;
    }
    let length = NonZeroUsize::new(size as usize).context("empty mapping")?;
    // SAFETY: a new mapping at a place of the kernel's choice; it stays until the process ends.
    let base = unsafe {
        mmap(
            None,
            length,
            rights,
            MapFlags::MAP_SHARED,
            file,
            offset as i64,
        )
    }?;
    Ok(base.as_ptr() as u64)
}

/// Maps `size` bytes of a file over what is mapped at `address`, or unmaps that.
///
/// # Errors
/// What the kernel refuses.
pub fn map_over(file: &File, address: u64, size: u64, offset: Option<u64>) -> Result<()> {
    let (place, rights) = (
        address as *mut libc::c_void,
        libc::PROT_READ | libc::PROT_WRITE,
    );
    let status = match offset {
        // SAFETY: only the test that mapped this range uses it, and takes the faults.
        Some(offset) => unsafe {
            let flags = libc::MAP_SHARED | libc::MAP_FIXED;
            let found = libc::mmap(
                place,
                size as usize,
                rights,
                flags,
                file.as_raw_fd(),
                offset as i64,
            );
            if found == libc::MAP_FAILED { -1 } else { 0 }
        },
        // SAFETY: as above; the place stays reserved.
        None => unsafe { libc::mprotect(place, size as usize, libc::PROT_NONE) },
    };
    nix::errno::Errno::result(status)?;
    Ok(())
}

/// Maps one page of anonymous memory, and has the kernel give it a frame.
///
/// # Errors
/// What the kernel refuses.
pub fn anonymous_page() -> Result<u64> {
    let page = anonymous(4096)?;
    store(page, 0);
    Ok(page)
}

/// The bytes that stand in memory of [`anonymous`] now.
pub fn bytes<'a>(address: u64, size: usize) -> &'a [u8] {
    // SAFETY: the mapping stays until the process ends, and its test does not write while it looks.
    unsafe { std::slice::from_raw_parts(address as *const u8, size) }
}

/// Lets this process use all ports.
///
/// # Errors
/// What the kernel refuses.
pub fn allow_ports() -> Result<()> {
    // SAFETY: changes what this process may do, nothing else.
    let status = unsafe { libc::iopl(3) };
    nix::errno::Errno::result(status).context("iopl")?;
    Ok(())
}

/// The word of PCI configuration space that `address` chooses: bus, device, function and register. After [`allow_ports`].
pub fn configuration(address: u32) -> u32 {
    const ENABLE: u32 = 1 << 31;
    let word: u32;
    // SAFETY: reads one register of a PCI function; the kernel chooses anew for each access of its own.
    unsafe {
        asm!("out dx, eax", in("dx") 0xcf8_u16, in("eax") address | ENABLE, options(nostack));
        asm!("in eax, dx", in("dx") 0xcfc_u16, out("eax") word, options(nostack));
    }
    word
}

/// `write(2)` from any address: what the kernel's copy says.
pub fn write_from(file: &File, address: u64, length: usize) -> nix::Result<usize> {
    // SAFETY: the kernel checks the address.
    let count = unsafe { libc::write(file.as_raw_fd(), address as *const libc::c_void, length) };
    nix::errno::Errno::result(count).map(|count| count as usize)
}

/// `read(2)` to any address.
pub fn read_into(file: &File, address: u64, length: usize) -> nix::Result<usize> {
    // SAFETY: the kernel checks the address; tests give pool addresses, to which no reference points.
    let count = unsafe { libc::read(file.as_raw_fd(), address as *mut libc::c_void, length) };
    nix::errno::Errno::result(count).map(|count| count as usize)
}

/// Binds this thread to one core.
///
/// # Errors
/// What the kernel refuses.
pub fn stay_on(core: usize) -> Result<()> {
    let mut set = nix::sched::CpuSet::new();
    set.set(core)?;
    nix::sched::sched_setaffinity(Pid::from_raw(0), &set)?;
    Ok(())
}

/// Executes the calling instruction with any number in RAX and no arguments, and returns RAX.
pub fn call_number(number: u64) -> u64 {
    let status: u64;
    // SAFETY: tests give numbers that no call has; arguments are 0, and all result registers are declared.
    unsafe {
        asm!("vmmcall", inlateout("rax") number => status,
            inlateout("rdi") 0_u64 => _, inlateout("rsi") 0_u64 => _, inlateout("rdx") 0_u64 => _,
            inlateout("rcx") 0_u64 => _, inlateout("r8") 0_u64 => _, inlateout("r9") 0_u64 => _,
            inlateout("r10") 0_u64 => _, inlateout("r11") 0_u64 => _, in("r12") 0_u64,
            options(nostack));
    }
    status
}

/// Runs `action` with numbers in the upper halves of vector registers, and says whether they are still there
/// afterwards. Compiled code uses the lower halves only.
pub fn keeps_vectors<T>(action: impl FnOnce() -> T) -> (T, bool) {
    let before = [[0x1357_9bdf_u64, 2, 3, 4], [5, 6, 7, 0x2468_ace0]];
    let mut after = [[0_u64; 4]; 2];
    // SAFETY: loads registers that the ABI lets everybody change; the tests' CPUs have AVX.
    unsafe {
        asm!("vmovdqu ymm14, [{0}]", "vmovdqu ymm15, [{0} + 32]", in(reg) before.as_ptr(),
            out("xmm14") _, out("xmm15") _, options(nostack));
    }
    let outcome = action();
    // SAFETY: stores two registers to an array of their size.
    unsafe {
        asm!("vmovdqu [{0}], ymm14", "vmovdqu [{0} + 32], ymm15", "vzeroupper",
            in(reg) after.as_mut_ptr(), options(nostack));
    }
    let same = before
        .iter()
        .zip(&after)
        .all(|(before, after)| before[2..] == after[2..]);
    (outcome, same)
}

/// Lends `length` bytes at any address to a pipe, without a copy: the kernel reads them when the pipe is read.
///
/// # Errors
/// What the kernel refuses.
pub fn lend(pipe: impl AsRawFd, address: u64, length: usize) -> nix::Result<usize> {
    let vector = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: length,
    };
    // SAFETY: the kernel checks the address, and only reads there.
    let count = unsafe { libc::vmsplice(pipe.as_raw_fd(), &raw const vector, 1, 0) };
    nix::errno::Errno::result(count).map(|count| count as usize)
}

/// Maps one page of anonymous memory that the kernel has not given a frame yet.
///
/// # Errors
/// What the kernel refuses.
pub fn untouched_page() -> Result<u64> {
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let length = NonZeroUsize::new(4096).context("empty mapping")?;
    // SAFETY: a new mapping at a place of the kernel's choice; it stays until the process ends.
    let base =
        unsafe { nix::sys::mman::mmap_anonymous(None, length, rights, MapFlags::MAP_PRIVATE) }?;
    Ok(base.as_ptr() as u64)
}

/// Maps `size` bytes of anonymous memory.
///
/// # Errors
/// What the kernel refuses.
pub fn anonymous(size: u64) -> Result<u64> {
    let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let length = NonZeroUsize::new(size as usize).context("empty mapping")?;
    // SAFETY: a new mapping at a place of the kernel's choice; it stays until the process ends.
    let base =
        unsafe { nix::sys::mman::mmap_anonymous(None, length, rights, MapFlags::MAP_PRIVATE) }?;
    Ok(base.as_ptr() as u64)
}

/// Maps `size` bytes of anonymous memory in small pages only.
///
/// # Errors
/// What the kernel refuses.
pub fn anonymous_in_small_pages(size: u64) -> Result<u64> {
    let base = anonymous(size)?;
    let place = base as *mut libc::c_void;
    // SAFETY: says how the new mapping is filled, which nothing uses yet.
    let status = unsafe { libc::madvise(place, size as usize, libc::MADV_NOHUGEPAGE) };
    nix::errno::Errno::result(status)?;
    Ok(base)
}

/// What a test passed through a word, to code that runs elsewhere while the test waits.
///
/// The word must be the address of a `T` that nothing else uses meanwhile.
pub fn borrowed<'a, T>(word: u64) -> &'a mut T {
    // SAFETY: as said above; tests pass the address of a local that outlives the call.
    unsafe { &mut *(word as *mut T) }
}

/// Lets this process execute a part of a mapping as well as read and write it.
///
/// # Errors
/// What the kernel refuses.
pub fn allow_execution(address: u64, size: u64) -> Result<()> {
    // SAFETY: rights are only added.
    let status = unsafe {
        libc::mprotect(
            address as *mut libc::c_void,
            size as usize,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        )
    };
    nix::errno::Errno::result(status).context("mprotect")?;
    Ok(())
}
