//! Devices: `assign`, `configure`, and what is known of one.
//!
//! Who may give a function away is said by a mapping, as with memory: whoever can write all of its first registers commands it
//! already. A part would not do, for drivers map single pages to programs that they do not trust.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::derive::Target;
use adyton_capability::device;
use adyton_capability::identity::ClaimId;
use adyton_capability::operation::Operation;

use super::naming::{self, Stretch};
use super::operation::{is_under_way, run};
use super::{Request, Results};
use crate::devices::permission::Write;
use crate::devices::{self, Facts, Holder};
use crate::domain::engine;
use crate::domain::name::{self, Refusal, require};
use crate::domain::store::FrameStore;
use crate::vcpu::Owner;

/// Bytes of registers of which every page is looked at; behind them the rest is believed to be mapped as well.
const MOST_WALKED: u64 = 4 << 20;

/// What a caller gives away.
#[derive(Clone, Copy)]
enum Given {
    /// A function of domain 0's.
    Function(u16),
    /// What a domain has at this place, so many bytes.
    Place(u64, u64),
}

/// `assign(control, key, function, address, place, attributes; token)` → region, bytes.
pub(super) fn assign(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, function, address, place, word, _] = request.arguments;
    let attributes = Attributes::from_word(word).ok_or(Error::Invalid)?;
    require(request.caller, Flags::MAY_CARVE)?;
    request.require_token()?;
    let page = naming::page(request)?;
    let claim = naming::claim(&engine::lock(), request, page)?;
    // A call that has begun was judged then; the caller has lost the registers since.
    let given = if is_under_way(request, claim) {
        None
    } else {
        Some(given(request, function, address)?)
    };
    let mut engine = engine::lock();
    let region = run(&mut engine, request, claim, |engine| {
        let given = given.ok_or(Refusal::Again)?;
        let (claim, context) = naming::domain(engine, request, page)?;
        let target = Target {
            domain: context.id,
            place,
        };
        Ok(begin(engine, claim, given, target, attributes)?)
    })?;
    let facts = engine.region_facts(adyton_capability::identity::NodeId::from_word(region));
    Ok(Results::of(&[region, facts.map_or(0, |facts| facts.size)]))
}

/// What the caller names, if its mapping says that it may.
fn given(request: &Request<'_>, function: u64, address: u64) -> Result<Given, Refusal> {
    if request.caller.owner() == Owner::Domain0 {
        let function = u16::try_from(function).map_err(|_| Error::NotDevice)?;
        let facts = devices::facts(function)?;
        if facts.holder != Holder::System {
            return Err(Error::Overlap.into());
        }
        // Of what is not the function's, no page is looked at but the first.
        let start = name::walk(request.caller, address)?.place.value();
        if start != facts.first.start || walk(request, address, facts.first.size())? != start {
            return Err(Error::NotDevice.into());
        }
        return Ok(Given::Function(function));
    }
    let start = name::walk(request.caller, address)?.place.value();
    let facts = engine::lock().device_at(naming::caller(request), start);
    let facts = facts.filter(|facts| facts.place == start);
    let facts = facts.ok_or(Error::NotDevice)?;
    walk(request, address, facts.size)?;
    Ok(Given::Place(start, facts.size))
}

fn walk(request: &Request<'_>, address: u64, size: u64) -> Result<u64, Refusal> {
    let Stretch { place, .. } = naming::range(request, address, size.min(MOST_WALKED))?;
    Ok(place)
}

fn begin(
    engine: &mut Engine<FrameStore>,
    claim: ClaimId,
    given: Given,
    target: Target,
    attributes: Attributes,
) -> Result<Operation, Error> {
    match given {
        Given::Place(place, size) => engine.assign(claim, place, size, target, attributes),
        Given::Function(function) => {
            let facts = devices::begin(function, engine.first_domain())?;
            let number = device::number(function);
            let begun = engine.assign(claim, number, facts.size, target, attributes);
            begun.inspect_err(|_| devices::cancel(function))
        }
    }
}

/// The number of the function whose registers the caller has at `place`.
fn own(request: &Request<'_>, place: u64) -> Result<u64, Error> {
    let facts = engine::lock().device_at(naming::caller(request), place);
    Ok(facts.ok_or(Error::NotDevice)?.base)
}

/// `configure(address, offset, width, write, value)` → value.
pub(super) fn configure(request: &Request<'_>) -> Result<Results, Refusal> {
    let [address, offset, width, write, value, ..] = request.arguments;
    let width = u8::try_from(width)
        .ok()
        .filter(|width| matches!(width, 1 | 2 | 4))
        .ok_or(Error::Invalid)?;
    let offset = u16::try_from(offset)
        .ok()
        .filter(|offset| u64::from(*offset) < PAGE_SIZE && offset.is_multiple_of(width.into()))
        .ok_or(Error::Invalid)?;
    let (Ok(value), 0..=1) = (u32::try_from(value), write) else {
        return Err(Error::Invalid.into());
    };
    let place = name::walk(request.caller, address)?.place.value();
    let (number, caller) = (own(request, place)?, naming::caller(request));
    if write == 1 {
        devices::write(number, caller, Write { offset, width }, value)?;
        return Ok(Results::of(&[value.into()]));
    }
    let word = devices::read(number, caller, offset)? >> (8 * u32::from(offset & 3));
    let kept = u32::MAX >> (32 - 8 * u32::from(width));
    Ok(Results::of(&[(word & kept).into()]))
}

/// `information(Device, function or place)`.
pub(super) fn information(request: &Request<'_>) -> Result<Results, Error> {
    let selector = request.arguments[1];
    let is_system = request.caller.owner() == Owner::Domain0;
    let function = if is_system {
        u16::try_from(selector).map_err(|_| Error::NotDevice)?
    } else {
        device::function(own(request, selector)?)
    };
    let Facts {
        identity,
        size,
        offsets,
        holder,
        ..
    } = devices::facts(function)?;
    let (has, domain) = match holder {
        Holder::System => (0, 0),
        Holder::Nobody => (1, 0),
        Holder::Domain(id) if id == naming::caller(request) => (2, id.word()),
        Holder::Domain(id) => (3, id.word()),
    };
    let pair = |first: usize| {
        let one = |index: usize| offsets.get(index).copied().unwrap_or(0);
        u64::from(one(first)) | u64::from(one(first + 1)) << 32
    };
    let words = [identity, has, size, pair(0), pair(2), pair(4), domain];
    Ok(Results::of(
        words.get(..if is_system { 7 } else { 6 }).unwrap_or(&[]),
    ))
}
