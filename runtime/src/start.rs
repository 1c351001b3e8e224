//! The first instructions of a vCPU.
//!
//! RDI holds the address of the start page plus the vCPU's index, RSP the top of the vCPU's own stack. The
//! top of the stack becomes the vCPU's descriptor tables for good, since the entry never returns.

#[cfg(not(test))]
use core::arch::global_asm;

use adyton_abi::start::{START_MAGIC, StartPage};
use adyton_compose::convention::{FINISHED, VCPU_MASK};

use crate::call::{self, call_parent};
use crate::descriptor::Tables;
use crate::domain::Domain;
use crate::memory;

#[cfg(not(test))]
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "xor ebp, ebp",
    "cld",
    "sub rsp, {size}",
    "and rsp, -64",
    "mov rsi, rsp",
    "call {start}",
    "ud2",
    size = const core::mem::size_of::<Tables>(),
    start = sym start,
);

#[cfg(not(test))]
unsafe extern "Rust" {
    /// What [`entry!`](crate::entry) defines.
    safe fn adyton_payload_main(domain: &mut Domain) -> u64;
}

#[cfg(test)]
fn adyton_payload_main(_: &mut Domain) -> u64 {
    0
}

/// Continues in Rust.
///
/// # Safety
/// Called once on each vCPU, by the first instructions: `tables` is room on its stack that nothing else uses.
#[cfg_attr(test, allow(dead_code))]
unsafe extern "sysv64" fn start(argument: u64, tables: *mut Tables) -> ! {
    // SAFETY: by this function's own contract.
    unsafe { Tables::install(tables) };
    call::discover();
    memory::set_start((argument & !VCPU_MASK) as *mut StartPage);
    let page = memory::start().filter(|page| page.magic == START_MAGIC);
    let status = page.map_or(u64::MAX, |page| {
        adyton_payload_main(&mut Domain::new(page, argument & VCPU_MASK))
    });
    finish(status)
}

/// Reports the exit status, again whenever the owner enters again.
pub(crate) fn finish(status: u64) -> ! {
    loop {
        call_parent([FINISHED, status, 0, 0, 0, 0]);
    }
}
