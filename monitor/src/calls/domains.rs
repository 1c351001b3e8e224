//! Domains: `create`, `vcpu`, `cores`, `seal`, `destroy`, `abandon`, `debug_read`.

use adyton_abi::PAGE_SIZE;
use adyton_abi::call::CLAIM_OPERATION;
use adyton_abi::error::Error;
use adyton_abi::exit::ExitKind;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::Topic;
use adyton_capability::Engine;
use adyton_capability::identity::DomainId;
use adyton_capability::node;
use adyton_capability::operation::Progress;

use super::naming;
use super::operation::{self, run};
use super::{Request, Results};
use crate::address::{GuestPhysical, HostPhysical};
use crate::domain::context::{Context, Origin};
use crate::domain::directory::DIRECTORY;
use crate::domain::engine;
use crate::domain::name::{self, Refusal, require};
use crate::domain::report;
use crate::domain::store::{FrameStore, WORDS};
use crate::domain::whole;
use crate::frames::FRAMES;
use crate::iommu;
use crate::machine;
use crate::nested::{NestedTables, Rights};
use crate::vcpu::{Owner, Vcpu};
use crate::vendor::{EntryState, Vendor};

/// `create(control, key, flags, exceptions, quota)` → id.
pub(super) fn create(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, flags, exceptions, quota, ..] = request.arguments;
    let flags = Flags::from_word(flags).ok_or(Error::Invalid)?;
    let exceptions = u32::try_from(exceptions).map_err(|_| Error::Invalid)?;
    require(request.caller, Flags::MAY_CREATE)?;
    if flags.contains(Flags::CONFIDENTIAL)
        && !iommu::is_active()
        && !machine::get().allows_unprotected
    {
        return Err(Error::Unprotected.into());
    }
    let policy = Policy { flags, exceptions };
    let page = naming::page(request)?;
    let (context_page, tables) = prepare().ok_or(Error::Exhausted)?;
    let mut engine = engine::lock();
    let made = naming::claim(&engine, request, page).and_then(|claim| {
        let base = naming::host(&engine, claim, page.place.value() / PAGE_SIZE * PAGE_SIZE)?;
        Ok((engine.create(claim, base, policy, quota)?, base))
    });
    match made {
        Err(error) => {
            tables.destroy(&Returned).flushed();
            // SAFETY: just allocated, and nobody knows it.
            unsafe { FRAMES.free(context_page) };
            Err(error.into())
        }
        Ok((id, base)) => {
            publish(
                request,
                context_page,
                tables,
                id,
                policy,
                HostPhysical(base),
            );
            Ok(Results::of(&[id.word()]))
        }
    }
}

/// The frames that a domain needs besides what the engine allocates.
fn prepare() -> Option<(HostPhysical, NestedTables)> {
    let page = FRAMES.allocate()?;
    let format = Vendor::current().nested_format();
    let tables = NestedTables::new(&FRAMES, format, machine::get().gigabyte_pages);
    if tables.is_none() {
        // SAFETY: just allocated.
        unsafe { FRAMES.free(page) };
    }
    Some((page, tables?))
}

/// For tables that no core has ever used: retired is free.
struct Returned;

impl crate::nested::Frames for Returned {
    fn allocate(&self) -> Option<HostPhysical> {
        None
    }

    fn retire(&self, table: HostPhysical) {
        // SAFETY: it came from `FRAMES`, and no core has ever used it.
        unsafe { FRAMES.free(table) };
    }

    fn table(&self, table: HostPhysical) -> &[core::sync::atomic::AtomicU64; 512] {
        FRAMES.table(table)
    }
}

/// Makes the context of a new domain and lets callers find it. Under the engine's lock.
fn publish(
    request: &Request<'_>,
    page: HostPhysical,
    tables: NestedTables,
    id: DomainId,
    policy: Policy,
    control: HostPhysical,
) {
    let origin = Origin {
        key: request.key(),
        id,
        owner: naming::caller(request),
        policy,
        tables,
        control_page: Some(control),
    };
    // SAFETY: the page was allocated for this.
    let context = unsafe { Context::create(page, origin) };
    WORDS.get().set_context(id.page_number(), context);
    DIRECTORY.get().publish(control, context);
}

/// `vcpu(control, key, exit page, rip, rsp, cr3, argument)` → index.
pub(super) fn add_vcpu(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, exit_page, rip, rsp, cr3, argument] = request.arguments;
    require(request.caller, Flags::MAY_CREATE)?;
    if !exit_page.is_multiple_of(PAGE_SIZE) || !cr3.is_multiple_of(PAGE_SIZE) {
        return Err(Error::Alignment.into());
    }
    if cr3 >> 48 != 0 {
        return Err(Error::Invalid.into());
    }
    let page = naming::page(request)?;
    let exit_page = name::walk(request.caller, exit_page)?;
    let mut engine = engine::lock();
    let (claim, context) = naming::domain(&engine, request, page)?;
    if !context.has_vcpu_room() {
        return Err(Error::Exhausted.into());
    }
    let base = naming::host(&engine, claim, exit_page.place.value())?;
    let vcpu = Vcpu::create(Owner::Domain).ok_or(Error::Exhausted)?;
    let entry = node::Entry {
        rip,
        rsp,
        cr3,
        argument,
    };
    if let Err(error) = engine.add_vcpu(claim, context.id, base, entry) {
        // SAFETY: just created, and nobody knows it.
        unsafe { vcpu.destroy() };
        return Err(error.into());
    }
    let state = EntryState {
        rip,
        rsp,
        cr3,
        argument,
    };
    Vendor::current().configure_domain(vcpu, context.view.root(), context.policy.exceptions, state);
    vcpu.seat.attach(context, HostPhysical(base));
    // SAFETY: the engine has just pinned the page.
    unsafe { report::prepare(HostPhysical(base)) };
    Ok(Results::of(&[context.add_vcpu(vcpu)]))
}

/// `cores(control, key, first, count)` → region.
pub(super) fn cores(request: &Request<'_>) -> Result<Results, Refusal> {
    let [_, _, _, first, count, ..] = request.arguments;
    require(request.caller, Flags::MAY_CREATE)?;
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let (claim, context) = naming::domain(&engine, request, page)?;
    let (first, count) = if count == 0 {
        own_cores(&engine, request)?
    } else {
        (first, count)
    };
    let operation = engine.derive_cores(claim, context.id, first, count)?;
    match operation::advance(&mut engine, request, operation) {
        Progress::Done(region) => Ok(Results::of(&[region?])),
        // Allowing a core waits for nobody.
        Progress::Again => Err(Error::Busy.into()),
    }
}

/// The caller's first range of cores.
fn own_cores(engine: &Engine<FrameStore>, request: &Request<'_>) -> Result<(u64, u64), Error> {
    let caller = naming::caller(request);
    match engine.enumerate(caller, 0, Topic::Cores, 0, 0)?.record {
        Some([first, count, ..]) => Ok((first, count)),
        None => Err(Error::Rights),
    }
}

/// `seal(control, key; token)`.
pub(super) fn seal(request: &Request<'_>) -> Result<Results, Refusal> {
    require(request.caller, Flags::MAY_CREATE)?;
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let (claim, context) = naming::domain(&engine, request, page)?;
    run(&mut engine, request, claim, |engine| {
        Ok(engine.seal(claim, context.id)?)
    })?;
    Ok(Results::default())
}

/// `destroy(control, key; token)`.
pub(super) fn destroy(request: &Request<'_>) -> Result<Results, Refusal> {
    require(request.caller, Flags::MAY_CREATE)?;
    let page = naming::page(request)?;
    let mut engine = engine::lock();
    let claim = naming::claim(&engine, request, page)?;
    // Continued, the domain may be gone already while its last pages are scrubbed.
    let place = page.place.value();
    let caller = naming::caller(request);
    run(&mut engine, request, claim, |engine| {
        let (_, domain) = engine
            .domain_at(caller, place / PAGE_SIZE * PAGE_SIZE)
            .ok_or(Error::NotFound)?;
        Ok(engine.destroy(claim, domain)?)
    })?;
    Ok(Results::default())
}

/// `abandon(control, key, vCPU)` → sequence.
pub(super) fn abandon(request: &Request<'_>) -> Result<Results, Refusal> {
    require(request.caller, Flags::MAY_CREATE)?;
    let page = naming::page(request)?;
    let index = request.arguments[3];
    if index == CLAIM_OPERATION {
        return abandon_operation(request, page);
    }
    let engine = engine::lock();
    let (_, context) = naming::domain(&engine, request, page)?;
    let vcpu = context.vcpu(index).ok_or(Error::NotFound)?;
    // SAFETY: the vCPU lives as long as its context; nothing but the atomic owner is touched before it is taken.
    let owner = unsafe { &(*vcpu).seat.owner };
    if !owner.take(request.core.index) {
        if whole::end(vcpu) {
            // One that was started is stopped, and then looked at again.
            return Err(Refusal::Again);
        }
        // It may have stopped between the two looks.
        if !owner.take(request.core.index) {
            return Err(Error::Busy.into());
        }
    }
    // SAFETY: this core owns it now.
    let vcpu = unsafe { &mut *vcpu };
    let entry = &mut vcpu.seat.entry;
    if entry.is_unfinished() {
        let sequence = entry.finish(ExitKind::Abandoned);
        report::record(
            vcpu,
            ExitKind::Abandoned,
            sequence,
            &report::Operands::default(),
        );
    }
    let sequence = vcpu.seat.entry.sequence();
    owner.release();
    Ok(Results::of(&[sequence]))
}

/// Carries the claim's unfinished operation to its end, whoever began it, and forgets its result.
fn abandon_operation(request: &Request<'_>, page: name::Place) -> Result<Results, Refusal> {
    let mut engine = engine::lock();
    let claim = naming::claim(&engine, request, page)?;
    if let Some(operation) = engine.pending(claim) {
        if operation::advance(&mut engine, request, operation) == Progress::Again {
            return Err(Refusal::Again);
        }
        engine.clear_pending(claim);
    }
    Ok(Results::of(&[0]))
}

/// `debug_read(control, key, guest-physical address)` → seven words.
pub(super) fn debug_read(request: &Request<'_>) -> Result<Results, Refusal> {
    const WORDS_READ: usize = 7;
    let address = request.arguments[3];
    if !address.is_multiple_of(8) {
        return Err(Error::Alignment.into());
    }
    require(request.caller, Flags::MAY_CREATE)?;
    let page = naming::page(request)?;
    let engine = engine::lock();
    let (_, context) = naming::domain(&engine, request, page)?;
    if !context.policy.flags.contains(Flags::DEBUG) {
        return Err(Error::WrongState.into());
    }
    let mut words = [0; WORDS_READ];
    for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
        let place = address.checked_add(offset).ok_or(Error::Invalid)?;
        let found = context
            .view
            .translate(&FRAMES, GuestPhysical(place))
            .ok_or(Error::NotFound)?;
        // Registers of a device are no memory: devices do not reach them.
        if !found.rights.contains(Rights::READ.union(Rights::DEVICE)) {
            return Err(Error::NotFound.into());
        }
        // SAFETY: the domain's memory is RAM, mapped one to one; the engine's lock keeps it the domain's meanwhile.
        *word = unsafe { (found.address.value() as *const u64).read_volatile() };
    }
    drop(engine);
    Ok(Results::of(&words))
}
