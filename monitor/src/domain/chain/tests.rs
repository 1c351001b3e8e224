//! Chains on the host: who exits, and who stands at its call. That nothing is given up before (another core would have it, with another
//! caller) is asserted where exits are recorded.

use adyton_abi::error::{Error, SUCCESS};
use adyton_abi::exit::ExitKind;
use adyton_x86::flags::INTERRUPT;

use super::suspend;
use crate::address::HostPhysical;
use crate::domain::whole::Notice;
use crate::vcpu::{Owner, Register, Vcpu};

/// What a call that is not complete has in RAX, and where it stands.
const CALLING: u64 = 0xca11;
const RIP: u64 = 0x1000;

/// Domain 0's vCPU at its call.
fn root() -> *mut Vcpu {
    let vcpu = Vcpu::on_host(Owner::Domain0);
    vcpu.set_rflags(INTERRUPT);
    call(vcpu);
    vcpu
}

/// A domain's vCPU at its call.
fn level() -> *mut Vcpu {
    let vcpu = Vcpu::on_host(Owner::Domain);
    let page = Box::leak(Box::new([0_u64; 512]));
    vcpu.seat.exit_page = HostPhysical(page.as_ptr() as u64);
    call(vcpu);
    vcpu
}

fn call(vcpu: &mut Vcpu) {
    vcpu.set_rax(CALLING);
    vcpu.set_rip(RIP);
}

/// `child` is entered by `caller` on core 0, and its limit is used up at once or there is none.
unsafe fn enter(caller: *mut Vcpu, child: *mut Vcpu, is_limited: bool) {
    // SAFETY: as of the test, which holds no other reference.
    let child = unsafe { &mut *child };
    assert!(child.seat.owner.take(0));
    child.seat.caller = caller;
    child.seat.calling = false;
    child.seat.entry.start(1, u64::from(is_limited), || 0);
}

/// How a call was answered: status, kind, and how many bytes its caller went on.
fn answer(vcpu: *mut Vcpu) -> (u64, u64, u64) {
    // SAFETY: as above.
    let vcpu = unsafe { &*vcpu };
    (vcpu.rax(), vcpu.register(Register::Rdi), vcpu.rip() - RIP)
}

const UNANSWERED: (u64, u64, u64) = (CALLING, 0, 0);
const BUDGET: (u64, u64, u64) = (SUCCESS, ExitKind::Budget as u64, 3);

/// A chain of two levels, of which those in `limited` have used up their time; then the answers of domain 0 and of the outer level,
/// and whether the latter still stands at its call.
fn suspended(limited: [bool; 2]) -> [(u64, u64, u64); 2] {
    let (root, outer, inner) = (root(), level(), level());
    // SAFETY: the vCPUs are this test's.
    unsafe {
        enter(root, outer, limited[0]);
        enter(outer, inner, limited[1]);
        let next = suspend(&mut *inner, true);
        assert!(core::ptr::eq(next, root));
        assert!(!(*root).seat.calling, "domain 0 executes its call again");
        let inner_exits = limited[1] && !limited[0];
        assert_eq!((*outer).seat.calling, !inner_exits);
        assert!(
            [outer, inner]
                .iter()
                .all(|vcpu| (**vcpu).seat.owner.core().is_none())
        );
    }
    [answer(root), answer(outer)]
}

#[test]
fn an_interrupt_leaves_every_call_to_be_repeated() {
    assert_eq!(suspended([false, false]), [UNANSWERED, UNANSWERED]);
}

#[test]
fn the_outermost_level_without_time_exits_and_no_other() {
    assert_eq!(suspended([true, false]), [BUDGET, UNANSWERED]);
    assert_eq!(suspended([false, true]), [UNANSWERED, BUDGET]);
    assert_eq!(suspended([true, true]), [BUDGET, UNANSWERED]);
}

/// What was started on a whole core begins its chain: it is not given up, and executes its call again.
#[test]
fn a_chain_ends_at_what_was_started() {
    for limited in [false, true] {
        let (root, inner) = (level(), level());
        // SAFETY: the vCPUs are this test's.
        unsafe {
            assert!((*root).seat.owner.take(0));
            (*root).seat.begin_as_a_whole(Notice::default());
            (*root).set_rflags(0);
            enter(root, inner, limited);
            assert!(core::ptr::eq(suspend(&mut *inner, true), root));
            assert_eq!((*root).seat.owner.core(), Some(0), "still this core's");
            assert_eq!((*inner).seat.owner.core(), None);
            assert!(!(*root).seat.calling);
        }
        assert_eq!(answer(root), if limited { BUDGET } else { UNANSWERED });
    }
}

#[test]
fn a_caller_without_interrupts_is_told() {
    let (root, child) = (root(), level());
    // SAFETY: the vCPUs are this test's.
    unsafe {
        (*root).set_rflags(0);
        enter(root, child, false);
        suspend(&mut *child, true);
        assert_eq!(answer(root), (Error::Interrupted as u64, 0, 3));
        // But not twice: one whose time is over has its answer.
        call(&mut *root);
        enter(root, child, true);
        suspend(&mut *child, true);
        assert_eq!(answer(root), BUDGET);
    }
}
