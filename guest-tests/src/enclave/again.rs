//! What changes between two entries that are alike: the monitor knows an entry that it has seen several times, and must see what is not the same.
//! Each test enters so often that it does, changes one thing, and enters as before.
#![allow(unsafe_code)]

use anyhow::{Result, ensure};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::abuse::{PAGE_FAULT, Victim, is_refused, put_anonymous, put_physical};
use super::code::{Command, Enter};
use super::place;
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("enclave-again-pages-exchanged", pages_exchanged),
    ("enclave-again-entry-exchanged", entry_exchanged),
    ("enclave-again-memory-outside", memory_outside),
    ("enclave-again-page-restricted", page_restricted),
    ("enclave-again-other-instruction", other_instruction),
    ("enclave-again-other-process", other_process),
    ("enclave-again-other-threads", other_threads),
];

/// Entries after which the next one is known: one loads, one finds all loaded, one notes it.
const OFTEN: usize = 6;

impl Victim {
    /// Asks for a word so often that the entry is known, each time successfully.
    fn warm(&self, address: u64, word: u64) -> Result<()> {
        for _ in 0..OFTEN {
            let found = self.word(address)?;
            ensure!(found == word, "{found:#x} at {address:#x}, not {word:#x}");
        }
        Ok(())
    }
}

/// A page of the enclave's comes to lead to another page, to memory, to nothing.
fn pages_exchanged() -> Result<()> {
    let (victim, other) = (Victim::new()?, Victim::new()?);
    let number = place::DATA + 2;
    let address = victim.enclave.page(number);
    let strange = other.find_physical(place::DATA)?;
    let neighbour = victim.find_physical(place::DATA + 1)?;
    for page in [strange, neighbour] {
        victim.warm(address, 3)?;
        put_physical(page, Some(address))?;
        victim.refuses(address, 3, is_refused, || victim.restore(number))?;
    }
    victim.warm(address, 3)?;
    put_anonymous(address, 3)?;
    victim.refuses(address, 3, is_refused, || victim.restore(number))?;
    victim.warm(address, 3)?;
    victim.enclave.protect(number, 1, libc::PROT_NONE)?;
    let by_tables = |met: &super::code::Entered| met.run.vector == PAGE_FAULT && !is_refused(met);
    victim.refuses(address, 3, by_tables, || victim.restore(number))
}

/// The TCS and the frame come to lead elsewhere: the entry itself is refused, and nothing is written there.
fn entry_exchanged() -> Result<()> {
    let victim = Victim::new()?;
    let address = victim.enclave.page(place::DATA);
    for number in [place::TCS, place::FRAMES] {
        let entry = victim.enclave.page(number);
        victim.warm(address, 1)?;
        put_anonymous(entry, 0)?;
        let met = victim.ask(Command::Load, address, 0);
        ensure!(
            is_refused(&met) && met.run.function == 2 && met.run.address == entry,
            "entry by memory: {met:?}"
        );
        ensure!(
            raw::bytes(entry, 4096).iter().all(|byte| *byte == 0),
            "the monitor has written to what is no frame"
        );
        victim.restore(number)?;
        victim.warm(address, 1)?;
        victim.enclave.protect(number, 1, libc::PROT_READ)?;
        let met = victim.ask(Command::Load, address, 0);
        ensure!(
            met.run.vector == PAGE_FAULT && met.run.function == 2 && met.run.error & 7 == 7,
            "entry by what is read-only: {met:?}"
        );
        victim.restore(number)?;
    }
    victim.warm(address, 1)
}

/// A page outside is replaced: the next entry sees the new one, and nothing where there is nothing.
fn memory_outside() -> Result<()> {
    let victim = Victim::new()?;
    let outside = raw::anonymous_page()?;
    for word in 70..74 {
        // A page that there was before, so that it is not the one that is replaced.
        let other = raw::anonymous_page()?;
        raw::store(other, word);
        let fixed = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let (from, to) = (other as *mut libc::c_void, outside as *mut libc::c_void);
        // SAFETY: both pages are this test's own.
        let moved = unsafe { libc::mremap(from, 4096, 4096, fixed, to) };
        ensure!(moved as u64 == outside, "mremap");
        victim.warm(outside, word)?;
    }
    // SAFETY: the page is this test's own.
    let protect = |rights| unsafe { libc::mprotect(outside as *mut libc::c_void, 4096, rights) };
    ensure!(protect(libc::PROT_NONE) == 0, "mprotect");
    let by_tables = |met: &super::code::Entered| met.run.vector == PAGE_FAULT && !is_refused(met);
    victim.refuses(outside, 73, by_tables, || {
        ensure!(protect(libc::PROT_READ) == 0, "mprotect");
        Ok(())
    })
}

/// EMODPR takes a right away, which page tables do not show.
fn page_restricted() -> Result<()> {
    let victim = Victim::new()?;
    let number = place::DATA + 3;
    let address = victim.enclave.page(number);
    for word in 0..OFTEN as u64 {
        let stored = victim.ask(Command::Store, address, word);
        ensure!(stored.run.function == 4, "before: {stored:?}");
    }
    victim.enclave.restrict_to_reading(number)?;
    let met = victim.ask(Command::Store, address, 99);
    ensure!(is_refused(&met), "a store to what was restricted: {met:?}");
    let second = victim.enclave.page(place::SECOND_TCS);
    let word = super::code::enter(second, Command::Load, address, 0);
    ensure!(word == OFTEN as u64 - 1, "it holds {word}");
    Ok(())
}

/// At the place of ENCLU there is another instruction that is undefined for programs.
fn other_instruction() -> Result<()> {
    const ENCLU: [u8; 3] = [0x0f, 0x01, 0xd7];
    let victim = Victim::new()?;
    let tcs = victim.enclave.page(place::TCS);
    let code = raw::anonymous_page()?;
    raw::allow_execution(code, 4096)?;
    let enter = Enter::copy_to(code);
    let sum = || enter.enter(tcs, Command::Add, 40, 2);
    // UD2, ENCLS, ENCLV; and what must go well.
    for bytes in [
        [0x0f, 0x0b, 0x90],
        [0x0f, 0x01, 0xcf],
        [0x0f, 0x01, 0xc0],
        ENCLU,
    ] {
        let ended = raw::in_copy(|| {
            if (0..OFTEN).any(|_| sum() != 42) {
                return 1;
            }
            enter.replace(bytes);
            if sum() == 42 { 0 } else { 2 }
        })?;
        let is_right = match ended {
            WaitStatus::Exited(_, 0) => bytes == ENCLU,
            WaitStatus::Signaled(_, Signal::SIGILL, _) => bytes != ENCLU,
            _ => false,
        };
        ensure!(is_right, "{bytes:x?} in place of ENCLU: {ended:?}");
    }
    Ok(())
}

/// Another process executes the same at the same addresses: a copy, which has the enclave too, until it takes the TCS out of its own tables.
fn other_process() -> Result<()> {
    let victim = Victim::new()?;
    let address = victim.enclave.page(place::DATA);
    victim.warm(address, 1)?;
    let ended = raw::in_copy(|| {
        if victim.warm(address, 1).is_err() {
            return 1;
        }
        let tcs = victim.enclave.page(place::TCS) as *mut libc::c_void;
        // SAFETY: the copy uses it no more but for the entry that is to fail.
        if unsafe { libc::munmap(tcs, 4096) } != 0 {
            return 2;
        }
        let met = victim.ask(Command::Load, address, 0);
        let is_refused = met.run.function == 2 && met.run.vector == PAGE_FAULT;
        if is_refused { 0 } else { 3 }
    })?;
    ensure!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
    victim.warm(address, 1)
}

/// Two threads of the enclave by one instruction: each entry keeps the stack pointer in the frame of the thread that was named.
fn other_threads() -> Result<()> {
    /// URSP at the end of a frame of one page.
    const OUTER_STACK: u64 = 4096 - 184 + 144;
    let victim = Victim::new()?;
    for round in 0..4 {
        for number in [place::TCS, place::SECOND_TCS] {
            let tcs = victim.enclave.page(number);
            let kept = victim.enclave.page(number + 1) + OUTER_STACK;
            for _ in 0..OFTEN {
                let found = super::code::enter(tcs, Command::Load, kept, 0);
                ensure!(found != 0, "round {round}: {tcs:#x} was not entered");
                super::code::enter(tcs, Command::Store, kept, 0);
            }
        }
    }
    Ok(())
}
