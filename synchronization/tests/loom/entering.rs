//! A vCPU is on one core at a time, and on none that is closed to it.

use std::sync::Arc;

use adyton_synchronization::wait::Answer;
use loom::thread;

use crate::machine::{Fault, Machine};
use crate::runner::check;

/// Several cores want the same vCPU, again and again.
pub fn enter_against_enter(cores: usize, times: usize) {
    let machine = Machine::new(cores, 1, Fault::None);
    let enter = move |machine: &Machine, core: usize| {
        let mut own = machine.start(core);
        for _ in 0..times {
            // What it remembers is looked at on the way in and out: loom sees two who do.
            machine.enter(&mut own, |guest| {
                guest.touch(0);
            });
        }
    };
    let others: Vec<_> = (1..cores)
        .map(|core| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || enter(&machine, core))
        })
        .collect();
    enter(&machine, 0);
    for other in others {
        other.join().unwrap();
    }
}

/// A domain is denied a core while that enters it.
fn deny_against_enter() {
    let machine = Machine::new(2, 1, Fault::None);
    let other = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut own = other.start(1);
        other.enter(&mut own, |guest| {
            guest.touch(0);
        });
        // Denied by now or not: whether it is let in is asked at the gate.
        other.enter(&mut own, |guest| {
            guest.touch(0);
        });
    });
    let mut own = machine.start(0);
    assert_eq!(machine.deny(&mut own, 1), Answer::All);
    runner.join().unwrap();
}

#[test]
fn one_core_of_two_has_the_vcpu() {
    check("enter against enter", Some(3), || enter_against_enter(2, 2));
}

#[test]
fn a_denied_core_does_not_run_the_domain() {
    check("deny against enter", Some(2), deny_against_enter);
}
