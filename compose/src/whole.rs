//! Whole cores: giving one to a domain, and beginning a vCPU there, which then runs until it exits.

use adyton_abi::call::Call;
use adyton_abi::region::RegionName;

use crate::calls::{Name, patiently};
use crate::environment::{Environment, Refusal, Request};

/// Where a vCPU is started, and whom its exit interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The core, as [`carve`] named it.
    pub core: RegionName,
    /// Which of the core's threads, from 0 on.
    pub thread: u64,
    /// The vector that interrupts the core that starts it when the vCPU exits; 0 for none. A kernel's to ask for.
    pub notice: u8,
}

impl Place {
    /// On the first thread of the core, without an interrupt.
    #[must_use]
    pub const fn on(core: RegionName) -> Self {
        Self {
            core,
            thread: 0,
            notice: 0,
        }
    }
}

/// Gives the domain, which is being composed, the core with this number, with all its threads. Domain 0 must have taken it offline.
///
/// # Errors
/// What the monitor refuses.
pub fn carve(place: &impl Environment, domain: Name, core: u64) -> Result<RegionName, Refusal> {
    let request = Request::new(Call::CarveCore, domain.arguments([core, 0, 0, 0, 0]));
    patiently(place, request).map(|results| RegionName(results[0]))
}

/// The call that starts the vCPU `vcpu`, whose last exit had the number `sequence`.
#[must_use]
pub fn start(domain: Name, vcpu: u64, sequence: u64, at: Place) -> Request {
    let rest = [vcpu, at.core.0, sequence, at.notice.into(), at.thread];
    Request::new(Call::Start, domain.arguments(rest))
}
