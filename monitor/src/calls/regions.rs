//! Memory: `carve`, `share`, `derive`, `grant`, `accept`, `close`, `revoke`.

use adyton_abi::call::Call;
use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::derive::{Source, Target};
use adyton_capability::grant::Expected;
use adyton_capability::identity::{ClaimId, NodeId};
use adyton_capability::operation::Grant;

use super::naming::{self, Stretch};
use super::operation::{is_under_way, run};
use super::{Request, Results};
use crate::domain::engine;
use crate::domain::name::{self, Place, Refusal, require};
use crate::domain::store::FrameStore;

fn attributes(word: u64) -> Result<Attributes, Error> {
    Attributes::from_word(word).ok_or(Error::Invalid)
}

/// Whom a derivation is for: the domain that argument 0 names, or nobody.
fn target(
    engine: &Engine<FrameStore>,
    request: &Request<'_>,
    page: Place,
    place: u64,
    attributes: Attributes,
) -> Result<(ClaimId, Option<Target>), Error> {
    if attributes.contains(Attributes::NOBODY) {
        return Ok((naming::claim(engine, request, page)?, None));
    }
    let (claim, context) = naming::domain(engine, request, page)?;
    Ok((
        claim,
        Some(Target {
            domain: context.id,
            place,
        }),
    ))
}

/// `carve` and `share` `(control, key, address, size, place, attributes; token)` → region.
pub(super) fn derive_range(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, address, size, place, word, _] = request.arguments;
    let attributes = attributes(word)?;
    let is_carve = request.call == Call::Carve;
    require(
        request.caller,
        if is_carve {
            Flags::MAY_CARVE
        } else {
            Flags::MAY_SHARE
        },
    )?;
    request.require_token()?;
    let page = naming::page(request)?;
    let claim = naming::claim(&engine::lock(), request, page)?;
    // A call that has begun was judged then; what it took may no longer be the caller's to name.
    let range = if is_under_way(request, claim) {
        None
    } else {
        Some(naming::range(request, address, size)?)
    };
    let mut engine = engine::lock();
    let region = run(&mut engine, request, claim, |engine| {
        // The call came to its end by another hand between the two looks: judge it anew.
        let Stretch { place: start, size } = range.ok_or(Refusal::Again)?;
        let (claim, target) = target(engine, request, page, place, attributes)?;
        let base = naming::host(engine, claim, start)?;
        let source = Source::Range { base, size };
        let attributes = attributes.without(Attributes::NOBODY);
        Ok(if is_carve {
            engine.carve(claim, source, target, attributes)?
        } else {
            engine.share(claim, source, target, attributes)?
        })
    })?;
    Ok(Results::of(&[region]))
}

/// `derive(control, key, region, offset, size, place, attributes; token)` → region.
pub(super) fn derive_region(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, region, offset, size, place, word] = request.arguments;
    let attributes = attributes(word)?;
    require(request.caller, Flags::MAY_SHARE)?;
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let (claim, target) = target(&engine, request, page, place, attributes)?;
    let region = run(&mut engine, request, claim, |engine| {
        let source = Source::Region {
            region: NodeId::from_word(region),
            offset,
            size,
        };
        Ok(engine.share(
            claim,
            source,
            target,
            attributes.without(Attributes::NOBODY),
        )?)
    })?;
    Ok(Results::of(&[region]))
}

/// `grant(claim, key, region, target control, place; token)` → region.
pub(super) fn grant(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, region, target, place, ..] = request.arguments;
    require(request.caller, Flags::MAY_GRANT)?;
    request.require_token()?;
    let page = naming::page(request)?;
    let target = name::walk(request.caller, target)?;
    let mut engine = engine::lock();
    let claim = naming::claim(&engine, request, page)?;
    let target = naming::control(&engine, request, target.place.value())?;
    let region_id = NodeId::from_word(region);
    let mut offered = false;
    let granted = run(&mut engine, request, claim, |engine| {
        match engine.grant(claim, region_id, target.id, place)? {
            Grant::Granted(operation) => Ok(operation),
            Grant::Offered => {
                offered = true;
                Err(Refusal::Again)
            }
        }
    });
    match granted {
        Err(Refusal::Again) if offered => Ok(Results::of(&[region])),
        Err(refusal) => Err(refusal),
        Ok(region) => Ok(Results::of(&[region])),
    }
}

/// `accept(control or 0, key or 0, offer, place, size, attributes; token)`.
pub(super) fn accept(request: &Request<'_>) -> Result<Results, Refusal> {
    let [control, _, _, offer, place, size, word, _] = request.arguments;
    let attributes = attributes(word)?;
    let expected = Expected {
        place,
        size,
        attributes,
    };
    let offer = NodeId::from_word(offer);
    request.require_token()?;
    if control == 0 {
        require(request.caller, Flags::MAY_ACCEPT)?;
        let mut engine = engine::lock();
        // A domain may have one acceptance under way; the engine knows it by the offer.
        let operation = engine.accept(naming::caller(request), None, offer, expected)?;
        return finish(super::operation::advance(&mut engine, request, operation));
    }
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let (claim, context) = naming::domain(&engine, request, page)?;
    run(&mut engine, request, claim, |engine| {
        Ok(engine.accept(context.id, Some(claim), offer, expected)?)
    })?;
    Ok(Results::default())
}

fn finish(progress: adyton_capability::operation::Progress) -> Result<Results, Refusal> {
    use adyton_capability::operation::Progress;
    match progress {
        Progress::Again => Err(Refusal::Again),
        Progress::Done(result) => Ok(result.map(|_| Results::default())?),
    }
}

/// `close(claim, key, region)`.
pub(super) fn close(request: &Request<'_>) -> Result<Results, Refusal> {
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let claim = naming::claim(&engine, request, page)?;
    engine.close(claim, NodeId::from_word(request.arguments[3]))?;
    Ok(Results::default())
}

/// `revoke(claim, key, region; token)`.
pub(super) fn revoke(request: &Request<'_>) -> Result<Results, Refusal> {
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let claim = naming::claim(&engine, request, page)?;
    let region = NodeId::from_word(request.arguments[3]);
    run(&mut engine, request, claim, |engine| {
        Ok(engine.revoke(claim, region)?)
    })?;
    Ok(Results::default())
}
