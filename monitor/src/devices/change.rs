//! The way of a function from one holder to the next, a step at a time: blocked, reset, led.

use adyton_capability::device;
use adyton_capability::identity::DomainId;

use super::quiet::{self, Reset};
use super::registry::REGISTRY;
use super::{ports, window};
use crate::address::HostPhysical;
use crate::instructions::time_stamp;
use crate::iommu::{self, DOMAIN0};
use crate::machine;

/// Whether a step came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Yes.
    Done,
    /// Not yet.
    Wait,
    /// It never will.
    Failed,
}

/// Takes the function's right to access memory and to interrupt. Its registers are still to be unmapped, and a flush is to follow.
pub fn block(number: u64, domain: DomainId) -> Step {
    let function = device::function(number);
    let mut registry = REGISTRY.lock();
    let Some(entry) = registry.entry_mut(function) else {
        return Step::Done;
    };
    if entry.blocked || entry.holder != Some(domain) {
        return Step::Done;
    }
    if entry.filed == DOMAIN0 {
        ports::withdraw(function);
    }
    if let Some(mut window) = window() {
        quiet::silence(&mut window, function);
    }
    if !iommu::block(function) {
        return Step::Wait;
    }
    entry.blocked = true;
    Step::Done
}

/// Makes the function forget what its last holder put there and began. Nobody drives it, and what was remembered of who did is flushed.
pub fn reset(number: u64, begins: bool) -> Step {
    let function = device::function(number);
    let Some(mut window) = window() else {
        return Step::Done;
    };
    let mut registry = REGISTRY.lock();
    let Some(entry) = registry.entry_mut(function) else {
        return Step::Done;
    };
    entry.holder = None;
    entry.filed = 0;
    if begins || entry.since == 0 {
        entry.since = time_stamp().max(1);
        quiet::begin(&mut window, function);
        return Step::Wait;
    }
    let elapsed = milliseconds(time_stamp().saturating_sub(entry.since));
    match quiet::advance(&mut window, function, &entry.addresses, elapsed) {
        Reset::Goes => Step::Wait,
        Reset::Done => {
            entry.since = 0;
            Step::Done
        }
        Reset::Failed => Step::Failed,
    }
}

fn milliseconds(ticks: u64) -> u64 {
    /// Where there is nothing to measure time by: rather too slow than too fast.
    const FASTEST: u64 = 5_000_000;
    match machine::get().ticks_per_second / 1000 {
        0 => ticks / FASTEST,
        measured => ticks / measured,
    }
}

/// The domain's tables lead to the function's registers: from now on the function's accesses go through the domain's tables, and it is
/// `first`, domain 0, that then has it as before.
pub fn lead(number: u64, domain: DomainId, root: HostPhysical, first: bool) -> Step {
    let function = device::function(number);
    let mut registry = REGISTRY.lock();
    if first {
        if registry.entry(function).is_none() {
            return Step::Done;
        }
        if !iommu::open_function(function) {
            return Step::Wait;
        }
        registry.remove(function);
        return Step::Done;
    }
    let free = registry.file(domain);
    let Some(entry) = registry.entry_mut(function) else {
        return Step::Failed;
    };
    if entry.holder != Some(domain) {
        if !iommu::lead(function, root, free) {
            return Step::Wait;
        }
        entry.holder = Some(domain);
        entry.filed = free;
        entry.blocked = false;
        entry.opening = iommu::Flush::Needed;
        entry.since = time_stamp().max(1);
    }
    let filed = entry.filed;
    if !entry.opening.advance(filed) {
        let patience = machine::get().patience;
        return if time_stamp().saturating_sub(entry.since) > patience {
            Step::Failed
        } else {
            Step::Wait
        };
    }
    entry.since = 0;
    Step::Done
}

/// Takes the right to access memory from every function that is not domain 0's: before memory is scrubbed for good. Without a lock, which a
/// panic could have left held.
pub fn silence_all() {
    if let Some(mut window) = window() {
        ports::withdrawn().for_each(|function| quiet::silence(&mut window, function));
    }
}
