//! From the naming triple to identities of the engine.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_capability::Engine;
use adyton_capability::identity::{ClaimId, DomainId};

use super::Request;
use crate::domain::context::Context;
use crate::domain::name::{self, Place, Refusal};
use crate::domain::store::FrameStore;
use crate::vcpu::Owner;

/// Most leaf entries of the caller's page tables that one call looks at.
const WALK_LIMIT: u64 = 1024;

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
    let mut at = address;
    let mut start = None;
    for _ in 0..WALK_LIMIT {
        let found = name::walk(request.caller, at)?;
        let place = found.place.value();
        let start = *start.get_or_insert(place);
        if place.checked_sub(start) != Some(at - address) {
            return Err(Error::NotContiguous.into());
        }
        // To the end of the caller's page.
        let step = found.page_size - (place & (found.page_size - 1));
        at = at.saturating_add(step);
        if at >= end {
            return Ok(Stretch { place: start, size });
        }
    }
    Err(Error::TooLarge.into())
}

/// What an address or size in domain 0's claims must be a multiple of; elsewhere a page.
pub(super) fn claim_granule(request: &Request<'_>) -> u64 {
    match request.caller.owner() {
        Owner::Domain0 => 2 << 20,
        Owner::Domain => PAGE_SIZE,
    }
}
