//! Domain 0 touches memory that is not its own: carved from it at present, or the monitor's. Design note 003.
//!
//! The nested fault gives the guest-physical address; what decides is the linear one. So the instruction is fetched and
//! decoded, and of the addresses that it uses, the one that leads to the faulting page is taken. A program, and a kernel that
//! copies from or to one, gets a page fault; a kernel that uses a mapping of its own goes on with ones
//! ([`private_view`]); what can do with neither is refused by #GP.

use super::{PAGE_FAULT, private_view, shut_down, view};
use crate::address::{GuestPhysical, GuestVirtual, PAGE_SIZE};
use crate::cores::Core;
use crate::domain::memory::CallerMemory;
use crate::enclave;
use crate::frames::FRAMES;
use crate::guest::instruction::{Instruction, State};
use crate::guest::walk::{Access, Kind, Regime};
use crate::nested::Rights;
use crate::vcpu::Vcpu;
use crate::vendor::NestedFault;

/// Error code bits of a page fault (SDM volume 3, section 4.7): present, write, user, fetch, and SGX, which says that the
/// page tables allow the access and something else does not.
const PRESENT: u32 = 1;
const WRITE: u32 = 1 << 1;
const USER: u32 = 1 << 2;
const FETCH: u32 = 1 << 4;
const SGX: u32 = 1 << 15;

/// Where the upper half of the linear address space begins: the kernel's.
const UPPER_HALF: u64 = 1 << 63;

/// The privilege level of programs.
const PROGRAM: u8 = 3;

const DOUBLE_FAULT: u8 = 8;

/// Answers the fault.
pub(super) fn handle(core: &Core, vcpu: &mut Vcpu, fault: NestedFault) {
    if is_allowed(fault) {
        // Another core has given it back meanwhile.
        return private_view::forget(core);
    }
    if vcpu.has_injection() {
        return undeliverable(core, vcpu);
    }
    // Ones as a table entry would be one more garbage translation; an exception ends it.
    if fault.table_walk {
        return vcpu.inject_general_protection();
    }
    let instruction = vcpu.fetch().ok();
    if enclave::holds(fault.address) {
        return abort_page(core, vcpu, fault, instruction.as_ref());
    }
    match linear_address(vcpu, fault, instruction.as_ref()) {
        Some(address) if address.value() < UPPER_HALF => {
            vcpu.inject_page_fault(address.value(), error_code(vcpu, fault));
        }
        _ if vcpu.cpl() == PROGRAM => vcpu.inject_general_protection(),
        // Ones are no instruction.
        _ if fault.execute => vcpu.inject_undefined(),
        _ => go_on_with_ones(core, vcpu, fault, instruction.as_ref()),
    }
}

/// The EPC, outside enclave mode, at any privilege level (Intel SDM volume 3D, section 37.3): no fault, but ones.
fn abort_page(core: &Core, vcpu: &mut Vcpu, fault: NestedFault, instruction: Option<&Instruction>) {
    if fault.execute {
        // Ones are no instruction.
        vcpu.inject_undefined();
    } else {
        go_on_with_ones(core, vcpu, fault, instruction);
    }
}

fn go_on_with_ones(
    core: &Core,
    vcpu: &mut Vcpu,
    fault: NestedFault,
    instruction: Option<&Instruction>,
) {
    let is_plain = instruction.is_some_and(Instruction::is_plain_access);
    if !is_plain || !private_view::enter(core, vcpu, GuestPhysical(fault.address)) {
        vcpu.inject_general_protection();
    }
}

/// An event cannot be delivered, as the stack, a descriptor or a table that it takes is not domain 0's: what bare metal does
/// when delivery faults (SDM volume 3, table 6-5), so that it does not go on for ever.
fn undeliverable(core: &Core, vcpu: &mut Vcpu) {
    match vcpu.pending_exception() {
        Some(DOUBLE_FAULT) => shut_down(
            core,
            vcpu,
            "has faulted while it was handling a double fault",
        ),
        Some(0 | 10..=13 | PAGE_FAULT) => vcpu.inject_exception(DOUBLE_FAULT, Some(0)),
        _ => vcpu.inject_general_protection(),
    }
}

/// Whether domain 0's tables allow the access now.
fn is_allowed(fault: NestedFault) -> bool {
    let needed = match (fault.write, fault.execute) {
        (true, _) => Rights::READ_WRITE,
        (_, true) => Rights::EXECUTE,
        _ => Rights::READ,
    };
    let found = view().translate(&FRAMES, GuestPhysical(fault.address));
    found.is_some_and(|found| found.rights.contains(needed))
}

fn error_code(vcpu: &Vcpu, fault: NestedFault) -> u32 {
    let mut error = PRESENT | SGX;
    error |= if fault.write { WRITE } else { 0 };
    error |= if fault.execute { FETCH } else { 0 };
    error |= if vcpu.cpl() == PROGRAM { USER } else { 0 };
    error
}

/// The linear address by which the instruction at RIP reaches the page that faulted.
fn linear_address(
    vcpu: &Vcpu,
    fault: NestedFault,
    instruction: Option<&Instruction>,
) -> Option<GuestVirtual> {
    if fault.execute {
        return Some(GuestVirtual(vcpu.rip()));
    }
    let (regime, instruction) = (vcpu.regime()?, instruction?);
    let general = core::array::from_fn(|number| vcpu.register_by_number(number as u8));
    let state = State {
        general: &general,
        instruction_pointer: vcpu.rip(),
        segment_bases: core::array::from_fn(|number| vcpu.segment_base(number as u8)),
    };
    let page = GuestPhysical(fault.address).page();
    instruction.touched(&state).into_iter().find_map(|touched| {
        let last = touched
            .address
            .value()
            .checked_add(u64::from(touched.size.max(1)) - 1)?;
        let first_page = touched.address.value() & !(PAGE_SIZE - 1);
        (first_page..=last)
            .step_by(PAGE_SIZE as usize)
            .map(|start| start.max(touched.address.value()))
            .find_map(|address| {
                leads_to(vcpu, &regime, address, fault.write, page).then_some(GuestVirtual(address))
            })
    })
}

fn leads_to(vcpu: &Vcpu, regime: &Regime, address: u64, write: bool, page: GuestPhysical) -> bool {
    let access = Access {
        kind: if write { Kind::Write } else { Kind::Read },
        user: vcpu.cpl() == PROGRAM,
        // Whether the access was allowed is not the question: the CPU has let it through.
        alignment_check: true,
    };
    regime
        .translate(&CallerMemory::new(vcpu), GuestVirtual(address), access)
        .is_ok_and(|found| found.address.page() == page)
}
