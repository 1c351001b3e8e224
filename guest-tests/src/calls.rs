//! What the monitor says about itself, and that every refusal can be reached.

use adyton::abi::call::Call;
use adyton::abi::error::Error as Reason;
use adyton::abi::{PAGE_SIZE, VERSION};
use adyton::{
    ALL_RIGHTS, Claim, Domain, Entry, Flags, Key, Linux, Monitor, Name, Placement, Policy,
    READ_WRITE, Request, calls, policy,
};
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use crate::fixture::{ROOM, agent, failed, pool, refused};
use crate::raw;

pub(crate) const TESTS: &[crate::Test] = &[
    ("information", information),
    ("claim-refusals", claim_refusals),
    (
        "claim-needs-a-writable-mapping",
        claim_needs_a_writable_mapping,
    ),
    ("bad-key", bad_key),
    ("wrong-state", wrong_state),
    ("carve-refusals", carve_refusals),
    ("pinned-pages", pinned_pages),
    ("quota", quota),
    ("malformed", malformed),
    ("dead-domain", dead_domain),
    ("unknown-calls", unknown_calls),
    ("nested-policy", nested_policy),
];

/// Pages of monitor memory for a small domain.
pub const QUOTA: u64 = 64;

fn empty(claim: &Claim, flags: Flags) -> Result<Domain> {
    Ok(Domain::create(claim, policy(flags), QUOTA)?)
}

fn at(from: u64, place: u64) -> Placement {
    Placement {
        from,
        size: PAGE_SIZE,
        place,
        attributes: READ_WRITE,
    }
}

fn information() -> Result<()> {
    let monitor = Monitor::ask()?;
    ensure!(monitor.interface == u64::from(VERSION), "{monitor:?}");
    ensure!(
        monitor.cores >= 1 && monitor.pool == pool()?.size(),
        "{monitor:?}"
    );
    ensure!(monitor.quota[0] > monitor.quota[1], "{monitor:?}");
    let place = Linux::without_memory()?;
    let (first, second) = (calls::random(&place)?, calls::random(&place)?);
    ensure!(first != second && first != [0; 4], "randomness repeats");
    Ok(())
}

fn claim_refusals() -> Result<()> {
    let pool = pool()?;
    let place = pool.environment();
    let claim = pool.claim(ROOM)?;
    let free = pool.claim(ROOM)?.address();
    refused(calls::claim(place, claim.address(), ROOM), Reason::Overlap)?;
    refused(calls::claim(place, free, 0), Reason::Invalid)?;
    refused(calls::claim(place, free, PAGE_SIZE), Reason::Alignment)?;
    refused(
        calls::claim(place, free + PAGE_SIZE, ROOM),
        Reason::Alignment,
    )?;
    refused(
        calls::release(place, raw::anonymous_page()?),
        Reason::NotFound,
    )?;
    refused(calls::release(place, free), Reason::NotFound)?;
    let untokened = Request::new(Call::Claim, [free, ROOM]);
    refused(calls::once(place, untokened), Reason::Invalid)
}

/// The call raises what a store would have raised: here a signal.
fn claim_needs_a_writable_mapping() -> Result<()> {
    let pool = pool()?;
    let claim = pool.claim(ROOM)?;
    let offset = claim.address() - pool.environment().base();
    let read_only = raw::map_pool(pool.device(), offset, ROOM, false)?;
    let place = pool.environment().clone();
    let end = raw::in_copy(move || i32::from(calls::release(&place, read_only).is_ok()))?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGSEGV, _)),
        "ended {end:?}"
    );
    let second = raw::map_pool(pool.device(), offset, ROOM, true)?;
    // Another mapping of the same memory commands the same claim.
    calls::release(pool.environment(), second)?;
    refused(
        calls::release(pool.environment(), claim.address()),
        Reason::NotFound,
    )
}

fn bad_key() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let page = claim.pages(PAGE_SIZE)?;
    let [low, high] = claim.name().key.0;
    for key in [[low ^ 1, high], [low, high ^ 1 << 63], [0, 0]] {
        let name = Name {
            address: page.address(),
            key: Key(key),
        };
        let created = calls::create(claim.environment(), name, Policy::default(), QUOTA);
        refused(created, Reason::BadKey)?;
    }
    Ok(())
}

fn wrong_state() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let domain = empty(&claim, Flags::NONE)?;
    let pages = claim.pages(2 * PAGE_SIZE)?;
    let mut vcpu = domain.add_vcpu(Entry::default())?;
    refused(vcpu.enter(0), Reason::WrongState)?;
    domain.carve(at(pages.address(), 0x1000))?;
    domain.seal()?;
    refused(domain.seal(), Reason::WrongState)?;
    refused(
        domain.carve(at(pages.address() + PAGE_SIZE, 0x2000)),
        Reason::WrongState,
    )?;
    failed(
        domain.add_vcpu(Entry::default()).map(drop),
        Reason::WrongState,
    )?;
    domain.keep(pages);
    Ok(())
}

fn carve_refusals() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let domain = empty(&claim, Flags::NONE)?;
    let pages = claim.pages(4 * PAGE_SIZE)?;
    let [first, second, third] = [0, 1, 2].map(|page| pages.address() + page * PAGE_SIZE);
    domain.carve(at(first, 0x1000))?;
    refused(domain.carve(at(first, 0x5000)), Reason::Overlap)?;
    refused(domain.share(at(first, 0x5000)), Reason::Overlap)?;
    refused(domain.carve(at(second, 0x1000)), Reason::Occupied)?;
    refused(domain.carve(at(second, 0x1800)), Reason::Alignment)?;
    refused(domain.carve(at(second + 8, 0x2000)), Reason::Alignment)?;
    domain.share(at(third, 0x3000))?;
    refused(domain.carve(at(third, 0x6000)), Reason::Overlap)?;
    let read_only = Placement {
        attributes: adyton::Attributes::READ,
        ..at(second, 0)
    };
    let nobody = claim.carve_for_nobody(second, PAGE_SIZE, read_only.attributes)?;
    let more = Placement {
        from: 0,
        attributes: ALL_RIGHTS,
        ..at(0, 0x7000)
    };
    refused(domain.derive(nobody, more), Reason::Rights)?;
    refused(
        domain.derive(
            nobody,
            Placement {
                from: PAGE_SIZE,
                ..read_only
            },
        ),
        Reason::Invalid,
    )
    .or_else(|_| {
        let outside = Placement {
            from: PAGE_SIZE,
            place: 0x8000,
            ..read_only
        };
        refused(domain.derive(nobody, outside), Reason::NotFound)
    })?;
    let other = pool()?.claim(ROOM)?;
    refused(domain.carve(at(other.address(), 0x9000)), Reason::NotFound)?;
    domain.keep(pages);
    Ok(())
}

/// Control and exit pages stay where they are while the domain lives.
fn pinned_pages() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let domain = empty(&claim, Flags::NONE)?;
    let control = domain.name().address;
    refused(domain.carve(at(control, 0x1000)), Reason::Overlap)?;
    refused(domain.share(at(control, 0x1000)), Reason::Overlap)?;
    refused(
        calls::create(claim.environment(), domain.name(), Policy::default(), QUOTA),
        Reason::Overlap,
    )
}

fn quota() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    failed(
        Domain::create(&claim, Policy::default(), 1 << 30).map(drop),
        Reason::Quota,
    )?;
    failed(
        Domain::create(&claim, Policy::default(), 1).map(drop),
        Reason::Quota,
    )?;
    let domain = empty(&claim, Flags::NONE)?;
    let mut vcpus = Vec::new();
    while vcpus.len() < 200 {
        match domain.add_vcpu(Entry::default()) {
            Ok(vcpu) => vcpus.push(vcpu),
            refusal => return failed(refusal.map(drop), Reason::Quota),
        }
    }
    anyhow::bail!("200 vCPUs out of {QUOTA} pages")
}

fn malformed() -> Result<()> {
    let claim = pool()?.claim(ROOM)?;
    let domain = empty(&claim, Flags::NONE)?;
    let place = claim.environment();
    let page = claim.pages(PAGE_SIZE)?;
    let Name {
        address,
        key: Key([low, high]),
    } = domain.name();
    let carve = |rest: [u64; 4]| {
        let [from, size, at, attributes] = rest;
        let words = [address, low, high, from, size, at, attributes, 0];
        calls::once(place, Request::new(Call::Carve, words).with_token(7))
    };
    refused(carve([page.address(), 0, 0x1000, 3]), Reason::Invalid)?;
    refused(
        carve([page.address(), PAGE_SIZE, 0x1000, 2]),
        Reason::Invalid,
    )?;
    refused(
        carve([page.address(), PAGE_SIZE, 0x1000, 1 << 40]),
        Reason::Invalid,
    )?;
    refused(
        carve([page.address(), PAGE_SIZE, 1 << 63, 3]),
        Reason::Invalid,
    )?;
    let unknown_flags = Request::new(Call::Create, [page.address(), low, high, 1 << 40, 0, QUOTA]);
    refused(calls::once(place, unknown_flags), Reason::Invalid)?;
    refused(
        calls::once(place, Request::new(Call::Information, [999])),
        Reason::Invalid,
    )
}

fn dead_domain() -> Result<()> {
    let mut running = agent(Flags::CONFIDENTIAL)?;
    let name = running.domain().name();
    running.domain().destroy()?;
    let refusal = running.vcpu().enter(0).expect_err("the domain is gone");
    ensure!(
        refusal.is(Reason::Dead) || refusal.is(Reason::NotFound),
        "{refusal}"
    );
    let refusal = calls::seal(running.pool.environment(), name).expect_err("it is gone");
    ensure!(
        refusal.is(Reason::Dead) || refusal.is(Reason::NotFound),
        "{refusal}"
    );
    Ok(())
}

/// Numbers of ours that no call has are refused; numbers of other hypervisors raise what bare metal raises.
fn unknown_calls() -> Result<()> {
    let ours = Call::ALL.iter().map(|&call| call as u64).max().unwrap_or(0) + 100;
    ensure!(
        raw::call_number(ours) == Reason::Unsupported as u64,
        "an unknown call was taken"
    );
    let end = raw::in_copy(|| raw::call_number(5) as i32)?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGILL, _)),
        "ended {end:?}"
    );
    Ok(())
}

/// A domain does only what its policy allows.
fn nested_policy() -> Result<()> {
    let mut running = crate::fixture::agent_with(Flags::CONFIDENTIAL, |program| {
        program.pool = 2 << 20;
    })?;
    let pool = running.loaded.plan.pool;
    let claim = [5, Call::Claim as u64, pool.base, pool.size, 0, 0];
    let [status, _] = running.ask(claim)?;
    ensure!(
        status == Reason::Policy as u64,
        "claim without permission: {status}"
    );
    let mut allowed = crate::fixture::agent_with(Flags::CONFIDENTIAL | Flags::MAY_CREATE, |it| {
        it.pool = 2 << 20;
    })?;
    let [status, _] = allowed.ask(claim)?;
    ensure!(status == 0, "claim with permission: {status}");
    Ok(())
}
