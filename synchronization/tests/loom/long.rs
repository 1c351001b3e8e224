//! More cores and more preemptions: minutes, so only in `cargo xtask test all`.

use std::sync::Arc;

use adyton_synchronization::wait::Answer;
use loom::thread;

use crate::machine::{Fault, Machine};
use crate::runner::check;
use crate::{entering, flushing, retiring};

/// A core runs the domain, one takes a page, the third enters or takes another.
fn three_cores(third_revokes: bool) {
    // Two that wait look only so often: of one more look each the checker would think for ever.
    let patience = if third_revokes { 2 } else { u64::MAX };
    let machine = Machine::with_patience(3, 2, Fault::None, patience);
    let other = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut own = other.start(1);
        other.enter(&mut own, |guest| {
            guest.touch(0);
        });
    });
    let other = Arc::clone(&machine);
    let third = thread::spawn(move || {
        let mut own = other.start(2);
        if third_revokes {
            // Too late or not: what was not answered is not used.
            let _ = other.revoke(&mut own, 1);
        } else {
            other.enter(&mut own, |guest| {
                guest.touch(0);
            });
        }
    });
    let mut own = machine.start(0);
    let answer = machine.revoke(&mut own, 0);
    assert!(third_revokes || answer == Answer::All);
    runner.join().unwrap();
    third.join().unwrap();
}

#[test]
fn three_cores_one_revokes() {
    check("three cores, one revokes", Some(3), || three_cores(false));
}

#[test]
fn three_cores_two_revoke() {
    check("three cores, two revoke", Some(2), || three_cores(true));
}

#[test]
fn three_cores_one_vcpu() {
    check("three cores, one vCPU", None, || {
        entering::enter_against_enter(3, 1)
    });
}

#[test]
fn three_cores_one_destroys() {
    check("three cores, one destroys", Some(4), || {
        retiring::destroy_against_enter(3, 1, Fault::None);
    });
}

#[test]
fn two_revocations_end() {
    check("revoke against revoke", Some(3), || {
        flushing::revoke_against_revoke(Fault::None)
    });
}

#[test]
fn a_core_in_a_loop_is_brought_out() {
    check("revoke against a loop", Some(4), || {
        flushing::revoke_against_a_loop(Fault::None)
    });
}
