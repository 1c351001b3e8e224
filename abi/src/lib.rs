//! What the monitor and its callers agree on: call numbers, register
//! conventions, error codes, and the structures in shared pages.
//!
//! A caller executes `VMMCALL` (AMD) or `VMCALL` (Intel) at any privilege level
//! in 64-bit mode. See [`call`] for the registers, [`exit`] for what `enter`
//! reports, [`start`] for what a domain finds when it starts, and
//! `docs/calls.md` for the calls in prose. Everything here is plain data
//! without `unsafe` and without dependencies.
#![no_std]
#![forbid(unsafe_code)]

pub mod call;
pub mod counter;
pub mod discovery;
pub mod enclave;
pub mod enrolment;
pub mod error;
pub mod evidence;
pub mod exit;
pub mod key;
pub mod policy;
pub mod quote;
pub mod record;
pub mod region;
pub mod report;
pub mod start;

/// Bytes in a page, the granule of every region.
pub const PAGE_SIZE: u64 = 4096;

/// Version of this interface, in [`call::Information::Version`] and in every
/// shared page. Raised when a meaning changes.
pub const VERSION: u32 = 1;
