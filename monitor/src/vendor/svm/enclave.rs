//! Enclave mode: a second VMCB of domain 0's vCPU, without nested paging, for its tables are the monitor's own.
//!
//! Everything that an enclave may not do exits: exceptions, software interrupts, ports, what shows or loads descriptor tables.
//! Descriptor tables are empty. The address space number is the last one, which no other vCPU gets, and is flushed at each entry.

use adyton_x86::paging::{cr0, cr4, efer};
use adyton_x86::svm::vmcb::{tlb_control, virtual_interrupt};
use adyton_x86::svm::{Event, Intercept1, Intercept2, Segment, Vmcb};

use super::{can_flush_space, last_address_space, maps};
use crate::frames::FRAMES;
use crate::vcpu::Vcpu;
use crate::vendor::EnclaveEntry;

/// All vectors but 2, which has an intercept of its own.
const ALL_EXCEPTIONS: u32 = !(1 << 2);
const EFER_SYSTEM_CALL: u64 = 1;
/// Changes what CR3 means.
const CR4_PROCESS_CONTEXTS: u64 = 1 << 17;
const CR4_PERFORMANCE_COUNTERS: u64 = 1 << 8;
const LDT: u16 = 0x82;
const BUSY_TASK: u16 = 0x8b;
const DR6_AT_RESET: u64 = 0xffff_0ff0;
const DR7_AT_RESET: u64 = 0x400;

/// See [`Vendor::offer_enclaves`](crate::vendor::Vendor::offer_enclaves).
pub fn offer(vcpu: &mut Vcpu) -> bool {
    const UNDEFINED_OPCODE: u32 = 1 << 6;
    let Some(page) = FRAMES.allocate() else {
        return false;
    };
    vcpu.other_control = page;
    vcpu.vmcb_mut().intercept_exceptions |= UNDEFINED_OPCODE;
    fill(vcpu);
    true
}

/// Fills in what never changes.
fn fill(vcpu: &mut Vcpu) {
    let place = &raw const *vcpu as u64;
    // SAFETY: the page is zeroed, which is a valid VMCB, and belongs to this vCPU.
    let vmcb = unsafe { &mut *(vcpu.other_control.value() as *mut Vmcb) };
    // Where the run loop finds the vCPU again.
    vmcb.host_word = place;
    vmcb.intercept_control_registers = u32::MAX;
    vmcb.intercept_debug_registers = u32::MAX;
    vmcb.intercept_exceptions = ALL_EXCEPTIONS;
    vmcb.intercept1 = Intercept1::INTERRUPT
        | Intercept1::NMI
        | Intercept1::INIT
        | Intercept1::DESCRIPTOR_TABLE_READS
        | Intercept1::RDPMC
        | Intercept1::CPUID
        | Intercept1::RSM
        | Intercept1::IRET
        | Intercept1::SOFTWARE_INTERRUPT
        | Intercept1::INVD
        | Intercept1::HALT
        | Intercept1::INVLPG
        | Intercept1::INVLPGA
        | Intercept1::IO
        | Intercept1::MSR
        | Intercept1::TASK_SWITCH
        | Intercept1::SHUTDOWN;
    // VMMCALL is undefined where it is not intercepted, which is what it is to be.
    vmcb.intercept2 = Intercept2::all() - Intercept2::VMMCALL - Intercept2::RDTSCP;
    vmcb.interrupt_control = virtual_interrupt::MASKING;
    vmcb.io_map = maps::all_io().value();
    vmcb.msr_map = maps::all_msrs().value();
    vmcb.asid = last_address_space();
    vmcb.save.ldtr = Segment {
        attributes: LDT,
        ..Segment::default()
    };
    vmcb.save.tr = Segment {
        attributes: BUSY_TASK,
        ..Segment::default()
    };
    vmcb.save.cpl = 3;
}

/// FS and GS as the vCPU had them when it exited.
#[inline]
pub fn segments(vcpu: &Vcpu) -> (adyton_sgx::Segment, adyton_sgx::Segment) {
    let save = &vcpu.vmcb().save;
    (shown(save.fs), shown(save.gs))
}

/// See [`Vendor::keep_hidden_segments`](crate::vendor::Vendor::keep_hidden_segments).
#[inline]
pub fn keep_segments(vcpu: &mut Vcpu) {
    // SAFETY: the control structure is this vCPU's, which this core has just run and which is in the mode that it ran in.
    unsafe { core::arch::asm!("vmsave rax", in("rax") vcpu.control.value(), options(nostack)) };
}

/// See [`Vendor::use_hidden_segments`](crate::vendor::Vendor::use_hidden_segments).
#[inline]
pub fn use_segments(vcpu: &mut Vcpu) {
    // SAFETY: the control structure is this vCPU's, which runs next on this core. The monitor uses none of what is loaded.
    unsafe { core::arch::asm!("vmload rax", in("rax") vcpu.control.value(), options(nostack)) };
}

/// The VMCB packs bits 20 to 23 of a descriptor's upper word behind bits 8 to 15; the SDM leaves a gap.
fn shown(segment: Segment) -> adyton_sgx::Segment {
    let attributes = segment.attributes;
    adyton_sgx::Segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        rights: attributes & 0xff | (attributes & 0xf00) << 4,
    }
}

fn packed(segment: adyton_sgx::Segment) -> Segment {
    Segment {
        base: segment.base,
        limit: segment.limit,
        selector: segment.selector,
        attributes: segment.rights & 0xff | (segment.rights & 0xf000) >> 4,
    }
}

/// What enclave mode has for registers, beside those that it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prepared {
    fs: Segment,
    gs: Segment,
    cr0: u64,
    cr3: u64,
    cr4: u64,
    efer: u64,
    flush: u32,
    /// Debug registers come along.
    debug: bool,
}

/// See [`Vendor::prepare_enclave`](crate::vendor::Vendor::prepare_enclave).
#[inline]
pub fn prepare(vcpu: &Vcpu, entry: &EnclaveEntry) -> Prepared {
    let outside = &vcpu.vmcb().save;
    Prepared {
        fs: packed(entry.fs),
        gs: packed(entry.gs),
        cr0: outside.cr0 | cr0::WRITE_PROTECT,
        cr3: entry.root.value(),
        cr4: outside.cr4 & !(CR4_PROCESS_CONTEXTS | cr4::FIVE_LEVELS | CR4_PERFORMANCE_COUNTERS),
        efer: outside.efer & !EFER_SYSTEM_CALL | efer::NO_EXECUTE_ENABLE,
        flush: if can_flush_space() {
            tlb_control::SPACE
        } else {
            tlb_control::EVERYTHING
        },
        debug: entry.debug,
    }
}

/// Changes to enclave mode. Registers are the caller's to set afterwards.
#[inline(always)]
pub fn enter(vcpu: &mut Vcpu, prepared: &Prepared) {
    exchange(vcpu);
    // SAFETY: the other control structure is a page of its own, of this vCPU.
    let outside = unsafe { &(*(vcpu.other_control.value() as *const Vmcb)).save };
    let vmcb = vcpu.vmcb_mut();
    vmcb.inject = Event::NONE;
    vmcb.tlb_control = prepared.flush;
    vmcb.interrupt_shadow = 0;
    let save = &mut vmcb.save;
    save.es = outside.es;
    save.cs = outside.cs;
    save.ss = outside.ss;
    save.ds = outside.ds;
    save.fs = prepared.fs;
    save.gs = prepared.gs;
    save.cr0 = prepared.cr0;
    save.cr3 = prepared.cr3;
    save.cr4 = prepared.cr4;
    save.efer = prepared.efer;
    (save.dr6, save.dr7) = if prepared.debug {
        (outside.dr6, outside.dr7)
    } else {
        (DR6_AT_RESET, DR7_AT_RESET)
    };
}

/// Changes back; with `debug` what the breakpoints have to say comes along.
#[inline]
pub fn leave(vcpu: &mut Vcpu, debug: bool) {
    let dr6 = vcpu.vmcb().save.dr6;
    exchange(vcpu);
    if debug {
        vcpu.vmcb_mut().save.dr6 = dr6;
    }
    vcpu.vmcb_mut().interrupt_shadow = 0;
}

#[inline]
fn exchange(vcpu: &mut Vcpu) {
    core::mem::swap(&mut vcpu.control, &mut vcpu.other_control);
    vcpu.is_inside = !vcpu.is_inside;
}
