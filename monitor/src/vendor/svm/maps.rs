//! The permission maps: which ports and MSRs make a guest exit.

use adyton_x86::svm::{IO_MAP_SIZE, MSR_MAP_SIZE};

use crate::address::HostPhysical;
use crate::lock::Lock;

/// A bit for each port.
#[repr(C, align(4096))]
struct IoMap([u8; IO_MAP_SIZE]);

/// Two bits for each MSR that can be let through.
#[repr(C, align(4096))]
struct MsrMap([u8; MSR_MAP_SIZE]);

static DOMAIN0_IO: Lock<IoMap> = Lock::new(IoMap([0; IO_MAP_SIZE]));
static DOMAIN0_MSRS: Lock<MsrMap> = Lock::new(MsrMap([0xff; MSR_MAP_SIZE]));
static ALL_IO: Lock<IoMap> = Lock::new(IoMap([0xff; IO_MAP_SIZE]));
static ALL_MSRS: Lock<MsrMap> = Lock::new(MsrMap([0xff; MSR_MAP_SIZE]));

/// Domain 0's map of ports.
#[must_use]
pub fn domain0_io() -> HostPhysical {
    HostPhysical(&raw const *DOMAIN0_IO.lock() as u64)
}

/// Domain 0's map of MSRs.
#[must_use]
pub fn domain0_msrs() -> HostPhysical {
    HostPhysical(&raw const *DOMAIN0_MSRS.lock() as u64)
}

/// The map under which every port exits.
#[must_use]
pub fn all_io() -> HostPhysical {
    HostPhysical(&raw const *ALL_IO.lock() as u64)
}

/// The map under which every MSR exits.
#[must_use]
pub fn all_msrs() -> HostPhysical {
    HostPhysical(&raw const *ALL_MSRS.lock() as u64)
}

/// Makes `count` ports from `first` on exit in domain 0. A processor that executes an instruction at that moment may not know yet.
pub fn trap_ports(first: u16, count: u16) {
    change_ports(first, count, true);
}

/// Makes them exit no more.
pub fn pass_ports(first: u16, count: u16) {
    change_ports(first, count, false);
}

fn change_ports(first: u16, count: u16, exits: bool) {
    let mut map = DOMAIN0_IO.lock();
    for port in first..=first.saturating_add(count.saturating_sub(1)) {
        if let Some(byte) = map.0.get_mut(usize::from(port / 8)) {
            let bit = 1 << (port % 8);
            let changed = if exits { *byte | bit } else { *byte & !bit };
            // Processors read the map meanwhile.
            // SAFETY: a valid reference to a byte.
            unsafe { core::ptr::from_mut(byte).write_volatile(changed) };
        }
    }
}

/// Lets `fill` decide which MSRs exit in domain 0. Before domain 0 starts.
pub fn with_msrs(fill: impl FnOnce(&mut [u8; MSR_MAP_SIZE])) {
    fill(&mut DOMAIN0_MSRS.lock().0);
}
