//! AMD Secure Virtual Machine: the virtual machine control block and what is written in it.
//!
//! Defined by AMD64 Architecture Programmer's Manual (APM) volume 2, chapter 15 and appendices B and C.

pub mod exit_code;
pub mod intercept;
pub mod vmcb;

pub use exit_code::ExitCode;
pub use intercept::{Intercept1, Intercept2};
pub use vmcb::{Event, Segment, Vmcb};

/// Bytes of an I/O permission map: one bit a port and a few beyond (APM volume 2, section 15.10.1).
pub const IO_MAP_SIZE: usize = 3 * 4096;

/// Bytes of an MSR permission map (APM volume 2, section 15.11).
pub const MSR_MAP_SIZE: usize = 2 * 4096;
