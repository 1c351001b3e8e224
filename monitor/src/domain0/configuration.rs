//! Domain 0's stores to configuration space where it is mapped to memory: carried out, but for those that are refused
//! ([`crate::devices::permission`]). Windows that are not watched ([`crate::acpi::Segment::watched`]) are domain 0's own.

use super::store;
use crate::devices::permission::Write;
use crate::devices::ports;
use crate::machine;
use crate::vcpu::Vcpu;

/// Carries out the store at RIP, which goes to `address`; `false` if that is no configuration space.
pub(super) fn store(vcpu: &mut Vcpu, address: u64) -> bool {
    let found = machine::get().segments.iter().find_map(|segment| {
        let is_inside = segment.watched()?.contains(address);
        is_inside.then(|| address - segment.base)
    });
    let Some(offset) = found else {
        return false;
    };
    store::narrow(vcpu, address, |width, value, perform| {
        let write = Write {
            offset: (offset & 0xfff) as u16,
            width,
        };
        ports::while_permitted((offset >> 12) as u16, write, value, perform);
    });
    true
}
