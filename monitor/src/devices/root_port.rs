//! Root ports: the bridges of bus 0 behind which a function can stand that is given away.
//!
//! A root port leads to one link, and at its other end is one device. If that has one function, its accesses bear the number that the port
//! gives it, and nobody stands between it and the IOMMU. Behind a conventional bridge accesses bear the bridge's number or nobody's, and behind a switch
//! functions reach each other: neither is told apart here, and what stands there is not given away.
//!
//! What must hold while it is away: the port's numbers and windows stay ([`super::permission`]), and the port passes on nothing of which the sender is
//! not behind it, and nothing from device to device ([`separate`]).

use adyton_abi::error::Error;
use adyton_x86::pci::{capability, extended, register};

use super::configuration::{Configuration, is_bridge};
use super::registers::FUNCTIONS;
use crate::memory::Range;

/// What the port must do.
const SERVICES: u16 = extended::SOURCE_VALIDATION
    | extended::REQUEST_REDIRECT
    | extended::COMPLETION_REDIRECT
    | extended::UPSTREAM_FORWARDING;

/// The bus that the bridge is on, the one behind it, and the last behind that.
fn buses(space: &impl Configuration, bridge: u16) -> [u8; 3] {
    let [on, behind, last, _] = space.read(bridge, register::BRIDGE_BUSES).to_le_bytes();
    [on, behind, last]
}

/// The port behind which the function stands alone.
///
/// # Errors
/// `NotDevice` (no bridge of bus 0 leads there), `Entangled` (more than one does), `Unassignable` (it is not a root port's link, or the port cannot keep
/// devices apart).
pub fn above(space: &impl Configuration, function: u16) -> Result<u16, Error> {
    let bus = (function >> 8) as u8;
    let mut leading = (0..FUNCTIONS as u16).filter(|bridge| {
        let passes = |[_, behind, last]: [u8; 3]| behind != 0 && behind <= bus && bus <= last;
        space.is_present(*bridge) && is_bridge(space, *bridge) && passes(buses(space, *bridge))
    });
    let port = leading.next().ok_or(Error::NotDevice)?;
    if leading.next().is_some() {
        return Err(Error::Entangled);
    }
    let is_first = function & 0xff == 0 && buses(space, port) == [0, bus, bus];
    if is_first && is_root_port(space, port) && services(space, port).is_some() {
        Ok(port)
    } else {
        Err(Error::Unassignable)
    }
}

fn is_root_port(space: &impl Configuration, bridge: u16) -> bool {
    let express = space.capability(bridge, capability::EXPRESS);
    express.is_some_and(|place| {
        let kind = space.read16(bridge, place + capability::EXPRESS_KIND);
        kind >> 4 & 0xf == capability::ROOT_PORT
    })
}

/// Where it is said which services are on, if the port has all.
fn services(space: &impl Configuration, port: u16) -> Option<u16> {
    let place = space.extended_capability(port, extended::ACCESS_CONTROL)?;
    let has = space.read16(port, place + extended::SERVICES);
    (has & SERVICES == SERVICES).then_some(place + extended::SERVICES_ON)
}

/// Has the port keep devices apart. From then on domain 0 is not to change that.
pub fn separate(space: &mut impl Configuration, port: u16) {
    if let Some(place) = services(space, port) {
        let on = space.read16(port, place) | SERVICES;
        space.write(port, place, 2, on.into());
    }
}

/// What the port passes on at present: memory, and prefetchable memory.
pub fn windows(bridged: [Range; 9]) -> [Range; 2] {
    let [plain, prefetchable, ..] = bridged;
    [plain, prefetchable]
}
