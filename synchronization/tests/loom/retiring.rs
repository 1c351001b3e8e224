//! Destroying a domain that others are about to enter: when it is stopped nobody has its vCPU, when it is retired nobody
//! refers to it.

use std::sync::Arc;

use adyton_synchronization::wait::Answer;
use loom::thread;

use crate::machine::{Fault, Machine};
use crate::runner::check;

/// One core destroys the domain, the others enter it: at once, and once more.
pub fn destroy_against_enter(cores: usize, times: usize, fault: Fault) {
    let machine = Machine::new(cores, 1, fault);
    let others: Vec<_> = (1..cores)
        .map(|core| {
            let machine = Arc::clone(&machine);
            thread::spawn(move || {
                let mut own = machine.start(core);
                for _ in 0..times {
                    machine.enter(&mut own, |guest| {
                        guest.touch(0);
                    });
                }
            })
        })
        .collect();
    let mut own = machine.start(0);
    assert_eq!(machine.stop(&mut own), Answer::All);
    assert_eq!(machine.retire(&mut own), Answer::All);
    assert!(!machine.enter(&mut own, |_| ()), "it is gone");
    for other in others {
        other.join().unwrap();
    }
}

#[test]
fn nobody_is_left_in_what_is_destroyed() {
    check("destroy against enter", Some(3), || {
        destroy_against_enter(2, 1, Fault::None);
    });
}

#[test]
fn nobody_comes_back_to_what_is_destroyed() {
    check("destroy against entering twice", Some(2), || {
        destroy_against_enter(2, 2, Fault::None);
    });
}
