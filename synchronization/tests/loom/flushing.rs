//! Taking a page from a domain that runs: when the taker is told that all have answered, nobody reaches the page.

use std::sync::Arc;

use adyton_synchronization::wait::Answer;
use loom::thread;

use crate::machine::{Fault, Machine};
use crate::runner::check;

/// One core revokes a page while another enters; twice, so that its second entry may keep its translations.
pub fn revoke_against_enter(times: usize, fault: Fault) {
    let machine = Machine::new(2, 1, fault);
    let other = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut own = other.start(1);
        for _ in 0..times {
            other.enter(&mut own, |guest| {
                guest.touch(0);
            });
        }
    });
    let mut own = machine.start(0);
    let answer = machine.revoke(&mut own, 0);
    assert_eq!(answer, Answer::All);
    machine.enter(&mut own, |guest| assert!(!guest.touch(0)));
    runner.join().unwrap();
}

/// The domain runs for ever unless it is kicked, and is entered again by who was kicked.
pub fn revoke_against_a_loop(fault: Fault) {
    let machine = Machine::new(2, 1, fault);
    let other = Arc::clone(&machine);
    let runner = thread::spawn(move || {
        let mut own = other.start(1);
        other.enter(&mut own, |guest| {
            if guest.touch(0) {
                guest.spin();
            }
        });
        other.enter(&mut own, |guest| {
            guest.touch(0);
        });
    });
    let mut own = machine.start(0);
    assert_eq!(machine.revoke(&mut own, 0), Answer::All);
    runner.join().unwrap();
}

/// Two cores take a page each at once: each waits for the other, which waits too.
pub fn revoke_against_revoke(fault: Fault) {
    let machine = Machine::new(2, 2, fault);
    let other = Arc::clone(&machine);
    let second = thread::spawn(move || {
        let mut own = other.start(1);
        other.enter(&mut own, |guest| {
            guest.touch(0);
        });
        assert_eq!(other.revoke(&mut own, 1), Answer::All);
    });
    let mut own = machine.start(0);
    assert_eq!(machine.revoke(&mut own, 0), Answer::All);
    second.join().unwrap();
}

#[test]
fn a_revoked_page_is_out_of_reach() {
    check("revoke against enter", Some(3), || {
        revoke_against_enter(2, Fault::None)
    });
}

#[test]
fn a_core_in_a_loop_is_brought_out() {
    check("revoke against a loop", Some(3), || {
        revoke_against_a_loop(Fault::None)
    });
}

#[test]
fn two_revocations_end() {
    check("revoke against revoke", Some(2), || {
        revoke_against_revoke(Fault::None)
    });
}
