//! Which functions are not domain 0's: who drives each, and how far it is on its way.

use adyton_abi::error::Error;
use adyton_capability::device;
use adyton_capability::identity::DomainId;
use arrayvec::ArrayVec;

use super::inspection::Findings;
use super::quiet::Addresses;
use super::registers::AllRegisters;
use super::{MOST, ports};
use crate::iommu::{self, DOMAIN0};
use crate::lock::Lock;

/// The first number under which the IOMMU files domains' tables: as many follow as there can be entries, so that one is free.
const FIRST_FILED: u16 = DOMAIN0 + 1;

pub(super) static REGISTRY: Lock<Registry> = Lock::new(Registry {
    entries: ArrayVec::new_const(),
});

/// All of them.
pub(super) struct Registry {
    pub(super) entries: ArrayVec<Entry, MOST>,
}

/// A function that is not domain 0's, or is on its way.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) function: u16,
    /// Who drives it; nobody while it is being reset.
    pub(super) holder: Option<DomainId>,
    /// Under which number the IOMMU files what it remembers of the holder's tables; 0 if there is no holder.
    pub(super) filed: u16,
    /// Its accesses are blocked.
    pub(super) blocked: bool,
    pub(super) findings: Findings,
    pub(super) addresses: Addresses,
    /// What units remember that was absent.
    pub(super) opening: iommu::Flush,
    /// When the present wait began, in ticks; 0 for none.
    pub(super) since: u64,
}

/// A part of a function's registers that an effect is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Bytes from where the registers begin in the domain.
    pub offset: u64,
    /// Where they lie.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// Under which number the IOMMU files what it remembers of the domain's tables; none if the domain drives no function.
#[must_use]
pub fn filed(domain: DomainId) -> Option<u16> {
    let registry = REGISTRY.lock();
    let mut entries = registry.entries.iter();
    let found = entries.find(|entry| entry.holder == Some(domain) && entry.filed != DOMAIN0);
    found.map(|entry| entry.filed)
}

/// The first part of the device's registers at or behind `from`; none behind the last.
#[must_use]
pub fn part(number: u64, from: u64) -> Option<Part> {
    let registry = REGISTRY.lock();
    let entry = registry.entry(device::function(number))?;
    part_of(&entry.findings.registers, from)
}

/// The kind of the device, for a measurement; 0 if it has no entry.
#[must_use]
pub fn identity(number: u64) -> u64 {
    let registry = REGISTRY.lock();
    let entry = registry.entry(device::function(number));
    entry.map_or(0, |entry| entry.findings.identity)
}

impl Registry {
    /// The function's.
    pub(super) fn entry(&self, function: u16) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.function == function)
    }

    /// The function's.
    pub(super) fn entry_mut(&mut self, function: u16) -> Option<&mut Entry> {
        let mut entries = self.entries.iter_mut();
        entries.find(|entry| entry.function == function)
    }

    /// The function is domain 0's again.
    pub(super) fn remove(&mut self, function: u16) {
        let place = self
            .entries
            .iter()
            .position(|entry| entry.function == function);
        if let Some(place) = place {
            self.entries.swap_remove(place);
            ports::give_back(function);
            ports::thaw(function);
        }
    }

    /// The number under which the IOMMU files the domain's tables: the one that it has, or one that nobody has.
    pub(super) fn file(&self, domain: DomainId) -> u16 {
        let mut entries = self.entries.iter();
        if let Some(entry) = entries.find(|entry| entry.holder == Some(domain)) {
            return entry.filed;
        }
        let is_free = |filed: &u16| self.entries.iter().all(|entry| entry.filed != *filed);
        let mut numbers = FIRST_FILED..=FIRST_FILED + MOST as u16;
        numbers.find(is_free).unwrap_or(FIRST_FILED)
    }

    /// The function, if the domain drives it.
    pub(super) fn driven(&self, number: u64, domain: DomainId) -> Result<u16, Error> {
        let function = device::function(number);
        self.entry(function)
            .filter(|entry| entry.holder == Some(domain) && !entry.blocked)
            .map(|entry| entry.function)
            .ok_or(Error::NotDevice)
    }
}

/// The first part of these registers at or behind `from`.
pub(super) fn part_of(registers: &AllRegisters, from: u64) -> Option<Part> {
    registers.iter().find_map(|found| {
        let start = from.max(found.offset);
        let end = found.offset + found.range.size();
        (start < end).then(|| Part {
            offset: start,
            base: found.range.start + (start - found.offset),
            size: end - start,
        })
    })
}
