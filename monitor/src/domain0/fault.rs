//! Accesses that domain 0's nested tables do not allow.

use adyton_x86::apic::DEFAULT_BASE;

use super::apic::LocalApic;
use super::{carved, configuration, controller_hub, io_apic, store};
use crate::cores::Core;
use crate::vcpu::Vcpu;
use crate::vendor::NestedFault;

/// Answers one.
pub(super) fn handle(
    core: &'static Core,
    vcpu: &'static mut Vcpu,
    fault: NestedFault,
) -> &'static mut Vcpu {
    if fault.write && fault.present && !fault.table_walk {
        if fault.address & !0xfff == DEFAULT_BASE {
            store::emulate(vcpu, &LocalApic(core), fault.address & 0xff0);
            return vcpu;
        }
        if let Some(device) = io_apic::at(fault.address) {
            store::emulate(vcpu, &device, device.offset(fault.address));
            return vcpu;
        }
        if configuration::store(vcpu, fault.address) || controller_hub::store(vcpu, fault.address) {
            return vcpu;
        }
    }
    carved::handle(core, vcpu, fault);
    vcpu
}
