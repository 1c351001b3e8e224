//! The calling instruction where it is unusual: stepped over, in compatibility mode, over a patched-up mapping.
#![allow(unsafe_code)]

use std::arch::asm;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use adyton::abi::call::Call;
use adyton::abi::error::Error as Reason;
use adyton::calls;
use anyhow::{Result, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::fixture::{pool, refused};

pub(crate) const TESTS: &[crate::Test] = &[
    ("single-step", single_step),
    ("compatibility-mode", compatibility_mode),
    ("not-contiguous", not_contiguous),
    ("not-pool", not_pool),
    ("protection-keys", protection_keys),
];

/// Where the first trap was taken.
static TRAPPED_AT: AtomicU64 = AtomicU64::new(0);
const TRAP_FLAG: i64 = 1 << 8;

/// Remembers the first place, and lets the rest run without traps.
extern "C" fn on_trap(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands a ucontext to a handler that asks for one.
    let registers = unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    let place = registers[libc::REG_RIP as usize] as u64;
    let _later_ones = TRAPPED_AT.compare_exchange(0, place, Ordering::Relaxed, Ordering::Relaxed);
    registers[libc::REG_EFL as usize] &= !TRAP_FLAG;
}

/// A debugger that steps over the call stops right behind it.
fn single_step() -> Result<()> {
    // SAFETY: an all-zero sigaction is valid, and the handler touches atomics and its own context only.
    let status = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_trap as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGTRAP, &raw const action, std::ptr::null_mut())
    };
    Errno::result(status)?;
    let (behind, result): (u64, u64);
    // SAFETY: sets the trap flag for one instruction, the call, whose registers are all declared.
    unsafe {
        asm!(
            "lea {behind}, [rip + 2f]",
            "pushfq",
            "or qword ptr [rsp], 0x100",
            "popfq",
            "vmmcall",
            "2:",
            "nop",
            behind = out(reg) behind,
            inlateout("rax") Call::Information as u64 => result,
            inlateout("rdi") 0_u64 => _,
            inlateout("rsi") 0_u64 => _,
            inlateout("rdx") 0_u64 => _,
            inlateout("rcx") 0_u64 => _,
            inlateout("r8") 0_u64 => _,
            inlateout("r9") 0_u64 => _,
            inlateout("r10") 0_u64 => _,
            inlateout("r11") 0_u64 => _,
            in("r12") 0_u64,
        );
    }
    let trapped = TRAPPED_AT.load(Ordering::Relaxed);
    ensure!(result == 0, "the call returned {result}");
    ensure!(
        trapped == behind,
        "trapped at {trapped:#x}, the call ends at {behind:#x}"
    );
    Ok(())
}

/// Maps `size` bytes below 4 GiB, or at `place`.
fn map(place: usize, size: usize, flags: i32, file: i32, offset: i64) -> Result<u64> {
    let rights = libc::PROT_READ | libc::PROT_WRITE | if file < 0 { libc::PROT_EXEC } else { 0 };
    // SAFETY: either the kernel chooses the place, or it lies in a mapping that this test reserved.
    let base = unsafe {
        libc::mmap(
            place as *mut libc::c_void,
            size,
            rights,
            flags,
            file,
            offset,
        )
    };
    ensure!(base != libc::MAP_FAILED, "mmap: {}", Errno::last());
    Ok(base as u64)
}

/// The 32-bit code segment that Linux gives every process.
const COMPATIBILITY_SELECTOR: u16 = 0x23;
/// Where things lie in the page of `compatibility_mode`.
const FAR_POINTER: usize = 0x100;
const CODE_32: usize = 0x200;
const LANDING: usize = 0x300;

/// From 32-bit code the call is refused, and does nothing else. Only far jumps lead there and back: emulators push
/// and pop far calls with the wrong privilege.
fn compatibility_mode() -> Result<()> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    let page = map(0, 4096, flags, -1, 0)? as usize;
    let low = |offset: usize| ((page + offset) as u32).to_le_bytes();
    // `jmp far [rdi]`.
    let entry = [0xff, 0x2f];
    let far_pointer = [&low(CODE_32)[..], &COMPATIBILITY_SELECTOR.to_le_bytes()].concat();
    // `vmmcall; jmp far 0x33:landing`, in 32-bit mode.
    let code = [&[0x0f, 0x01, 0xd9, 0xea][..], &low(LANDING), &[0x33, 0]].concat();
    // `mov rsp, r13; ret`, in 64-bit mode.
    let landing = [0x4c, 0x89, 0xec, 0xc3];
    for (offset, bytes) in [
        (0, &entry[..]),
        (FAR_POINTER, &far_pointer),
        (CODE_32, &code),
        (LANDING, &landing),
    ] {
        // SAFETY: all offsets lie in the page that was mapped, to which no reference points.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), (page + offset) as *mut u8, bytes.len());
        }
    }
    let status: u64;
    // SAFETY: the code in the page calls, comes back, and puts RSP back from R13, which 32-bit code cannot reach.
    unsafe {
        asm!(
            "lea r9, [rip + 2f]",
            "push r9",
            "mov r13, rsp",
            "jmp r8",
            "2:",
            inlateout("rax") Call::Random as u64 => status,
            inlateout("rdi") page + FAR_POINTER => _,
            out("rsi") _,
            inlateout("r8") page => _,
            out("r9") _, out("rdx") _, out("rcx") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _,
        );
    }
    ensure!(
        status as u32 == Reason::Unsupported as u32,
        "status {status:#x}"
    );
    Ok(())
}

/// Two pieces of the pool mapped one behind the other in the wrong order are no range.
fn not_contiguous() -> Result<()> {
    const PIECE: usize = 2 << 20;
    let pool = pool()?;
    let free = pool.claim(2 * PIECE as u64)?;
    let offset = (free.address() - pool.environment().base()) as i64;
    drop(free);
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let room = map(0, 3 * PIECE, anonymous, -1, 0)?.next_multiple_of(PIECE as u64) as usize;
    let device = File::options()
        .read(true)
        .write(true)
        .open(&pool.device().path)?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&device);
    let flags = libc::MAP_SHARED | libc::MAP_FIXED;
    map(room, PIECE, flags, descriptor, offset + PIECE as i64)?;
    map(room + PIECE, PIECE, flags, descriptor, offset)?;
    let claimed = calls::claim(pool.environment(), room as u64, 2 * PIECE as u64);
    refused(claimed, Reason::NotContiguous)
}

/// Ordinary memory, in one of the large pages that a claim needs.
fn not_pool() -> Result<()> {
    const LARGE: usize = 2 << 20;
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let room = map(0, 3 * LARGE, anonymous, -1, 0)?.next_multiple_of(LARGE as u64);
    let pointer = room as *mut libc::c_void;
    // SAFETY: the range lies in the mapping of this test, to which no reference points.
    let status = unsafe { libc::madvise(pointer, LARGE, libc::MADV_HUGEPAGE) };
    Errno::result(status)?;
    crate::raw::store(room, 1);
    let pool = pool()?;
    refused(
        calls::claim(pool.environment(), room, LARGE as u64),
        Reason::NotPool,
    )
}

fn set_protection_keys(rights: u32) {
    // SAFETY: the CPU has protection keys, as the caller found out; the rights of no key but the test's own change.
    unsafe {
        asm!("wrpkru", in("eax") rights, in("ecx") 0, in("edx") 0, options(nomem, nostack));
    }
}

fn protection_keys_now() -> u32 {
    let rights: u32;
    // SAFETY: as above; reading has no effect.
    unsafe {
        asm!("rdpkru", out("eax") rights, in("ecx") 0, out("edx") _, options(nomem, nostack));
    }
    rights
}

/// A page that the caller has forbidden itself to write names nothing: the call faults as a store would.
fn protection_keys() -> Result<()> {
    let pool = pool()?;
    let claim = pool.claim(2 << 20)?;
    let offset = claim.address() - pool.environment().base();
    let page = crate::raw::map_pool(pool.device(), offset, 2 << 20, true)?;
    // SAFETY: allocates a key and gives it to a mapping of this test's own.
    let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
    Errno::result(key)?;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: as above.
    let status =
        unsafe { libc::syscall(libc::SYS_pkey_mprotect, page, 2_usize << 20, rights, key) };
    Errno::result(status)?;
    let name = adyton::Name {
        address: page,
        ..claim.name()
    };
    let call = || calls::finish(pool.environment(), name);
    let allowed = call();
    let write_disabled = 2_u32 << (2 * key);
    let end = crate::raw::in_copy(|| {
        set_protection_keys(protection_keys_now() | write_disabled);
        i32::from(call().is_ok())
    })?;
    let faulted = matches!(
        end,
        nix::sys::wait::WaitStatus::Signaled(_, nix::sys::signal::Signal::SIGSEGV, _)
    );
    ensure!(
        faulted,
        "with write access disabled it ended {end:?}; allowed: {allowed:?}"
    );
    // The same name commands the claim as long as writing is allowed: any answer but a fault shows it.
    set_protection_keys(protection_keys_now() & !write_disabled);
    let _answered = call();
    Ok(())
}
