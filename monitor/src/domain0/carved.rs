//! Domain 0 touches memory that is not its own at present: design note 003.
//!
//! The nested fault gives the guest-physical address; what Linux needs to know is the linear one. So the instruction is
//! fetched and decoded, and of the addresses that it uses, the one that leads to the faulting page is taken.

use super::memory;
use crate::address::{GuestPhysical, GuestVirtual, PAGE_SIZE};
use crate::guest::instruction::State;
use crate::guest::walk::{Access, Kind, Regime};
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

/// Answers the fault.
pub(super) fn handle(vcpu: &mut Vcpu, fault: NestedFault) {
    match linear_address(vcpu, fault) {
        Some(address) if address.value() < UPPER_HALF => {
            let mut error = PRESENT | SGX;
            error |= if fault.write { WRITE } else { 0 };
            error |= if fault.execute { FETCH } else { 0 };
            error |= if vcpu.cpl() == 3 { USER } else { 0 };
            vcpu.inject_page_fault(address.value(), error);
        }
        _ => vcpu.inject_general_protection(),
    }
}

/// The linear address by which the instruction at RIP reaches the page that faulted.
fn linear_address(vcpu: &Vcpu, fault: NestedFault) -> Option<GuestVirtual> {
    if fault.table_walk {
        return None;
    }
    if fault.execute {
        return Some(GuestVirtual(vcpu.rip()));
    }
    let regime = vcpu.regime()?;
    let instruction = vcpu.fetch(memory()).ok()?;
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
        user: vcpu.cpl() == 3,
        // Whether the access was allowed is not the question: the CPU has let it through.
        alignment_check: true,
    };
    regime
        .translate(&memory(), GuestVirtual(address), access)
        .is_ok_and(|found| found.address.page() == page)
}
