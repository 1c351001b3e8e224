//! That a caller's page tables count at each entry, also at one that was let in just before.
#![allow(unsafe_code)]

use adyton::abi::error::Error as Reason;
use adyton::{Flags, Vcpu};
use anyhow::{Result, ensure};
use nix::libc::{self, c_void};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::fixture::run;
use crate::raw;

/// What the kernel maps and protects of the pool as one.
const PIECE: u64 = 2 << 20;

pub(super) fn mapping_counts_each_time() -> Result<()> {
    let mut running = run("echo", &["plain"], Flags::CONFIDENTIAL)?;
    running.words()?;
    let piece = running.domain().name().address / PIECE * PIECE;
    let vcpu = running.vcpu();
    let end = raw::in_copy(|| after_entering(vcpu, || protect(piece)))?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
        "by a page that may only be read: {end:?}"
    );
    // What the copy answered is answered.
    vcpu.abandon()?;
    let end = raw::in_copy(|| after_entering(vcpu, || replace(piece)))?;
    ensure!(
        matches!(end, WaitStatus::Exited(_, status) if status == Reason::NotPool as i32),
        "by a page of other memory: {end:?}"
    );
    vcpu.abandon()?;
    ensure!(vcpu.enter_raw(0).status == 0, "by the page as it was");
    Ok(())
}

/// Enters often enough that the way is known, changes the mapping, and says what the next entry gets.
fn after_entering(vcpu: &mut Vcpu, change: impl FnOnce() -> bool) -> i32 {
    const FAILED: i32 = 100;
    let enters = (0..5).all(|_| vcpu.enter_raw(0).status == 0);
    if !enters || !change() {
        return FAILED;
    }
    vcpu.enter_raw(0).status as i32
}

fn protect(piece: u64) -> bool {
    // SAFETY: pool memory, which this copy of the process only enters through.
    unsafe { libc::mprotect(piece as *mut c_void, PIECE as usize, libc::PROT_READ) == 0 }
}

fn replace(piece: u64) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_POPULATE;
    // SAFETY: as above; nothing refers to what was mapped there.
    let place = unsafe {
        libc::mmap(
            piece as *mut c_void,
            PIECE as usize,
            protection,
            flags,
            -1,
            0,
        )
    };
    place as u64 == piece
}
