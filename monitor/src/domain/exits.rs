//! Exits of domains other than domain 0.
//!
//! What belongs to domain 0 (interrupts, NMIs) takes the core back to it, or to what was started on it as a whole. What the policy sends to the parent ends the entry.
//! All else a domain cannot do: it gets the exception that says so.

use adyton_abi::exit::ExitKind;

use super::chain::suspend;
use super::enter::leave;
use super::report::Operands;
use super::whole;
use crate::domain0::error_code;
use crate::instructions;
use crate::policy::cpuid::{CallInstruction, Context, child};
use crate::vcpu::{DOMAIN_COMPONENTS, Register, Vcpu, components};
use crate::vendor::{Exit, NestedFault};

/// Answers an exit that is not a call. Returns the vCPU that runs next.
pub fn handle(vcpu: &'static mut Vcpu, exit: Exit) -> &'static mut Vcpu {
    match exit {
        Exit::Interrupt => return come_out(vcpu, true),
        Exit::Nmi | Exit::Init => return come_out(vcpu, false),
        Exit::NestedFault(fault) => return report_memory(vcpu, fault),
        Exit::Exception { vector, error } => return exception(vcpu, vector, error),
        Exit::Halt => {
            vcpu.advance(1);
            return leave(vcpu, ExitKind::Halt, &Operands::default());
        }
        Exit::Cpuid => cpuid(vcpu),
        Exit::Shutdown | Exit::Invalid => {
            return leave(vcpu, ExitKind::Shutdown, &Operands::default());
        }
        Exit::Virtualization
        | Exit::Call
        | Exit::PerformanceCounter
        | Exit::MonitorWait
        | Exit::TimeStamp => vcpu.inject_undefined(),
        Exit::SetExtendedControl => set_components(vcpu),
        Exit::ReadMsr
        | Exit::WriteMsr
        | Exit::Io(_)
        | Exit::InvalidateCaches
        | Exit::InterruptReturn
        | Exit::Other(_) => vcpu.inject_general_protection(),
    }
    vcpu
}

fn come_out(vcpu: &'static mut Vcpu, interrupted: bool) -> &'static mut Vcpu {
    let root = suspend(vcpu, interrupted);
    if root.seat.is_whole {
        whole::go_on(root)
    } else {
        root
    }
}

/// An access outside the domain's memory. A confidential domain's address is its own affair.
fn report_memory(vcpu: &'static mut Vcpu, fault: NestedFault) -> &'static mut Vcpu {
    let mut operands = Operands::default();
    operands.0[0] = u64::from(fault.write) | u64::from(fault.execute) << 1;
    if vcpu.seat.context().policy.flags.registers_visible() {
        operands.0[1] = fault.address;
    }
    leave(vcpu, ExitKind::Memory, &operands)
}

fn exception(vcpu: &'static mut Vcpu, vector: u8, error: u32) -> &'static mut Vcpu {
    let policy = vcpu.seat.context().policy;
    let bit = 1_u32.checked_shl(vector.into()).unwrap_or(0);
    if policy.exceptions & bit == 0 {
        // Intercepted for the monitor's own sake.
        vcpu.inject_exception(vector, error_code(vector, error));
        return vcpu;
    }
    let mut operands = Operands::default();
    operands.0[0] = vector.into();
    if policy.flags.registers_visible() {
        operands.0[1] = error.into();
        operands.0[2] = vcpu.fault_address();
    }
    leave(vcpu, ExitKind::Exception, &operands)
}

/// XSETBV, where the hardware makes it exit: only what the monitor saves and restores for a domain.
fn set_components(vcpu: &mut Vcpu) {
    const X87: u64 = 1;
    const LENGTH: u64 = 3;
    let value = vcpu.edx_eax();
    let allowed = u64::from(components() & DOMAIN_COMPONENTS);
    let register = vcpu.register(Register::Rcx) as u32;
    if register != 0
        || value & X87 == 0
        || value & !allowed != 0
        || value & 6 == 4
        || vcpu.cpl() != 0
    {
        vcpu.inject_general_protection();
    } else {
        vcpu.guest_components = value as u32;
        vcpu.advance(LENGTH);
    }
}

/// What the monitor does not switch for a domain, the domain does not see.
fn cpuid(vcpu: &mut Vcpu) {
    let leaf = vcpu.rax() as u32;
    let subleaf = vcpu.register(Register::Rcx) as u32;
    let context = Context {
        cr4: vcpu.cr4(),
        xcr0: vcpu.guest_components.into(),
        allowed_xcr0: (components() & DOMAIN_COMPONENTS).into(),
        call: CallInstruction::Vmmcall,
        epc: &[],
    };
    let values = child(leaf, subleaf, instructions::cpuid, &context);
    vcpu.set_rax(values.eax.into());
    vcpu.set_register(Register::Rbx, values.ebx.into());
    vcpu.set_register(Register::Rcx, values.ecx.into());
    vcpu.set_register(Register::Rdx, values.edx.into());
    vcpu.advance(2);
}
