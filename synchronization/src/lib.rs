//! How the monitor's cores agree, without any hardware: who holds a lock or a vCPU, where each core is, which
//! translations it must forget, how it is asked to look up, and when waiting for it ends.
//!
//! Everything that the fast paths of two cores do to each other's words is here, so that a model checker can try every
//! interleaving and every order that the memory model allows (`tests/loom/`). The monitor adds the instructions: VMRUN,
//! sending an NMI, reading the clock.
//!
//! | module | question |
//! | --- | --- |
//! | [`lock`] | who may touch a value |
//! | [`owner`] | which core has a vCPU in hand |
//! | [`gate`] | whether a domain may be entered here and now |
//! | [`flush`] | which translations a core must forget, and who must be waited for |
//! | [`presence`] | where a core is, and what it may still refer to |
//! | [`attention`] | how a core is made to look up, and whose NMI is whose |
//! | [`wait`] | how a core waits for the others, and when it gives one up |
#![cfg_attr(not(any(test, loom)), no_std)]

pub mod atomic;
pub mod attention;
pub mod flush;
pub mod gate;
pub mod lock;
pub mod owner;
pub mod presence;
pub mod wait;
