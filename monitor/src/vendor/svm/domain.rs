//! What the vCPUs of domains other than domain 0 intercept, and the state in which they begin.
//!
//! As much as there is: a domain has memory and a processor, no devices, no interrupts, no control over the machine. What it
//! may change without an exit is its own and switched with it: CR2, CR3, the vector state, FS, GS and KernelGSBase.

use adyton_x86::svm::vmcb::virtual_interrupt;
use adyton_x86::svm::{Intercept1, Intercept2, Segment};

use super::maps;
use crate::address::HostPhysical;
use crate::vcpu::{DOMAIN_COMPONENTS, Register, Vcpu, components};
use crate::vendor::EntryState;

/// Alignment check and debug, see [`super::domain0`].
const ENDLESS_EXCEPTIONS: u32 = 1 << 17 | 1 << 1;
/// Writes of CR0, CR4 and CR8.
const CONTROL_WRITES: u32 = 1 << (16 + 4) | 1 << 16 | 1 << (16 + 8);
/// Every access to a debug register.
const DEBUG_ACCESSES: u32 = u32::MAX;

const CODE_64: u16 = 0x29b;
const DATA: u16 = 0xc93;
const LDT: u16 = 0x82;
const BUSY_TASK: u16 = 0x8b;
/// PG, WP, NE, ET, MP, PE.
const CR0: u64 = 0x8001_0033;
/// OSXSAVE, OSXMMEXCPT, OSFXSR, PGE, PAE.
const CR4: u64 = 1 << 9 | 1 << 10 | 1 << 7 | 1 << 5;
const CR4_OSXSAVE: u64 = 1 << 18;
/// SVME, NXE, LMA, LME, SCE.
const EFER: u64 = 1 << 12 | 1 << 11 | 1 << 10 | 1 << 8 | 1;
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;
/// The address space number until the vCPU is entered for the first time.
const SPACE: u32 = 1;

/// Fills in controls and registers of a fresh vCPU.
pub fn configure(vcpu: &mut Vcpu, nested_root: HostPhysical, exceptions: u32, state: EntryState) {
    vcpu.set_nested_root(nested_root, SPACE);
    let place = &raw const *vcpu as u64;
    let vmcb = vcpu.vmcb_mut();
    // Where the run loop finds the vCPU again.
    vmcb.host_word = place;
    vmcb.intercept_control_registers = CONTROL_WRITES;
    vmcb.intercept_debug_registers = DEBUG_ACCESSES;
    vmcb.intercept_exceptions = exceptions | ENDLESS_EXCEPTIONS;
    vmcb.intercept1 = Intercept1::INTERRUPT
        | Intercept1::NMI
        | Intercept1::INIT
        | Intercept1::RDPMC
        | Intercept1::CPUID
        | Intercept1::RSM
        | Intercept1::INVD
        | Intercept1::HALT
        | Intercept1::INVLPGA
        | Intercept1::IO
        | Intercept1::MSR
        | Intercept1::TASK_SWITCH
        | Intercept1::SHUTDOWN;
    vmcb.intercept2 = Intercept2::VMRUN
        | Intercept2::VMMCALL
        | Intercept2::VMLOAD
        | Intercept2::VMSAVE
        | Intercept2::STGI
        | Intercept2::CLGI
        | Intercept2::SKINIT
        | Intercept2::WBINVD
        | Intercept2::MONITOR
        | Intercept2::MWAIT
        | Intercept2::XSETBV;
    vmcb.interrupt_control = virtual_interrupt::MASKING;
    vmcb.io_map = maps::all_io().value();
    vmcb.msr_map = maps::all_msrs().value();
    begin(vcpu, state);
}

/// 64-bit mode, privilege level 0, flat segments, paging as the builder says.
fn begin(vcpu: &mut Vcpu, state: EntryState) {
    let data = Segment {
        selector: 0x10,
        attributes: DATA,
        limit: u32::MAX,
        base: 0,
    };
    let save = &mut vcpu.vmcb_mut().save;
    (save.es, save.ss, save.ds, save.fs, save.gs) = (data, data, data, data, data);
    save.cs = Segment {
        selector: 8,
        attributes: CODE_64,
        ..data
    };
    save.ldtr = Segment {
        attributes: LDT,
        ..Segment::default()
    };
    save.tr = Segment {
        attributes: BUSY_TASK,
        limit: 0x67,
        ..Segment::default()
    };
    save.efer = EFER;
    save.cr0 = CR0;
    save.cr3 = state.cr3;
    save.cr4 = if components() == 0 {
        CR4
    } else {
        CR4 | CR4_OSXSAVE
    };
    (save.dr6, save.dr7) = (0xffff_0ff0, 0x400);
    save.rflags = 2;
    save.rip = state.rip;
    save.rsp = state.rsp;
    save.pat = PAT_AT_RESET;
    vcpu.set_register(Register::Rdi, state.argument);
    vcpu.guest_components = components() & DOMAIN_COMPONENTS;
}
