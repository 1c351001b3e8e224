//! `claim` and `release`.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_capability::operation::Progress;

use super::naming::{self, claim_granule};
use super::{Request, Results, operation};
use crate::domain::engine;
use crate::domain::name::{Refusal, require};
use crate::memory::Range;
use crate::vcpu::Owner;
use crate::{random, scrub};

/// `claim(address, size; token)` → key.
pub(super) fn claim(request: &Request<'_>) -> Result<Results, Refusal> {
    let [address, size, ..] = request.arguments;
    request.require_token()?;
    require(request.caller, Flags::MAY_CREATE)?;
    let granule = claim_granule(request);
    if !address.is_multiple_of(granule) || !size.is_multiple_of(granule) {
        return Err(Error::Alignment.into());
    }
    let range = naming::range(request, address, size)?;
    if !range.place.is_multiple_of(granule) {
        return Err(Error::Alignment.into());
    }
    if request.caller.owner() == Owner::Domain0 {
        let start = range.place;
        scrub::note_claim(Range {
            start,
            end: start.saturating_add(range.size),
        });
    }
    let key = [
        random::word().ok_or(Error::Exhausted)?,
        random::word().ok_or(Error::Exhausted)?,
    ];
    engine::lock().claim(naming::caller(request), range.place, range.size, key)?;
    Ok(Results::of(&key))
}

/// `release(address; token)`: the mapping suffices.
pub(super) fn release(request: &Request<'_>) -> Result<Results, Refusal> {
    request.require_token()?;
    require(request.caller, Flags::MAY_CREATE)?;
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let claim = engine
        .claim_at(naming::caller(request), page.place.value())
        .ok_or(Error::NotFound)?;
    // Released twice at once, both carry on with the same.
    let operation = engine.release(claim)?;
    match operation::advance(&mut engine, request, operation) {
        Progress::Again => Err(Refusal::Again),
        Progress::Done(result) => Ok(result.map(|_| Results::default())?),
    }
}
