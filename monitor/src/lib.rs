//! The security monitor as a library: everything but its first instructions, so that the pure parts are tested on
//! the host.
#![cfg_attr(not(test), no_std)]

pub mod acpi;
pub mod address;
pub mod guest;
pub mod nested;
