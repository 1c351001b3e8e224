//! The security monitor as a library: everything but its first instructions, so that the pure parts are tested on
//! the host.
#![cfg_attr(not(any(test, fuzzing)), no_std)]

pub mod acpi;
pub mod address;
pub mod apic;
pub mod attestation;
pub mod boot;
pub mod calls;
#[cfg(not(any(test, fuzzing)))]
mod compiler;
pub mod console;
pub mod cores;
pub mod devices;
pub mod domain;
pub mod domain0;
pub mod enclave;
pub mod frames;
pub mod guest;
pub mod instructions;
pub mod interrupts;
pub mod iommu;
pub mod last_words;
pub mod log;
pub mod machine;
pub mod memory;
pub mod nested;
pub mod once;
#[cfg(not(any(test, fuzzing)))]
mod panic;
pub mod physical;
pub mod platform;
pub mod policy;
pub mod random;
pub mod scrub;
#[cfg_attr(not(feature = "selfcheck"), path = "selfcheck/absent.rs")]
pub mod selfcheck;
pub mod tpm;
pub mod uefi;
pub mod vcpu;
pub mod vendor;

pub use adyton_synchronization::lock;
