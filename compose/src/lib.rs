//! Building, entering and sharing domains, the same way inside a domain as under Linux.
//!
//! A caller [claims](claim::Claim) a range of its pool, takes [pages](claim::Pages) from it, and
//! composes a [`Domain`](domain::Domain) out of them: by hand, or from an ELF file with
//! [`Program`](program::Program). A [`Vcpu`](vcpu::Vcpu) enters it and reports each
//! [`Exit`](vcpu::Exit). Everything reaches the machine through one trait,
//! [`Environment`](environment::Environment).
//!
//! What must hold: whatever lies in memory that a domain shares, or in an exit page, may change at any
//! time and is never trusted.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod allocator;
pub mod blueprint;
pub mod calls;
pub mod claim;
pub mod convention;
pub mod devices;
pub mod domain;
pub mod environment;
pub mod evidence;
pub mod image;
pub mod listing;
pub mod plan;
pub mod program;
pub mod ring;
pub mod tables;
pub mod vcpu;
pub mod whole;

#[cfg(test)]
mod fake;

pub use adyton_abi as abi;
