//! Domains as this machine runs them.
//!
//! The engine ([`adyton_capability`]) decides; [`platform`] carries out what it decides, with [`mapping`], [`contents`] and [`devices`].
//! [`enter`] goes into a domain and comes out of it, [`exits`] answers what happens inside, [`name`] says what a caller's addresses mean.
//! [`context`] is what the fast paths look at, [`directory`] and `adyton-synchronization` are what lets them do so without a lock, and
//! [`trail`] saves them the walk through the caller's page tables where nothing changed.

mod chain;
mod contents;
pub mod context;
mod devices;
pub mod directory;
pub mod engine;
pub mod enter;
pub mod entry;
pub mod exits;
mod mapping;
pub mod memory;
pub mod name;
pub mod platform;
pub mod report;
pub mod seat;
pub mod store;
pub mod tables;
pub mod trail;
pub mod whole;
mod zero;
