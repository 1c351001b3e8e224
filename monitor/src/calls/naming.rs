//! From the naming triple to identities of the engine.

use core::sync::atomic::{AtomicU64, Ordering};

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_capability::Engine;
use adyton_capability::identity::{ClaimId, DomainId};
use adyton_x86::flags::ALIGNMENT_CHECK;
use adyton_x86::paging::{ENTRIES, Entry};

use super::Request;
use crate::address::{GuestPhysical, GuestVirtual};
use crate::domain::context::Context;
use crate::domain::memory::CallerMemory;
use crate::domain::name::{self, Place, Refusal};
use crate::domain::store::FrameStore;
use crate::guest::walk::{Access, Kind, Regime, Translation};
use crate::vcpu::{Owner, Vcpu};

/// Most leaf entries of the caller's page tables that one call looks at.
const WALK_LIMIT: u64 = 1024;
/// Most of them that may need a walk of their own, since they do not follow from their neighbour: a walk costs some hundred
/// instructions, several times that where the caller's tables lie in nested memory of its own.
const RAGGED_LIMIT: u64 = 32;

/// A guest-physical range of the caller, which its page tables let it write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Guest-physical address.
    pub(super) place: u64,
    /// Bytes.
    pub(super) size: u64,
}

/// The caller's domain.
pub(super) fn caller(request: &Request<'_>) -> DomainId {
    request.caller.seat.context().id
}

/// The page that argument 0 names.
pub(super) fn page(request: &Request<'_>) -> Result<Place, Refusal> {
    name::walk(request.caller, request.arguments[0])
}

/// The claim that holds `place` of the caller's, checked against the key in arguments 1 and 2.
pub(super) fn claim(
    engine: &Engine<FrameStore>,
    request: &Request<'_>,
    place: Place,
) -> Result<ClaimId, Error> {
    let claim = engine
        .claim_at(caller(request), place.place.value())
        .ok_or(Error::NotFound)?;
    engine.check_key(claim, request.key())?;
    Ok(claim)
}

/// The domain whose control page argument 0 names, key checked, and its claim.
pub(super) fn domain(
    engine: &Engine<FrameStore>,
    request: &Request<'_>,
    place: Place,
) -> Result<(ClaimId, &'static Context), Error> {
    let claim = claim(engine, request, place)?;
    let context = control(engine, request, place.place.value())?;
    Ok((claim, context))
}

/// The domain whose control page stands at `place` of the caller's.
pub(super) fn control(
    engine: &Engine<FrameStore>,
    request: &Request<'_>,
    place: u64,
) -> Result<&'static Context, Error> {
    let place = place / PAGE_SIZE * PAGE_SIZE;
    let (_, domain) = engine
        .domain_at(caller(request), place)
        .ok_or(Error::NotFound)?;
    crate::domain::platform::find(domain).ok_or(Error::NotFound)
}

/// Where a guest-physical address of the claim's owner is, if it lies in the claim.
pub(super) fn host(engine: &Engine<FrameStore>, claim: ClaimId, place: u64) -> Result<u64, Error> {
    let facts = engine.claim_facts(claim).ok_or(Error::NotFound)?;
    let offset = place
        .checked_sub(facts.place)
        .filter(|offset| *offset < facts.size);
    Ok(facts.base + offset.ok_or(Error::NotFound)?)
}

/// Walks the range in `address` and `size`: aligned, mapped writable, contiguous in guest-physical memory.
pub(super) fn range(request: &Request<'_>, address: u64, size: u64) -> Result<Stretch, Refusal> {
    if size == 0 {
        return Err(Error::Invalid.into());
    }
    if !address.is_multiple_of(PAGE_SIZE) || !size.is_multiple_of(PAGE_SIZE) {
        return Err(Error::Alignment.into());
    }
    let end = address.checked_add(size).ok_or(Error::Invalid)?;
    let mut pages = Pages::new(request.caller)?;
    let first = pages.next(address)?;
    let mut page = first;
    let (mut left, mut ragged) = (WALK_LIMIT - 1, RAGGED_LIMIT);
    // To the end of the caller's page.
    let mut at = (address & !(page.page_size - 1)).saturating_add(page.page_size);
    while at < end {
        let wanted = (end - at).div_ceil(page.page_size).min(left);
        let run = pages.follow(wanted);
        left -= run;
        at = at.saturating_add(run * page.page_size);
        if at >= end {
            break;
        }
        left = left.checked_sub(1).ok_or(Error::TooLarge)?;
        ragged = ragged.checked_sub(1).ok_or(Error::TooLarge)?;
        page = pages.next(at)?;
        if page.address.checked_offset_from(first.address) != Some(at - address) {
            return Err(Error::NotContiguous.into());
        }
        at = at.saturating_add(page.page_size);
    }
    Ok(Stretch {
        place: first.address.value(),
        size,
    })
}

/// The pages of a caller, one after another.
///
/// A page whose entry stands behind the last one's in the same table, and says the same of the next page, needs no walk: so a
/// call that names many pages stays short ([`Pages::follow`]).
struct Pages {
    regime: Regime,
    access: Access,
    memory: CallerMemory,
    last: Option<(Translation, &'static [AtomicU64; ENTRIES])>,
}

impl Pages {
    fn new(caller: &Vcpu) -> Result<Self, Error> {
        Ok(Self {
            regime: caller.regime().ok_or(Error::Unsupported)?,
            access: Access {
                kind: Kind::Write,
                user: caller.cpl() == 3,
                alignment_check: caller.rflags() & ALIGNMENT_CHECK != 0,
            },
            memory: CallerMemory::new(caller),
            last: None,
        })
    }

    /// The page at `address`, which the caller may write.
    fn next(&mut self, address: u64) -> Result<Translation, Refusal> {
        let found = self
            .regime
            .translate(&self.memory, GuestVirtual(address), self.access)?;
        self.last = self.memory.table(found.entry.0).map(|table| (found, table));
        Ok(found)
    }

    /// How many pages behind the last one, `most` at most, follow it in memory as well, by entries that follow its entry in
    /// the same table and say the same. It moves on to the last of them.
    fn follow(&mut self, most: u64) -> u64 {
        // Naming a page neither reads nor writes it, so nothing is to be marked; and some bits are the caller's kernel's own.
        const MARKS: u64 = Entry::ACCESSED | Entry::DIRTY | Entry::AVAILABLE;
        let Some((last, table)) = &mut self.last else {
            return 0;
        };
        let (place, word) = last.entry;
        let behind = place.page_offset() as usize / 8 + 1;
        let entries = table.get(behind..).unwrap_or_default();
        let mut expected = word | MARKS;
        let mut run = 0;
        for entry in entries.iter().take(most as usize) {
            expected = expected.wrapping_add(last.page_size);
            if entry.load(Ordering::Relaxed) | MARKS != expected {
                break;
            }
            run += 1;
        }
        let bytes = run * last.page_size;
        last.address = GuestPhysical(last.address.align_down(last.page_size).value() + bytes);
        last.entry = (GuestPhysical(place.value() + 8 * run), word + bytes);
        run
    }
}

/// What an address or size in domain 0's claims must be a multiple of; elsewhere a page.
pub(super) fn claim_granule(request: &Request<'_>) -> u64 {
    match request.caller.owner() {
        Owner::Domain0 => 2 << 20,
        Owner::Domain => PAGE_SIZE,
    }
}
