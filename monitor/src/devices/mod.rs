//! PCI functions as domains drive them: which are in a domain's hands, and how they get there and back. Design note 010.
//!
//! The engine decides who has a function ([`adyton_capability::device`]); its effects arrive here, under the engine's lock. A function that is
//! no longer domain 0's has an entry in the [`registry`] until it is domain 0's again: [`begin`] looks at it and makes the entry, [`block`]
//! takes it from who drives it, [`reset`] makes it forget, [`lead`] gives it to the next.
//!
//! What must hold of a function with an entry: domain 0 reaches neither its registers nor its configuration space ([`ports`]); nothing
//! in the machine is moved to other addresses ([`permission`]); and its accesses are blocked, or go through the tables of who drives it.

mod change;
mod chipset;
pub mod configuration;
pub mod controller_hub;
mod inspection;
mod kept;
mod known;
pub mod permission;
pub mod ports;
mod quiet;
mod registers;
mod registry;
mod root_port;
#[cfg(test)]
mod tests;

use adyton_abi::error::Error;
use adyton_capability::device;
use adyton_capability::identity::DomainId;

use crate::address::PAGE_SIZE;
use crate::iommu::{self, DOMAIN0};
use crate::machine::{self, Machine};
use crate::memory::{Kind, Range};
use crate::once::Once;
use adyton_x86::{apic, tpm};
use configuration::{Configuration, Window};
use inspection::{Findings, inspect};
use kept::KEPT;
use known::Known;
use permission::Write;
use registry::{Entry, REGISTRY};

pub use change::{Step, block, lead, reset, silence_all};
pub use registry::{Part, filed, identity, part};

/// The most functions that are not domain 0's at a time.
pub const MOST: usize = 16;

/// Tables that taking the registers and the configuration space of so many functions out of domain 0's tables can split, which no account
/// pays for: two for each stretch.
pub const TABLES: u64 = MOST as u64 * 2 * (registers::BASE_ADDRESSES as u64 + 1);

/// The chipset's own registers lie between here and 4 GiB, the APICs' and the TPM's among them.
const CHIPSET: Range = Range {
    start: 0xfec0_0000,
    end: 1 << 32,
};
const _: () = assert!(CHIPSET.start <= apic::DEFAULT_BASE && apic::DEFAULT_BASE < CHIPSET.end);
const _: () = assert!(CHIPSET.start <= tpm::BASE && tpm::END <= CHIPSET.end);

static MACHINE_DEVICES: Once<MachineDevices> = Once::new();

/// What was found while booting.
struct MachineDevices {
    window: Window,
    known: Known,
}

/// What others may know of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Vendor, device << 16, class << 32.
    pub identity: u64,
    /// Bytes that its registers take in a domain.
    pub size: u64,
    /// Where what each base address decodes begins in them, in pages plus one; 0 for none.
    pub offsets: [u32; registers::BASE_ADDRESSES],
    /// Physical address and bytes of the first.
    pub first: Range,
    /// Who drives it: domain 0 if there is no entry; nobody while it is on its way.
    pub holder: Holder,
}

/// Who drives a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Domain 0.
    System,
    /// Nobody: it is on its way, or quarantined.
    Nobody,
    /// Another domain.
    Domain(DomainId),
}

/// Looks at all functions of bus 0 and behind its root ports, which nobody uses yet. Only where there is an IOMMU and a window to configuration space: otherwise
/// none is ever given away.
pub fn find(machine: &Machine) {
    ports::find_chipset();
    let Some(mut window) = Window::find(&machine.segments).filter(|_| iommu::is_active()) else {
        return;
    };
    let known = Known::find(&mut window, ports::is_host_bridge);
    MACHINE_DEVICES.set(MachineDevices { window, known });
}

/// Where configuration space is mapped, if functions can be given away.
#[must_use]
pub fn window() -> Option<Window> {
    Some(MACHINE_DEVICES.try_get()?.window)
}

fn machine_devices() -> Result<&'static MachineDevices, Error> {
    MACHINE_DEVICES.try_get().ok_or(Error::Unprotected)
}

/// Whether something other than a function's registers is there, or may be: memory, what the firmware lists, the chipset.
fn is_taken(range: Range) -> bool {
    let machine = machine::get();
    let end = 1 << machine.physical_bits.min(48);
    let segments = machine.segments.iter().map(|segment| Range {
        start: segment.base,
        end: segment.base.saturating_add(256 << 20),
    });
    let listed = machine.layout.domain0.iter();
    // The firmware lists the window of configuration space, and may list more of what devices have: only memory counts.
    let memory = listed.filter(|entry| entry.kind != Kind::Reserved);
    let single = [CHIPSET, machine.layout.pool]
        .into_iter()
        .chain(machine.layout.hidden());
    let registers = machine.iommus.iter().map(|unit| Range {
        start: unit.base,
        end: unit.base + (512 << 10),
    });
    range.end > end
        || range.start < 1 << 20
        || memory
            .map(|entry| entry.range)
            .chain(segments)
            .chain(single)
            .chain(registers)
            .any(|taken| taken.overlaps(range))
}

/// What is known of the function.
///
/// # Errors
/// `Unprotected` (no IOMMU), and as [`inspect`].
pub fn facts(function: u16) -> Result<Facts, Error> {
    let machine = machine_devices()?;
    let registry = REGISTRY.lock();
    let Some(entry) = registry.entry(function) else {
        drop(registry);
        let findings = examine(machine, &machine.window, function)?;
        return Ok(describe(&findings, Holder::System));
    };
    let holder = match entry.holder {
        Some(_) if entry.filed == DOMAIN0 => Holder::System,
        Some(domain) if !entry.blocked => Holder::Domain(domain),
        _ => Holder::Nobody,
    };
    Ok(describe(&entry.findings, holder))
}

/// Whether the function can be given away, as `space` shows the machine.
fn examine(
    machine: &MachineDevices,
    space: &impl Configuration,
    function: u16,
) -> Result<Findings, Error> {
    let findings = inspect(space, &machine.known, function, is_taken)?;
    let alike = (1..=u8::MAX).map(|bus| u16::from(bus) << 8 | function & 0xff);
    let mut taken_for_it = alike.filter(|other| *other != function);
    let is_confused = findings.port.is_some() && iommu::ignores_buses();
    if is_confused && taken_for_it.any(|other| space.is_present(other)) {
        return Err(Error::Unassignable);
    }
    Ok(findings)
}

fn describe(findings: &Findings, holder: Holder) -> Facts {
    let mut offsets = [0; registers::BASE_ADDRESSES];
    for found in &findings.registers {
        if let Some(place) = offsets.get_mut(usize::from(found.index)) {
            *place = (found.offset / PAGE_SIZE) as u32 + 1;
        }
    }
    Facts {
        identity: findings.identity,
        size: registers::extent(&findings.registers),
        offsets,
        first: findings
            .registers
            .first()
            .map_or_else(Range::default, |found| found.range),
        holder,
    }
}

/// Domain 0's function is about to be given away: from now on nothing in the machine is moved. Under the engine's lock; [`cancel`] takes it
/// back.
///
/// # Errors
/// As [`facts`]; `Overlap` (it is somebody's), `Exhausted` (as many as can be are).
pub fn begin(function: u16, first_domain: DomainId) -> Result<Facts, Error> {
    let machine = machine_devices()?;
    let mut registry = REGISTRY.lock();
    if registry.entry(function).is_some() {
        return Err(Error::Overlap);
    }
    if registry.entries.is_full() {
        return Err(Error::Exhausted);
    }
    ports::freeze(function);
    // Judged by what may be put back: domain 0 could reset functions meanwhile.
    let space = KEPT.over(machine.window);
    let findings = examine(machine, &space, function)
        .and_then(|findings| behind_port(machine, function, findings))
        .inspect_err(|_| ports::thaw(function))?;
    let facts = describe(&findings, Holder::System);
    registry.entries.push(Entry {
        function,
        holder: Some(first_domain),
        filed: DOMAIN0,
        blocked: false,
        addresses: quiet::addresses(&space, function),
        findings,
        opening: iommu::Flush::Done,
        since: 0,
    });
    Ok(facts)
}

/// Prepares the port behind which the function stands, if it does: it keeps devices apart from here on. Another device could have been plugged in there since
/// the machine booted, so that what it decodes is found out again.
fn behind_port(
    machine: &MachineDevices,
    function: u16,
    findings: Findings,
) -> Result<Findings, Error> {
    let Some(port) = findings.port else {
        return Ok(findings);
    };
    let mut window = machine.window;
    let (known, _) = machine.known.of(&window, function)?;
    let measured = ports::exclusively(|| registers::measure(&mut window, function));
    if measured != *known {
        return Err(Error::Entangled);
    }
    root_port::separate(&mut window, port);
    Ok(findings)
}

/// Nothing came of [`begin`].
pub fn cancel(function: u16) {
    let mut registry = REGISTRY.lock();
    registry.remove(function);
}

/// The page of configuration space that domain 0 is to reach only while the function is its own.
#[must_use]
pub fn page(number: u64) -> Option<u64> {
    Some(window()?.page(device::function(number)))
}

/// What who drives the function reads of its configuration space: the 32 bits that hold `offset`.
///
/// # Errors
/// `NotDevice`.
pub fn read(number: u64, domain: DomainId, offset: u16) -> Result<u32, Error> {
    let registry = REGISTRY.lock();
    let function = registry.driven(number, domain)?;
    Ok(window().ok_or(Error::NotDevice)?.read(function, offset))
}

/// Who drives the function writes `value` to its configuration space.
///
/// # Errors
/// `NotDevice`, `Rights` (it may not write there).
pub fn write(number: u64, domain: DomainId, write: Write, value: u32) -> Result<(), Error> {
    let registry = REGISTRY.lock();
    let function = registry.driven(number, domain)?;
    let mut window = window().ok_or(Error::NotDevice)?;
    let value = permission::holder_writes(&window, function, write, value).ok_or(Error::Rights)?;
    window.write(function, write.offset, write.width, value);
    Ok(())
}
