//! Whether a thread in enclave mode may have a translation, and which: the operating system's tables, the EPCM and domain 0's
//! nested tables must all agree (design note 007; Intel SDM volume 3D, section 36.5).

use adyton_sgx::{Event, Fault, Thread};
use adyton_x86::paging::Entry;

use super::caller::{access_of, raised};
use super::notes::Notes;
use super::space::Translation;
use super::{epc, platform};
use crate::address::{GuestPhysical, GuestVirtual, PAGE_SIZE};
use crate::domain::memory::CallerMemory;
use crate::guest::walk::{self, Kind, Regime};

/// Bits of the operating system's last entry that the processor is to see: the protection key.
const KEPT: u64 = 0xf << Entry::PROTECTION_KEY_SHIFT;

/// What the enclave is to see at the page of `address`, or what takes it out.
pub(super) fn judge(
    memory: CallerMemory,
    regime: &Regime,
    thread: &Thread,
    address: u64,
    kind: Kind,
) -> Result<Translation, Event> {
    let inside = thread.contains(address);
    if !inside && kind == Kind::Execute {
        return Err(Fault::general_protection().into());
    }
    let (notes, place) = walk(memory, regime, address, kind)?;
    let sgx = Fault::epcm(address, access_of(kind), true);
    let last = notes.last().ok_or(sgx)?;
    let rights = Rights {
        // The first store is to set the dirty bit.
        write: notes.in_all() & Entry::WRITABLE != 0 && last.word & Entry::DIRTY != 0,
        execute: notes.in_any() & Entry::NO_EXECUTE == 0,
    };
    let rights = if inside {
        enclave_rights(thread, place, address, kind, rights)
    } else {
        outside_rights(memory, place, kind, rights)
    };
    let rights = rights.ok_or(sgx)?;
    let (upper, last_table) = notes.way().ok_or(sgx)?;
    let mut word = place | Entry::PRESENT | Entry::USER | Entry::ACCESSED | last.word & KEPT;
    if rights.write {
        word |= Entry::WRITABLE | Entry::DIRTY;
    }
    if !rights.execute {
        word |= Entry::NO_EXECUTE;
    }
    Ok(Translation {
        address: address & !(PAGE_SIZE - 1),
        word,
        upper,
        last: last_table,
    })
}

/// Whether a translation to the EPC that was once allowed is allowed still, as far as the EPCM goes.
pub(super) fn is_still_allowed(thread: &Thread, address: u64, word: u64) -> bool {
    let place = word & Entry::ADDRESS;
    if !thread.contains(address) {
        return epc::page_at(place).is_none();
    }
    let Some(page) = epc::page_at(place) else {
        return false;
    };
    let found = platform()
        .entry(page)
        .and_then(|entry| entry.access(thread.secs, address));
    found.is_some_and(|found| {
        found.read
            && (found.write || word & Entry::WRITABLE == 0)
            && (found.execute || word & Entry::NO_EXECUTE != 0)
    })
}

#[derive(Clone, Copy)]
struct Rights {
    write: bool,
    execute: bool,
}

/// Walks the operating system's tables as the processor does for an access of a program: the entries and the page.
fn walk(
    memory: CallerMemory,
    regime: &Regime,
    address: u64,
    kind: Kind,
) -> Result<(Notes<CallerMemory>, u64), Event> {
    let access = walk::Access {
        kind,
        user: true,
        alignment_check: false,
    };
    let notes = Notes::new(memory);
    match regime.translate(&notes, GuestVirtual(address), access) {
        Ok(found) => Ok((notes, found.address.page().value())),
        // Another core keeps changing an entry: the access is made again when the thread is back inside.
        Err(walk::Fault::Contended) => Err(Event::Other),
        Err(fault) => Err(raised(fault).into()),
    }
}

fn enclave_rights(
    thread: &Thread,
    place: u64,
    address: u64,
    kind: Kind,
    rights: Rights,
) -> Option<Rights> {
    let entry = platform().entry(epc::page_at(place)?)?;
    let found = entry.access(thread.secs, address & !(PAGE_SIZE - 1))?;
    let allowed = match kind {
        Kind::Read => true,
        Kind::Write => found.write,
        Kind::Execute => found.execute,
    };
    // A page that can be used at all can be read: tables know no other.
    (found.read && allowed).then_some(Rights {
        write: rights.write && found.write,
        execute: rights.execute && found.execute,
    })
}

fn outside_rights(memory: CallerMemory, place: u64, kind: Kind, rights: Rights) -> Option<Rights> {
    // The EPC is no memory of domain 0's, so it is not found there either.
    let place = GuestPhysical(place);
    let writable = memory.writable(place).is_some();
    let allowed = match kind {
        Kind::Write => writable,
        Kind::Read | Kind::Execute => memory.readable(place).is_some(),
    };
    allowed.then_some(Rights {
        write: rights.write && writable,
        execute: false,
    })
}
