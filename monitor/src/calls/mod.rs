//! What domains ask of the monitor.

use crate::cores::Core;
use crate::vcpu::Vcpu;
use crate::vendor::{Exit, NestedFault};

/// The calling instruction was executed. Returns the vCPU that runs next.
pub fn handle(_core: &'static Core, vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
    vcpu.inject_undefined();
    vcpu
}

/// A domain other than domain 0 has exited. Returns the vCPU that runs next.
pub fn handle_exit(
    _core: &'static Core,
    vcpu: &'static mut Vcpu,
    _exit: Exit,
) -> &'static mut Vcpu {
    vcpu
}

/// Domain 0 has touched what is not its own: carved or hidden memory. Returns the vCPU that runs next.
pub fn handle_domain0_fault(
    _core: &'static Core,
    vcpu: &'static mut Vcpu,
    _fault: NestedFault,
) -> &'static mut Vcpu {
    vcpu.inject_general_protection();
    vcpu
}
