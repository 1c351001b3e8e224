//! A core that never answers: whoever waits for it is told so in bounded time, and does not use what the core may reach.

use std::sync::Arc;

use adyton_synchronization::wait::Answer;
use loom::thread;

use crate::machine::{Fault, Machine};
use crate::runner::check;

/// Looks after which a core is given up.
const PATIENCE: u64 = 3;

/// A core enters and never comes out; it goes on touching what it can.
pub fn revoke_from_the_silent(fault: Fault) {
    let machine = Machine::with_patience(2, 1, fault, PATIENCE);
    let other = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut own = other.start(1);
        let mut reached = false;
        other.enter_for_ever(&mut own, |guest| {
            reached = guest.touch(0);
            guest.touch(0);
        });
        reached
    });
    let mut own = machine.start(0);
    let answer = machine.revoke(&mut own, 0);
    // Only one that came in late enough to see the new tables may be silent without harm.
    let reached = runner.join().unwrap();
    assert!(answer == Answer::TooLate || !reached || machine.is_current(1));
}

/// Stopping a domain whose vCPU never comes back.
fn stop_the_silent() {
    let machine = Machine::with_patience(2, 1, Fault::None, PATIENCE);
    let other = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut own = other.start(1);
        other.enter_for_ever(&mut own, |guest| {
            guest.touch(0);
        })
    });
    let mut own = machine.start(0);
    let answer = machine.stop(&mut own);
    let entered = runner.join().unwrap();
    let expected = if entered {
        Answer::TooLate
    } else {
        Answer::All
    };
    assert_eq!(answer, expected, "who got in is still there");
}

#[test]
fn what_a_silent_core_reaches_is_not_used() {
    check("revoke from the silent", None, || {
        revoke_from_the_silent(Fault::None);
    });
}

#[test]
fn a_domain_with_a_silent_core_is_not_stopped() {
    check("stop the silent", None, stop_the_silent);
}
