//! The capability engine: who holds which memory, which cores and which devices, who gave it, and what must
//! change in the hardware when that changes.
//!
//! An [`Engine`] holds one forest of [`node`]s in pages of a [`store::Store`]. A call either fails
//! and changes nothing, or commits its decision at once and returns an [`operation::Operation`],
//! which [`Engine::advance`] carries out slice by slice: it hands [`effect::Effect`]s to a
//! [`effect::Platform`] in an order that is safe to interrupt anywhere. Which
//! translations a core must forget is decided in `adyton-synchronization`, apart from the forest and without its lock.
//!
//! The crate has no `unsafe`, allocates nothing but pages of the store, and knows no hardware.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

// Tests share their store with those in `tests/`, which know the crate by its name.
#[cfg(test)]
extern crate self as adyton_capability;

pub mod account;
mod advance;
pub mod claim;
pub mod derive;
pub mod device;
pub mod domain;
pub mod effect;
mod engine;
pub mod enumerate;
// The exploration looks into the records, which are not public.
#[cfg(test)]
#[path = "../tests/explore/mod.rs"]
mod explore;
pub mod grant;
pub mod identity;
pub mod invariants;
pub mod lookup;
pub mod measure;
pub mod node;
pub mod operation;
mod placement;
pub mod reach;
mod records;
mod revoke;
mod seal;
mod stage;
pub mod store;
pub mod survey;
mod tree;
pub mod whole_core;

pub use engine::Engine;
pub use invariants::Violation;
