//! Domain 0: its vCPUs, and what happens when one of them exits.
//!
//! Everything is answered as bare metal would; what the monitor does not know is an exception for domain 0, never a
//! panic. Devices, interrupts, HLT and the control registers are domain 0's own and do not exit at all.

mod apic;
mod carved;
mod configuration;
mod controller_hub;
mod cpuid;
mod fault;
mod io;
mod io_apic;
mod msr;
pub(crate) mod private_view;
mod store;
mod tables;

use crate::address::HostPhysical;
use crate::cores::Core;
use crate::cores::whole::Rest;
use crate::domain::engine;
use crate::enclave;
use crate::instructions::write_back_caches;
use crate::policy::msr::{Domain, fill_permission_map};
use crate::vcpu::{Owner, Register, Vcpu};
use crate::vendor::{Exit, Vendor, svm};
use crate::{log, machine, platform, scrub};
use private_view::After;

use tables::view;

/// Exceptions that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP, #VC, #SX.
const WITH_ERROR_CODE: u32 = 1 << 8 | 0x1f << 10 | 1 << 17 | 1 << 21 | 1 << 29 | 1 << 30;

/// The error code that an exception pushes, if one with this vector has any.
pub fn error_code(vector: u8, error: u32) -> Option<u32> {
    let bit = 1_u32.checked_shl(vector.into()).unwrap_or(0);
    (WITH_ERROR_CODE & bit != 0).then_some(error)
}

/// The vector of an undefined opcode.
const UNDEFINED: u8 = 6;

/// The vector of a page fault.
const PAGE_FAULT: u8 = 14;

/// Makes domain 0: its nested tables, its permission maps, and a vCPU for each core.
///
/// # Panics
/// If the reserve is too small for that.
pub fn create(vendor: Vendor, cores: &'static [Core]) {
    let machine = machine::get();
    let tables = tables::create(vendor, machine);
    let root = tables.root();
    private_view::create(cores.len());
    let context = engine::create(&machine.layout, cores, tables);
    io::trap(machine);
    svm::maps::with_msrs(|map| fill_permission_map(map, Domain::Zero));
    for core in cores {
        let vcpu = Vcpu::create(Owner::Domain0).expect("the reserve is too small for the vCPUs");
        vendor.configure_domain0(vcpu, root);
        if enclave::is_offered() {
            let offered = vendor.offer_enclaves(vcpu);
            assert!(offered, "the reserve is too small for enclave mode");
        }
        vcpu.seat.attach(context, HostPhysical(0));
        core.set_domain0_vcpu(vcpu);
    }
}

/// Prepares the bootstrap core's vCPU to begin at `entry` of a Linux kernel, with its boot parameters.
pub fn start_bootstrap(core: &'static Core, entry: u64, parameters: u64) {
    // SAFETY: the vCPU is this core's and does not run yet.
    let vcpu = unsafe { &mut *core.domain0_vcpu() };
    vcpu.reset_to_flat_mode(entry);
    vcpu.set_register(Register::Rsi, parameters);
    core.set_running();
}

/// Answers an exit of domain 0 that is not a call. Returns the vCPU that runs next.
pub fn handle(core: &'static Core, vcpu: &'static mut Vcpu, exit: Exit) -> &'static mut Vcpu {
    if vcpu.is_inside() {
        enclave::inside::exit(core, vcpu, exit);
        return vcpu;
    }
    if private_view::exit(core, vcpu, exit) == After::Nothing {
        return vcpu;
    }
    match exit {
        Exit::Cpuid => cpuid::emulate(vcpu),
        Exit::ReadMsr => msr::read(core, vcpu),
        Exit::WriteMsr => msr::write(core, vcpu),
        Exit::Io(access) if core.watches_ports() => core.rests(vcpu, Rest::of_port(access)),
        Exit::Io(access) => io::emulate(vcpu, access),
        Exit::NestedFault(fault) => return fault::handle(core, vcpu, fault),
        Exit::Exception {
            vector: UNDEFINED, ..
        } => enclave::undefined::handle(core, vcpu),
        Exit::Exception { vector, error } => {
            vcpu.inject_exception(vector, error_code(vector, error));
        }
        // Nothing but to go on: the interrupt is delivered at the entry, the NMI is accounted for already.
        Exit::Interrupt | Exit::Nmi => {}
        // A physical INIT where the hardware can be told to exit: no INIT starts or stops a core here.
        Exit::Init => {}
        Exit::Halt => core.rests(vcpu, Rest::Halt),
        Exit::MonitorWait => core.rests(vcpu, Rest::Wait),
        Exit::InterruptReturn => vcpu.unmask_nmi(),
        Exit::InvalidateCaches => {
            // Dropping what is in the caches would undo writes of the monitor's.
            write_back_caches();
            vcpu.advance(2);
        }
        Exit::Shutdown => shut_down(core, vcpu, "has shut itself down"),
        Exit::Invalid => shut_down(core, vcpu, "is in a state that cannot be entered"),
        // The virtualization extension is hidden; the others are not intercepted.
        Exit::Virtualization
        | Exit::Call
        | Exit::SetExtendedControl
        | Exit::TimeStamp
        | Exit::PerformanceCounter => vcpu.inject_undefined(),
        Exit::Other(code) => {
            log!("core {}: unknown exit {code:#x} of domain 0", core.index);
            vcpu.inject_general_protection();
        }
    }
    vcpu
}

/// Domain 0 has met a fault that no processor goes on from.
fn shut_down(core: &Core, vcpu: &Vcpu, what: &str) -> ! {
    // These are the last words on this machine, and what they tell is domain 0's own.
    log::show_on_console(true);
    log!(
        "domain 0 {what} on core {} at {:#x}, stack {:#x}, CR3 {:#x}",
        core.index,
        vcpu.rip(),
        vcpu.rsp(),
        vcpu.cr3(),
    );
    scrub::everything();
    platform::reset();
}
