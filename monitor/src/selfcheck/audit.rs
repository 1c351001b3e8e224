//! Whether the engine's records agree with themselves, and the tables that the hardware walks with the engine.
//!
//! Every domain's tables are compared page by page in both directions: what the engine gives must stand there with
//! just these rights, and nothing else may. Domain 0 also has what is not memory (devices, the firmware's), so of its tables
//! only the memory that the engine knows is compared, and that the monitor's own is not in them. Takes long, under the engine's
//! lock.

use adyton_abi::error::Error;
use adyton_abi::region::Attributes;
use adyton_capability::node::Resource;
use adyton_capability::reach::Reach;
use adyton_capability::{Engine, Violation};
use adyton_sgx::epcm::{self, Claim, EpcmEntry};

use crate::address::{GuestPhysical, PAGE_SIZE};
use crate::devices;
use crate::domain::context::Context;
use crate::domain::engine;
use crate::domain::store::{FrameStore, WORDS};
use crate::enclave;
use crate::frames::FRAMES;
use crate::lock::Lock;
use crate::machine;
use crate::memory::Range;
use crate::nested::{Rights, View};

/// What is wrong first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The engine's records.
    Records(Violation),
    /// The engine gives a page that the tables lead elsewhere or not at all, or with other rights: its place.
    Missing(u64),
    /// The tables lead somewhere that the engine does not give: how many pages too many.
    Surplus(u64),
    /// Domain 0 reaches memory of the monitor's: its address.
    Exposed(u64),
}

/// What an audit found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    fault: Option<Fault>,
    domains: u64,
    pages: u64,
}

impl Findings {
    /// Kind of the fault (0: none), what it is about, domains and pages looked at.
    pub(super) const fn words(self) -> [u64; 4] {
        let (kind, detail) = match self.fault {
            None => (0, 0),
            Some(Fault::Records(violation)) => (1, violation as u64),
            Some(Fault::Missing(place)) => (2, place),
            Some(Fault::Surplus(pages)) => (3, pages),
            Some(Fault::Exposed(address)) => (4, address),
        };
        [kind, detail, self.domains, self.pages]
    }

    fn note(&mut self, fault: Option<Fault>) {
        self.fault = self.fault.or(fault);
    }
}

/// Looks at all domains.
pub(super) fn everything() -> Findings {
    let mut findings = Findings::default();
    let engine = engine::lock();
    findings.note(engine.check_invariants().err().map(Fault::Records));
    let words = WORDS.get();
    for number in 0..words.frames() as u32 {
        if let Some(context) = words.context(number) {
            compare(&engine, context, &mut findings);
        }
    }
    findings
}

/// Looks at the EPCM.
pub(super) fn enclaves() -> Result<[u64; 4], Error> {
    let epcm = epcm().ok_or(Error::Invalid)?;
    Ok(match epcm::audit(epcm, enclave::epc::load) {
        Ok(census) => [0, census.valid, census.enclaves, census.threads],
        Err((page, violation)) => [violation as u64, page.0.into(), 0, 0],
    })
}

fn epcm() -> Option<&'static [EpcmEntry]> {
    enclave::is_offered().then(|| enclave::platform().epcm)
}

/// As if a leaf had forgotten to give its page back.
pub(super) fn hold(number: u64) -> Result<[u64; 4], Error> {
    static HELD: Lock<Option<Claim<'static>>> = Lock::new(None);
    let mut held = HELD.lock();
    *held = None;
    if let Some(number) = number.checked_sub(1) {
        let entry = epcm().and_then(|epcm| epcm.get(usize::try_from(number).ok()?));
        *held = entry.ok_or(Error::Invalid)?.claim();
    }
    Ok([held.is_some().into(), 0, 0, 0])
}

/// Compares one domain.
fn compare(engine: &Engine<FrameStore>, context: &Context, findings: &mut Findings) {
    // SAFETY: the caller holds the engine's lock, and nothing else looks at it meanwhile.
    let is_gone = unsafe { context.changing() }.tables.is_none();
    if is_gone {
        return;
    }
    findings.domains += 1;
    let mut count = Count::default();
    engine.for_each_reach(context.id, |reach| {
        findings.note(count.reach(context.view, reach));
    });
    findings.pages += count.expected;
    let is_first = context.id == engine.first_domain();
    if is_first {
        for hidden in machine::get().layout.hidden() {
            findings.note(exposed(context.view, hidden));
        }
    } else {
        let mut mapped = 0;
        context
            .view
            .for_each(&FRAMES, |leaf| mapped += leaf.size / PAGE_SIZE);
        let surplus = mapped.saturating_sub(count.expected + count.unsettled);
        findings.note((surplus > 0).then_some(Fault::Surplus(surplus)));
    }
}

/// Pages that the engine gives, and pages that are mapped while they are on their way.
#[derive(Default)]
struct Count {
    expected: u64,
    unsettled: u64,
}

impl Count {
    /// Compares one part of a domain's space with its tables.
    fn reach(&mut self, view: View, reach: Reach) -> Option<Fault> {
        let mut fault = None;
        if reach.resource == Resource::Device {
            return self.device(view, reach);
        }
        let rights = Rights::from(reach.rights);
        for offset in (0..reach.size).step_by(PAGE_SIZE as usize) {
            let place = reach.place + offset;
            let found = view.translate(&FRAMES, GuestPhysical(place));
            let found = found.map(|found| (found.address.value(), found.rights));
            if !reach.settled {
                self.unsettled += u64::from(found.is_some());
                continue;
            }
            // Without reading nothing can be granted.
            let expected = rights
                .contains(Rights::READ)
                .then_some((reach.base + offset, rights));
            self.expected += u64::from(expected.is_some());
            if found != expected {
                fault = fault.or(Some(Fault::Missing(place)));
            }
        }
        fault
    }
}

impl Count {
    /// Compares the registers of a device with the tables. Between the stretches that base addresses decode there is nothing.
    fn device(&mut self, view: View, reach: Reach) -> Option<Fault> {
        let pages = (0..reach.size).step_by(PAGE_SIZE as usize);
        let found = |offset: u64| {
            let found = view.translate(&FRAMES, GuestPhysical(reach.place + offset));
            found.map(|found| (found.address.value(), found.rights))
        };
        if !reach.settled {
            self.unsettled += pages.filter(|offset| found(*offset).is_some()).count() as u64;
            return None;
        }
        let mut fault = None;
        for offset in pages {
            let part = devices::part(reach.base, offset).filter(|part| part.offset == offset);
            let readable = reach.rights.contains(Attributes::READ);
            let expected = part
                .filter(|_| readable)
                .map(|part| (part.base, Rights::READ_WRITE));
            self.expected += u64::from(expected.is_some());
            if found(offset) != expected {
                fault = fault.or(Some(Fault::Missing(reach.place + offset)));
            }
        }
        fault
    }
}

/// Whether anything of the monitor's can be reached, but the log, which may be read.
fn exposed(view: View, hidden: Range) -> Option<Fault> {
    let (log, size) = crate::log::place();
    let log = Range {
        start: log,
        end: log + size,
    };
    let is_exposed = |place: &u64| {
        let found = view.translate(&FRAMES, GuestPhysical(*place));
        found.is_some_and(|found| !log.contains(*place) || found.rights != Rights::READ)
    };
    (hidden.start..hidden.end)
        .step_by(PAGE_SIZE as usize)
        .find(is_exposed)
        .map(Fault::Exposed)
}
