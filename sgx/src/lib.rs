//! Intel SGX as a part of the monitor: the structures, and every leaf of `ENCLS` and `ENCLU`, over a trait for the
//! machine ([`Machine`]). No `unsafe`, no allocator, no hardware: everything is tried on the host.
//!
//! The authority is the Intel SDM, volume 3D, chapters 35 to 40; "SDM" with the name of an instruction means its
//! page there. `docs/sgx.md` says what is exact and what differs.
//!
//! What must hold: a leaf refuses and has changed nothing, or has done all that the SDM says; no claim on a page outlives
//! the call ([`epcm`]); work longer than a slice stops with [`Outcome::Again`] and is carried on when the instruction is executed
//! again ([`progress`]); nothing that a caller supplies can panic.

#![no_std]
#![forbid(unsafe_code)]

mod context;
mod encls;
mod enclu;
pub mod epcm;
pub mod error;
pub mod fault;
pub mod keys;
pub mod leaf;
pub mod machine;
pub mod measurement;
pub mod outcome;
mod page_cipher;
pub mod platform;
pub mod processor;
pub mod progress;
pub mod report;
pub mod secrets;
mod signature;
pub mod structures;
pub mod thread;
pub mod tracking;

pub use encls::encls;
pub use enclu::{Event, Precedent, asynchronous_exit, enclu, exit_to};
pub use epcm::{EpcPage, EpcmEntry};
pub use error::ErrorCode;
pub use fault::{Access, Fault};
pub use machine::{Control, Machine, Mode};
pub use outcome::Outcome;
pub use platform::{Capabilities, Platform};
pub use processor::{Flags, Processor, Register, Segment};
pub use progress::Progress;
pub use secrets::Secrets;
pub use thread::Thread;

/// Whether this processor computes fast enough for every call to end within the bound: it has AES instructions. On others SGX is not to be offered.
#[must_use]
pub fn is_supported() -> bool {
    aes::hardware_accelerated()
}
