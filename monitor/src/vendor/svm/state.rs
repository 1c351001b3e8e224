//! The accessors of a vCPU's state that lives in its VMCB.
//!
//! All fields are read and written as plain memory: the CPU touches a VMCB only inside VMRUN, VMLOAD and VMSAVE, and
//! the clean bits are left 0, so that it takes nothing from its cache of an older state.

use core::sync::atomic::{AtomicU8, Ordering};

use adyton_x86::svm::vmcb::tlb_control;
use adyton_x86::svm::{Event, Intercept1, Intercept2, Segment, Vmcb};

use super::{can_flush_space, exit, has_next_rip, maps};
use crate::address::HostPhysical;
use crate::instructions::cpuid;
use crate::vcpu::{Register, Vcpu};
use crate::vendor::Exit;

const EFER_SVME: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;

const CODE: u16 = 0x9b;
const DATA: u16 = 0x93;
const LDT: u16 = 0x82;
const BUSY_TASK: u16 = 0x8b;
/// Granularity and D/B: a flat 32-bit segment.
const FLAT: u16 = 0xc00;
const PAT_AT_RESET: u64 = 0x0007_0406_0007_0406;

impl Vcpu {
    /// Its VMCB.
    #[inline]
    pub(super) fn vmcb(&self) -> &Vmcb {
        // SAFETY: `control` is the VMCB's page from creation to destruction; one core at a time touches it.
        unsafe { &*(self.control.value() as *const Vmcb) }
    }

    /// Its VMCB, to change it.
    #[inline]
    pub(super) fn vmcb_mut(&mut self) -> &mut Vmcb {
        // SAFETY: as in `vmcb`.
        unsafe { &mut *(self.control.value() as *mut Vmcb) }
    }
}

macro_rules! plain {
    ($($get:ident $set:ident $field:ident;)*) => {
        $(#[inline]
        pub(crate) fn $get(vcpu: &Vcpu) -> u64 { vcpu.vmcb().save.$field }
        #[inline]
        pub(crate) fn $set(vcpu: &mut Vcpu, value: u64) { vcpu.vmcb_mut().save.$field = value; })*
    };
}

plain! {
    rip set_rip rip;
    rsp set_rsp rsp;
    rax set_rax rax;
    rflags set_rflags rflags;
}

pub(crate) fn exit(vcpu: &Vcpu) -> Exit {
    exit::decode(vcpu.vmcb())
}

#[inline]
pub(crate) fn cr3(vcpu: &Vcpu) -> u64 {
    vcpu.vmcb().save.cr3
}

pub(crate) fn set_cr2(vcpu: &mut Vcpu, value: u64) {
    vcpu.vmcb_mut().save.cr2 = value;
}

#[inline]
pub(crate) fn cr0(vcpu: &Vcpu) -> u64 {
    vcpu.vmcb().save.cr0
}

#[inline]
pub(crate) fn cr4(vcpu: &Vcpu) -> u64 {
    vcpu.vmcb().save.cr4
}

#[inline]
pub(crate) fn efer(vcpu: &Vcpu) -> u64 {
    vcpu.vmcb().save.efer & !EFER_SVME
}

pub(crate) fn set_efer(vcpu: &mut Vcpu, value: u64) {
    vcpu.vmcb_mut().save.efer = value | EFER_SVME;
    vcpu.seat.trails.forget();
}

#[inline]
pub(crate) fn cpl(vcpu: &Vcpu) -> u8 {
    vcpu.vmcb().save.cpl
}

#[inline]
pub(crate) fn is_64_bit(vcpu: &Vcpu) -> bool {
    let save = &vcpu.vmcb().save;
    save.efer & EFER_LMA != 0 && save.cs.attributes & Segment::LONG != 0
}

pub(crate) fn code_bits(vcpu: &Vcpu) -> u8 {
    let attributes = vcpu.vmcb().save.cs.attributes;
    match (is_64_bit(vcpu), attributes & Segment::BIG != 0) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

pub(crate) fn segment_base(vcpu: &Vcpu, number: u8) -> u64 {
    let save = &vcpu.vmcb().save;
    match number {
        0 => save.es.base,
        1 => save.cs.base,
        2 => save.ss.base,
        3 => save.ds.base,
        4 => save.fs.base,
        _ => save.gs.base,
    }
}

pub(crate) fn has_injection(vcpu: &Vcpu) -> bool {
    vcpu.vmcb().inject.is_valid()
}

pub(crate) fn pending_exception(vcpu: &Vcpu) -> Option<u8> {
    const EXCEPTION: u8 = 3;
    let event = vcpu.vmcb().inject;
    (event.is_valid() && event.kind() == EXCEPTION).then(|| event.vector())
}

pub(crate) fn next_rip(vcpu: &Vcpu) -> Option<u64> {
    const UNKNOWN: u8 = 0;
    const ABSENT: u8 = 1;
    const PRESENT: u8 = 2;
    static FEATURE: AtomicU8 = AtomicU8::new(UNKNOWN);
    let mut feature = FEATURE.load(Ordering::Relaxed);
    if feature == UNKNOWN {
        feature = if has_next_rip() { PRESENT } else { ABSENT };
        FEATURE.store(feature, Ordering::Relaxed);
    }
    (feature == PRESENT).then(|| vcpu.vmcb().next_rip)
}

#[inline]
pub(crate) fn advance_to(vcpu: &mut Vcpu, rip: u64) {
    let vmcb = vcpu.vmcb_mut();
    vmcb.save.rip = rip;
    vmcb.interrupt_shadow = 0;
}

pub(crate) fn inject_exception(vcpu: &mut Vcpu, vector: u8, error: Option<u32>) {
    vcpu.vmcb_mut().inject = Event::exception(vector, error);
}

pub(crate) fn inject_single_step(vcpu: &mut Vcpu) {
    const DEBUG: u8 = 1;
    const SINGLE_STEP: u64 = 1 << 14;
    vcpu.vmcb_mut().save.dr6 |= SINGLE_STEP;
    inject_exception(vcpu, DEBUG, None);
}

#[inline]
pub(crate) fn fault_address(vcpu: &Vcpu) -> u64 {
    vcpu.vmcb().exit_information2
}

pub(crate) fn inject_nmi(vcpu: &mut Vcpu) {
    vcpu.vmcb_mut().inject = Event::NMI;
}

pub(crate) fn flush_at_entry(vcpu: &mut Vcpu) {
    vcpu.vmcb_mut().tlb_control = tlb_control::EVERYTHING;
}

pub(crate) fn flush_space_at_entry(vcpu: &mut Vcpu) {
    let vmcb = vcpu.vmcb_mut();
    if vmcb.tlb_control == tlb_control::NOTHING {
        vmcb.tlb_control = if can_flush_space() {
            tlb_control::SPACE
        } else {
            tlb_control::EVERYTHING
        };
    }
}

pub(crate) fn set_address_space(vcpu: &mut Vcpu, space: u32) {
    vcpu.vmcb_mut().asid = space;
}

pub(crate) fn set_nested_root(vcpu: &mut Vcpu, root: HostPhysical, space: u32) {
    let vmcb = vcpu.vmcb_mut();
    vmcb.nested_paging = 1;
    vmcb.nested_root = root.value();
    vmcb.asid = space;
}

pub(crate) fn intercept_rest(vcpu: &mut Vcpu, intercept: bool) {
    let vmcb = vcpu.vmcb_mut();
    vmcb.intercept1.set(Intercept1::HALT, intercept);
    vmcb.intercept2.set(Intercept2::MWAIT, intercept);
}

pub(crate) fn intercept_all_ports(vcpu: &mut Vcpu, intercept: bool) {
    let map = if intercept {
        maps::all_io()
    } else {
        maps::domain0_io()
    };
    vcpu.vmcb_mut().io_map = map.value();
}

pub(crate) fn intercept_interrupt_return(vcpu: &mut Vcpu, intercept: bool) {
    vcpu.vmcb_mut().intercept1.set(Intercept1::IRET, intercept);
}

pub(crate) fn reset_to_real_mode(vcpu: &mut Vcpu, page: u8) {
    vcpu.registers = [0; 16];
    vcpu.reset_vector_state();
    // The CPU's signature, as after a reset.
    vcpu.set_register(Register::Rdx, cpuid(1, 0).eax.into());
    let segment = |attributes| Segment {
        selector: 0,
        attributes,
        limit: 0xffff,
        base: 0,
    };
    let vmcb = reset(vcpu, segment(DATA), 0x10);
    let (selector, base) = (u16::from(page) << 8, u64::from(page) << 12);
    vmcb.save.cs = Segment {
        selector,
        base,
        ..segment(CODE)
    };
}

pub(crate) fn reset_to_flat_mode(vcpu: &mut Vcpu, rip: u64) {
    let flat = |selector, attributes| Segment {
        selector,
        attributes,
        limit: u32::MAX,
        base: 0,
    };
    let vmcb = reset(vcpu, flat(0x18, DATA | FLAT), 0x11);
    vmcb.save.cs = flat(0x10, CODE | FLAT);
    vmcb.save.rip = rip;
}

/// What both have in common: the registers after a reset.
fn reset(vcpu: &mut Vcpu, data: Segment, cr0: u64) -> &mut Vmcb {
    let vmcb = vcpu.vmcb_mut();
    let limit = 0xffff;
    let save = &mut vmcb.save;
    (save.es, save.ss, save.ds, save.fs, save.gs) = (data, data, data, data, data);
    save.gdtr = Segment {
        limit,
        ..Segment::default()
    };
    save.idtr = Segment {
        limit,
        ..Segment::default()
    };
    save.ldtr = Segment {
        attributes: LDT,
        limit,
        ..Segment::default()
    };
    save.tr = Segment {
        attributes: BUSY_TASK,
        limit,
        ..Segment::default()
    };
    save.cpl = 0;
    save.efer = EFER_SVME;
    (save.cr0, save.cr2, save.cr3, save.cr4) = (cr0, 0, 0, 0);
    (save.dr6, save.dr7) = (0xffff_0ff0, 0x400);
    (save.rflags, save.rip, save.rsp, save.rax) = (2, 0, 0, 0);
    (
        save.star,
        save.lstar,
        save.cstar,
        save.sfmask,
        save.kernel_gs_base,
    ) = (0, 0, 0, 0, 0);
    (save.sysenter_cs, save.sysenter_esp, save.sysenter_eip) = (0, 0, 0);
    (save.pat, save.debug_control) = (PAT_AT_RESET, 0);
    vmcb.inject = Event::NONE;
    vmcb.interrupt_shadow = 0;
    vmcb
}
