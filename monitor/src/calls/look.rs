//! Looking: `information`, `enumerate`, `random`.

use adyton_abi::VERSION;
use adyton_abi::call::{Information, Protection};
use adyton_abi::error::Error;
use adyton_abi::record::Topic;

use super::{Request, Results, naming};
use crate::cores;
use crate::domain::engine;
use crate::domain::name::{self, Refusal};
use crate::domain::store::WORDS;
use crate::frames::FRAMES;
use crate::vcpu::Owner;
use crate::{attestation, enclave, iommu, log, machine, random, selfcheck};

/// The monitor's version as one word: major, minor, patch.
const MONITOR_VERSION: u64 = parse(env!("CARGO_PKG_VERSION_MAJOR")) << 32
    | parse(env!("CARGO_PKG_VERSION_MINOR")) << 16
    | parse(env!("CARGO_PKG_VERSION_PATCH"));

/// The counter of pages of the reserve that are in use.
const RESERVE_IN_USE: u64 = 16;

const fn parse(digits: &str) -> u64 {
    let (mut value, mut index) = (0, 0);
    while index < digits.len() {
        value = value * 10 + (digits.as_bytes()[index] - b'0') as u64;
        index += 1;
    }
    value
}

/// `information(topic)`.
pub(super) fn information(request: &Request<'_>) -> Result<Results, Refusal> {
    let topic = Information::from_number(request.arguments[0]).ok_or(Error::Invalid)?;
    let facts = || {
        engine::lock()
            .domain_facts(naming::caller(request))
            .ok_or(Error::Dead)
    };
    Ok(match topic {
        Information::Version => Results::of(&[VERSION.into(), MONITOR_VERSION, 0]),
        Information::Cores => {
            let count = cores::all().len() as u64;
            Results::of(&[
                count,
                request.core.index.into(),
                machine::get().ticks_per_second,
            ])
        }
        Information::Pool => {
            let facts = facts()?;
            Results::of(&[
                facts.pool_bytes,
                facts.claimed_bytes,
                facts.pool_regions.into(),
            ])
        }
        Information::Quota => {
            let account = facts()?.account;
            Results::of(&[account.limit, account.used, account.passed])
        }
        Information::Protection => {
            let holds = |which: bool, protection: Protection| {
                if which { protection as u64 } else { 0 }
            };
            Results::of(&[holds(iommu::is_active(), Protection::DeviceDma)
                | holds(attestation::platform().is_some(), Protection::MeasuredBoot)])
        }
        Information::Devices => {
            let report = iommu::report();
            let words = [
                report.units,
                report.flushes,
                report.blocked,
                report.device.into(),
                report.address,
                report.overflows,
            ];
            // What the system does with its devices is its own matter.
            let is_system = request.caller.owner() == Owner::Domain0;
            Results::of(words.get(..if is_system { 6 } else { 2 }).unwrap_or(&[]))
        }
        Information::Enclaves if request.caller.owner() == Owner::Domain0 => {
            Results::of(&enclave::listing::information(request.arguments[1]))
        }
        Information::Enclaves => return Err(Error::Invalid.into()),
        Information::Device => super::devices::information(request)?,
        Information::Log if request.caller.owner() == Owner::Domain0 => {
            let (address, size) = log::place();
            Results::of(&[address, size])
        }
        Information::Log => Results::of(&[0, 0]),
        Information::Selfcheck if request.caller.owner() == Owner::Domain0 => {
            let [_, what, argument, ..] = request.arguments;
            Results::of(&selfcheck::perform(what, argument)?)
        }
        Information::Selfcheck => return Err(Error::Invalid.into()),
        Information::Counter => Results::of(&[counter(request)?]),
    })
}

/// A counter of the core that answers, or, for domain 0 alone, of another core (its number plus one in the upper half of the selector) or of
/// the machine: from what is free others could learn what their neighbours do.
fn counter(request: &Request<'_>) -> Result<u64, Error> {
    let is_system = request.caller.owner() == Owner::Domain0;
    let (core, selector) = (
        request.arguments[1] >> 32,
        request.arguments[1] & 0xffff_ffff,
    );
    let core = match core.checked_sub(1) {
        None => request.core,
        Some(number) if is_system => cores::all().get(number as usize).ok_or(Error::Invalid)?,
        Some(_) => return Err(Error::Invalid),
    };
    Ok(match selector {
        RESERVE_IN_USE if is_system => WORDS.get().frames().saturating_sub(FRAMES.free_pages()),
        selector => core.counter(selector),
    })
}

/// `enumerate(address, topic, subject, cursor)`.
pub(super) fn enumerate(request: &Request<'_>) -> Result<Results, Refusal> {
    let [address, topic, subject, cursor, ..] = request.arguments;
    let topic = Topic::from_number(topic).ok_or(Error::Invalid)?;
    let needs_address = !matches!(topic, Topic::Pool | Topic::Offers);
    let place = if needs_address {
        name::walk(request.caller, address)?.place.value()
    } else {
        0
    };
    let listing =
        engine::lock().enumerate(naming::caller(request), place, topic, subject, cursor)?;
    let mut words = [listing.next, 0, 0, 0, 0, 0, 0, 0];
    if let Some(mut record) = listing.record {
        if topic == Topic::Claims && !is_visible(request, address, place, record[0])? {
            return Ok(Results::of(&words));
        }
        if topic == Topic::WholeCores {
            // The engine numbers threads as their APICs do.
            let first = cores::whole::threads(record[1], 1).next();
            record[1] = first.map_or(u64::MAX, |core| core.index.into());
        }
        words[1] = 1;
        words[2..].copy_from_slice(&record);
    }
    Ok(Results::of(&words))
}

/// Whether the caller has mapped the first page of a claim where it has mapped the rest of the pool: as far from `address`
/// as the claim is from `place`.
fn is_visible(
    request: &Request<'_>,
    address: u64,
    place: u64,
    distance: u64,
) -> Result<bool, Refusal> {
    let found = match name::walk(request.caller, address.wrapping_add(distance)) {
        Ok(found) => found.place.value(),
        // What is mapped but not present yet, the caller's kernel shall fill in; what is not mapped ends the caller.
        Err(Refusal::Fault(_)) => return Ok(false),
        Err(refusal) => return Err(refusal),
    };
    Ok(found == place.wrapping_add(distance))
}

/// `random()` → four words.
pub(super) fn random() -> Result<Results, Refusal> {
    let mut words = [0; 4];
    for word in &mut words {
        *word = random::word().ok_or(Error::Exhausted)?;
    }
    Ok(Results::of(&words))
}
