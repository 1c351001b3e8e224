//! Accesses that domain 0's nested tables do not allow.

use adyton_x86::apic::DEFAULT_BASE;

use super::{apic, carved};
use crate::cores::Core;
use crate::vcpu::Vcpu;
use crate::vendor::NestedFault;

/// Answers one.
pub(super) fn handle(
    core: &'static Core,
    vcpu: &'static mut Vcpu,
    fault: NestedFault,
) -> &'static mut Vcpu {
    let is_apic = fault.address & !0xfff == DEFAULT_BASE;
    if is_apic && fault.write && !fault.table_walk {
        apic::emulate_store(core, vcpu, fault.address & 0xff0);
        return vcpu;
    }
    carved::handle(core, vcpu, fault);
    vcpu
}
