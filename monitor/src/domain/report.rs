//! The exit page: what the owner of a domain is told, and its reply.
//!
//! The page lies in the owner's memory. It is written blindly, and read only for the reply and, where the policy shows
//! registers, for the registers to set.

use core::arch::x86_64::__m128i;
use core::mem::offset_of;

use adyton_abi::VERSION;
use adyton_abi::exit::{ExitKind, ExitPage, WORDS};

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::vcpu::Vcpu;

/// Flags that an owner may set: status flags, TF, IF, DF, AC, ID.
const SETTABLE_FLAGS: u64 = 0x0024_0fd5;
/// Bit 1 of RFLAGS is always 1.
const FIXED_FLAGS: u64 = 2;

/// The operands of an exit, or the words of a reply: aligned, so that they move two at a time.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(16))]
pub struct Operands(pub [u64; WORDS]);

impl Operands {
    /// The words, to be written somewhere.
    #[inline]
    #[must_use]
    pub fn words(&self) -> Words {
        // SAFETY: they are there.
        unsafe { Words::read(self) }
    }
}

const _: () = {
    assert!(offset_of!(ExitPage, operands) % align_of::<Operands>() == 0);
    assert!(offset_of!(ExitPage, reply) % align_of::<Operands>() == 0);
};

/// Six words on their way.
#[derive(Clone, Copy)]
pub struct Words([__m128i; WORDS / 2]);

impl Words {
    /// Reads six words, each once, for others may change them at any time.
    ///
    /// # Safety
    /// They may be read.
    #[inline]
    pub unsafe fn read(from: *const Operands) -> Self {
        let from = from.cast::<__m128i>();
        // SAFETY: as the caller warrants.
        Self(core::array::from_fn(|pair| unsafe {
            from.add(pair).read_volatile()
        }))
    }

    /// Writes them.
    ///
    /// # Safety
    /// Six words may be written there.
    #[inline]
    pub unsafe fn write(self, to: *mut Operands) {
        let to = to.cast::<__m128i>();
        for (number, pair) in self.0.into_iter().enumerate() {
            // SAFETY: as the caller warrants.
            unsafe { to.add(number).write_volatile(pair) };
        }
    }
}

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

/// Writes down an exit, and what else the policy shows.
pub fn record(vcpu: &Vcpu, kind: ExitKind, sequence: u64, operands: &Operands) {
    if vcpu.seat.shows_registers {
        show_registers(vcpu);
    }
    record_exit(vcpu, kind, sequence, operands.words());
}

/// Writes down an exit, its number last: who waits for that in memory finds the rest there.
#[inline]
pub fn record_exit(vcpu: &Vcpu, kind: ExitKind, sequence: u64, words: Words) {
    let page = vcpu.seat.exit_page.value() as *mut ExitPage;
    // SAFETY: exit pages are pinned RAM while the domain lives; the owner may read and write at the same time.
    unsafe {
        words.write((&raw mut (*page).operands).cast());
        (&raw mut (*page).kind).write_volatile(kind as u32);
        (&raw mut (*page).sequence).write_volatile(sequence);
    }
}

/// Writes down the registers.
fn show_registers(vcpu: &Vcpu) {
    let page = vcpu.seat.exit_page.value() as *mut ExitPage;
    let general = vcpu.general();
    // SAFETY: as in `record_exit`.
    unsafe {
        let registers = &raw mut (*page).registers;
        (&raw mut (*registers).general).write_volatile(general);
        (&raw mut (*registers).rip).write_volatile(vcpu.rip());
        (&raw mut (*registers).rflags).write_volatile(vcpu.rflags());
    }
}

/// Delivers the owner's answer to the last exit: the words for a call, and where the policy allows it any register.
pub fn deliver_reply(vcpu: &mut Vcpu) {
    if vcpu.seat.entry.last() == ExitKind::Call {
        deliver_words(vcpu);
    }
    if vcpu.seat.shows_registers {
        load_registers(vcpu);
    }
}

/// Delivers the six words that answer a call.
#[inline]
pub fn deliver_words(vcpu: &mut Vcpu) {
    let page = vcpu.seat.exit_page.value() as *const ExitPage;
    // SAFETY: as in `record_exit`.
    unsafe { Words::read((&raw const (*page).reply).cast()).write(vcpu.operands_mut()) };
}

fn load_registers(vcpu: &mut Vcpu) {
    let page = vcpu.seat.exit_page.value() as *const ExitPage;
    // SAFETY: as in `record_exit`; each word is read once.
    let registers = unsafe {
        if (&raw const (*page).set_registers).read_volatile() != 1 {
            return;
        }
        (&raw const (*page).registers).read_volatile()
    };
    vcpu.set_general(registers.general);
    vcpu.set_rip(registers.rip);
    vcpu.set_rflags(registers.rflags & SETTABLE_FLAGS | FIXED_FLAGS);
    // It does not stand at its own call any more.
    vcpu.seat.calling = false;
}
