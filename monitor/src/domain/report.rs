//! The exit page: what the owner of a domain is told, and its reply.
//!
//! The page lies in the owner's memory. It is written blindly, and read only for the reply and, where the policy shows
//! registers, for the registers to set.

use adyton_abi::VERSION;
use adyton_abi::exit::{ExitKind, ExitPage, WORDS};

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::vcpu::{Register, Vcpu};

/// Flags that an owner may set: status flags, TF, IF, DF, AC, ID.
const SETTABLE_FLAGS: u64 = 0x0024_0fd5;
/// Bit 1 of RFLAGS is always 1.
const FIXED_FLAGS: u64 = 2;

/// The registers of a reply, by word.
const REPLY: [Register; WORDS] = [
    Register::Rdi,
    Register::Rsi,
    Register::Rdx,
    Register::Rcx,
    Register::R8,
    Register::R9,
];

/// Prepares a page for exits: all zeros but the version.
///
/// # Safety
/// The page is pinned as an exit page, so it is RAM that the monitor may write.
pub unsafe fn prepare(page: HostPhysical) {
    // SAFETY: as the caller warrants; the owner may write at the same time, which spoils only what it reads itself.
    unsafe {
        core::ptr::write_bytes(page.value() as *mut u8, 0, PAGE_SIZE as usize);
        (&raw mut (*(page.value() as *mut ExitPage)).version).write_volatile(VERSION);
    }
}

/// Writes down an exit.
#[inline]
pub fn record(vcpu: &Vcpu, kind: ExitKind, sequence: u64, operands: &[u64; WORDS]) {
    let page = vcpu.seat.exit_page.value() as *mut ExitPage;
    // SAFETY: exit pages are pinned RAM while the domain lives; the owner may read and write at the same time.
    unsafe {
        (&raw mut (*page).kind).write_volatile(kind as u32);
        (&raw mut (*page).sequence).write_volatile(sequence);
        (&raw mut (*page).operands).write_volatile(*operands);
    }
    if vcpu.seat.context().policy.flags.registers_visible() {
        show_registers(vcpu, page);
    }
}

#[inline(never)]
fn show_registers(vcpu: &Vcpu, page: *mut ExitPage) {
    let general: [u64; 16] = core::array::from_fn(|number| vcpu.register_by_number(number as u8));
    // SAFETY: as in `record`.
    unsafe {
        let registers = &raw mut (*page).registers;
        (&raw mut (*registers).general).write_volatile(general);
        (&raw mut (*registers).rip).write_volatile(vcpu.rip());
        (&raw mut (*registers).rflags).write_volatile(vcpu.rflags());
    }
}

/// Delivers the owner's answer to the last exit: the operands of a call, and where the policy allows it any register.
#[inline]
pub fn deliver_reply(vcpu: &mut Vcpu) {
    let page = vcpu.seat.exit_page.value() as *const ExitPage;
    if vcpu.seat.entry.last() == ExitKind::Call {
        // SAFETY: as in `record`; each word is read once.
        let reply = unsafe { (&raw const (*page).reply).read_volatile() };
        for (register, word) in REPLY.into_iter().zip(reply) {
            vcpu.set_register(register, word);
        }
    }
    if vcpu.seat.context().policy.flags.registers_visible() {
        load_registers(vcpu, page);
    }
}

#[inline(never)]
fn load_registers(vcpu: &mut Vcpu, page: *const ExitPage) {
    // SAFETY: as in `record`; each word is read once.
    let registers = unsafe {
        if (&raw const (*page).set_registers).read_volatile() != 1 {
            return;
        }
        (&raw const (*page).registers).read_volatile()
    };
    for (number, value) in registers.general.into_iter().enumerate() {
        vcpu.set_register_by_number(number as u8, value);
    }
    vcpu.set_rip(registers.rip);
    vcpu.set_rflags(registers.rflags & SETTABLE_FLAGS | FIXED_FLAGS);
    // It does not stand at its own call any more.
    vcpu.seat.calling = false;
}
