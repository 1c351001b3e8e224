//! Accesses that domain 0's nested tables do not allow.

use crate::cores::Core;
use crate::vcpu::Vcpu;
use crate::vendor::NestedFault;

/// Answers one.
pub(super) fn handle(
    _core: &'static Core,
    vcpu: &'static mut Vcpu,
    _fault: NestedFault,
) -> &'static mut Vcpu {
    vcpu.inject_general_protection();
    vcpu
}
