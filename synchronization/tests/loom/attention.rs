//! Kicks: none is lost, and no NMI of domain 0's is lost or invented.

use std::sync::Arc;

use adyton_synchronization::attention::{NMI, STARTUP, STOP};
use loom::thread;

use crate::machine::{Core, Fault, Machine};
use crate::runner::check;

/// The core runs guests until `bit` is asked for; every NMI brings it out, nothing else.
fn until_asked(core: &Core, bit: u32) {
    while !core.attention.is_asked() || !core.attention.take(bit) {
        while !core.has_nmi() && !core.attention.has(NMI) {
            thread::yield_now();
        }
        core.take_nmis();
    }
}

/// One core is asked for something by two others, which kick it besides.
pub fn two_ask(fault: Fault) {
    let machine = Machine::new(2, 0, fault);
    let other = Arc::clone(&machine);
    let asker = thread::spawn(move || other.cores[0].kick(STARTUP));
    let third = Arc::clone(&machine);
    let stopper = thread::spawn(move || third.cores[0].kick(STOP));
    until_asked(&machine.cores[0], STARTUP);
    until_asked(&machine.cores[0], STOP);
    asker.join().unwrap();
    stopper.join().unwrap();
}

/// An NMI of domain 0's comes among kicks.
fn whose_is_it(own: bool) {
    let machine = Machine::new(2, 0, Fault::None);
    let other = Arc::clone(&machine);
    let kicker = thread::spawn(move || {
        other.cores[0].kick(0);
        other.cores[0].kick(0);
    });
    let core = &machine.cores[0];
    if own {
        core.send_nmi();
    }
    core.take_nmis();
    kicker.join().unwrap();
    core.take_nmis();
    assert_eq!(core.attention.take(NMI), own, "domain 0 gets what it sent");
    assert!(
        core.attention.ask(0),
        "no kick is left that has no NMI on its way"
    );
}

#[test]
fn no_request_is_lost() {
    check("two ask", Some(3), || two_ask(Fault::None));
}

#[test]
fn no_nmi_is_invented() {
    check("kicks alone", None, || whose_is_it(false));
}

#[test]
fn no_nmi_is_lost() {
    check("kicks and an NMI", None, || whose_is_it(true));
}
