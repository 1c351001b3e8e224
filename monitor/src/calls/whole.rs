//! Whole cores: `carve_core`, `start`.
//!
//! Nobody maps a core, so no mapping says who may give one away. Whoever takes a core offline (in domain 0 its administrator) offers it to
//! those who may build domains, and it is theirs who asks first, until it is taken back: design note 012.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_capability::Engine;
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::operation::Operation;

use super::operation::run;
use super::{Request, Results, naming};
use crate::cores::whole::{Offline, threads};
use crate::cores::{self, Core};
use crate::domain::engine;
use crate::domain::name::{Refusal, require};
use crate::domain::store::FrameStore;
use crate::domain::whole::{self, Notice};
use crate::instructions::time_stamp;
use crate::machine;
use crate::vcpu::Owner;

/// The first vector that no exception has.
const FIRST_VECTOR: u64 = 32;

/// `carve_core(control, key, core; token)` → region.
pub(super) fn carve_core(request: &Request<'_>) -> Result<Results, Refusal> {
    require(request.caller, Flags::MAY_CARVE)?;
    let token = request.require_token()?;
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let (claim, context) = naming::domain(&engine, request, page)?;
    let number = usize::try_from(request.arguments[3]).ok();
    let core = number.and_then(|number| cores::all().get(number));
    let thread = u64::from(core.ok_or(Error::Rights)?.apic_id);
    let is_system = request.caller.owner() == Owner::Domain0;
    let region = run(&mut engine, request, claim, |engine| {
        if is_system {
            begin(engine, claim, context.id, thread, token)
        } else {
            Ok(engine.carve_core(claim, thread, context.id)?)
        }
    })?;
    Ok(Results::of(&[region]))
}

/// Takes the core from domain 0, if that has let go of all its threads, and gives it to the domain.
fn begin(
    engine: &mut Engine<FrameStore>,
    claim: ClaimId,
    domain: DomainId,
    thread: u64,
    token: u64,
) -> Result<Operation, Refusal> {
    let first = thread & !(machine::get().threads - 1);
    let all = || threads(first, machine::get().threads);
    if all().any(Core::is_taken) {
        return Err(Error::Overlap.into());
    }
    let (now, patience) = (time_stamp(), machine::get().patience);
    let mut is_asked = false;
    for core in all() {
        match core.is_offline(token, now, patience) {
            Offline::Yes => {}
            Offline::No => return Err(Error::CoreBusy.into()),
            Offline::Asked => is_asked = true,
        }
    }
    if is_asked {
        return Err(Refusal::Again);
    }
    let carved = if all().all(Core::take) {
        engine
            .carve_core(claim, thread, domain)
            .map_err(Refusal::from)
    } else {
        // A start-up has come first.
        Err(Error::CoreBusy.into())
    };
    carved.inspect_err(|_| all().for_each(Core::give_back))
}

/// `start(control, key, vCPU, region, sequence, notice, thread; token)`.
pub(super) fn start(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, index, region, sequence, vector, thread] = request.arguments;
    require(request.caller, Flags::MAY_CREATE)?;
    let token = request.require_token()?;
    let notice = notice(request, vector)?;
    let page = naming::page(request)?;
    let engine = engine::lock();
    let (_, context) = naming::domain(&engine, request, page)?;
    let core = engine
        .whole_core(context.id, NodeId::from_word(region))
        .filter(|facts| thread < facts.size)
        .and_then(|facts| threads(facts.base + thread, 1).next())
        .filter(|core| core.is_taken())
        .ok_or(Error::NotFound)?;
    whole::start(core, context, index, sequence, token, notice)?;
    Ok(Results::default())
}

/// The interrupt that the caller asks for. Only who could send it to himself may: a kernel of domain 0's. To a program it would be a
/// way to make any interrupt happen, and domains have none.
fn notice(request: &Request<'_>, vector: u64) -> Result<Notice, Error> {
    if vector == 0 {
        return Ok(Notice::default());
    }
    let vector = u8::try_from(vector).map_err(|_| Error::Invalid)?;
    if u64::from(vector) < FIRST_VECTOR {
        return Err(Error::Invalid);
    }
    if request.caller.owner() != Owner::Domain0 || request.caller.cpl() != 0 {
        return Err(Error::Policy);
    }
    Ok(Notice {
        apic_id: request.core.apic_id,
        vector,
    })
}
