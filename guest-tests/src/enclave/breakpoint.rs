//! INT3 in an enclave. The kernel tells the vDSO of no breakpoint, so a signal handler mends it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use nix::libc;

use super::code::{Command, enter};
use super::driver::Enclave;
use super::image::{Attributes, PAGE};
use super::{image, place};

pub(crate) const TESTS: &[crate::Test] = &[("enclave-breakpoint", breakpoint)];

/// Offsets in GPRSGX, at the end of a frame, and its length.
const EXIT_INFORMATION: u64 = 160;
const GPRSGX: u64 = 184;

static TCS: AtomicU64 = AtomicU64::new(0);
static REGISTERS: AtomicU64 = AtomicU64::new(0);
static TRAPS: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicU64 = AtomicU64::new(0);

/// The program gets the signal of a breakpoint, the enclave the reason, with the instruction pointer at the INT3.
fn breakpoint() -> Result<()> {
    /// EXITINFO (Intel SDM volume 3D, section 35.9.1.1): valid, software exception, vector 3.
    const BREAKPOINT: u64 = 1 << 31 | 6 << 8 | 3;
    let enclave = Enclave::load(&image(Attributes::PLAIN))?;
    let tcs = enclave.page(place::TCS);
    let registers = enclave.page(place::FRAMES) + PAGE as u64 - GPRSGX;
    TCS.store(tcs, Ordering::SeqCst);
    REGISTERS.store(registers, Ordering::SeqCst);
    // SAFETY: the handler enters an enclave that lives as long as it is installed, and touches atomic words.
    unsafe { libc::signal(libc::SIGTRAP, step_over as *const () as usize) };
    enter(tcs, Command::Breakpoint, 0, 0);
    // SAFETY: as it was before.
    unsafe { libc::signal(libc::SIGTRAP, libc::SIG_DFL) };
    let (traps, told) = (TRAPS.load(Ordering::SeqCst), TOLD.load(Ordering::SeqCst));
    ensure!(
        traps == 1 && told & u64::from(u32::MAX) == BREAKPOINT,
        "{traps} signals, EXITINFO {told:#x}"
    );
    Ok(())
}

/// Enters by the second frame to look at the first one and to mend it; then the program resumes where the breakpoint took it out.
extern "C" fn step_over(_: libc::c_int) {
    const LENGTH: u64 = 1;
    let [tcs, registers] = [&TCS, &REGISTERS].map(|word| word.load(Ordering::SeqCst));
    let told = enter(tcs, Command::Load, registers + EXIT_INFORMATION, 0);
    TOLD.store(told, Ordering::SeqCst);
    enter(tcs, Command::StepOver, registers, LENGTH);
    TRAPS.fetch_add(1, Ordering::SeqCst);
}
