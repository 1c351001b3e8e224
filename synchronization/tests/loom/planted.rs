//! The models with something broken in them: each must fail. A model that cannot fail shows nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use adyton_synchronization::atomic::Memory;

use crate::machine::Fault;
use crate::runner::run;
use crate::{attention, entering, flushing, locking, quarantine, retiring};

/// Sees `model` fail with such a memory and at most so many preemptions.
fn is_found(memory: Memory, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let outcome = catch_unwind(AssertUnwindSafe(|| run(memory, Some(preemptions), model)));
    assert!(outcome.is_err(), "the model does not notice");
}

fn fault_is_found(model: impl Fn() + Send + Sync + Clone + 'static) {
    is_found(Memory::FenceBefore, 3, model.clone());
    is_found(Memory::FenceBehind, 3, model);
}

#[test]
fn a_gate_that_is_not_looked_at_again() {
    fault_is_found(|| retiring::destroy_against_enter(2, 1, Fault::GateBeforeOwner));
}

#[test]
fn a_look_before_the_generation_is_raised() {
    fault_is_found(|| flushing::revoke_against_enter(2, Fault::LookBeforeRaise));
}

#[test]
fn a_flush_that_is_left_out() {
    fault_is_found(|| flushing::revoke_against_enter(2, Fault::NoFlush));
}

#[test]
fn a_kick_that_sends_nothing() {
    fault_is_found(|| flushing::revoke_against_a_loop(Fault::NoKick));
}

#[test]
fn an_nmi_that_is_not_accounted_for() {
    fault_is_found(|| attention::two_ask(Fault::NoAccount));
}

#[test]
fn memory_that_is_used_before_all_have_answered() {
    fault_is_found(|| flushing::revoke_against_enter(2, Fault::NoWait));
}

#[test]
fn a_context_that_is_freed_at_once() {
    fault_is_found(|| retiring::destroy_against_enter(2, 1, Fault::NoQuiescence));
}

#[test]
fn a_silent_core_that_is_taken_for_one_that_answered() {
    fault_is_found(|| quarantine::revoke_from_the_silent(Fault::NoQuarantine));
}

#[test]
fn a_lock_that_releases_nothing() {
    is_found(Memory::NoRelease, 2, || locking::hold(2));
}

#[test]
fn a_vcpu_that_is_let_go_without_order() {
    is_found(Memory::NoRelease, 2, || entering::enter_against_enter(2, 1));
}

#[test]
fn a_flush_without_a_total_order() {
    is_found(Memory::NoTotalOrder, 2, || {
        flushing::revoke_against_enter(1, Fault::None);
    });
}

#[test]
fn a_stop_without_a_total_order() {
    is_found(Memory::NoTotalOrder, 2, || {
        retiring::destroy_against_enter(2, 1, Fault::None);
    });
}
