//! Domain 0's stores to the page of AMD's controller hubs: carried out, but for those that are refused
//! ([`crate::devices::controller_hub`]).

use super::store;
use crate::devices::controller_hub::{PAGE, is_present, permits_store};
use crate::devices::permission::Write;
use crate::log;
use crate::vcpu::Vcpu;

/// Carries out the store at RIP, which goes to `address`; `false` if that is not in the page.
pub(super) fn store(vcpu: &mut Vcpu, address: u64) -> bool {
    if address & !0xfff != PAGE || !is_present() {
        return false;
    }
    let offset = (address & 0xfff) as u16;
    store::narrow(vcpu, address, |width, value, perform| {
        if permits_store(Write { offset, width }) {
            perform();
        } else {
            log!("store of {value:#x} to {address:#x}, power management, dropped");
        }
    });
    true
}
