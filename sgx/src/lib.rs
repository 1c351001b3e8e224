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

pub mod epcm;
pub mod error;
pub mod fault;
pub mod leaf;
pub mod machine;
pub mod outcome;
pub mod platform;
pub mod processor;
pub mod progress;
pub mod thread;
pub mod tracking;

pub use epcm::{EpcPage, EpcmEntry};
pub use error::ErrorCode;
pub use fault::{Access, Fault};
pub use machine::{Machine, Mode};
pub use outcome::Outcome;
pub use platform::{Capabilities, Platform, Secrets};
pub use processor::{Flags, Processor, Register, Segment};
pub use progress::Progress;
pub use thread::Thread;

/// Executes `ENCLS`: the leaf that EAX names, with RBX, RCX, RDX and the flags of `processor`.
///
/// The machine has seen to what comes before the leaf (SDM, ENCLS): #UD outside protected mode or at a privilege level other than 0, #GP if
/// IA32_FEATURE_CONTROL does not enable SGX.
pub fn encls<'e>(
    machine: &mut impl Machine<'e>,
    progress: &mut Progress,
    processor: &mut Processor,
) -> Outcome {
    let _ = (machine, progress, processor);
    Outcome::Fault(Fault::general_protection())
}

/// Executes `ENCLU`: the leaf that EAX names. `thread` is `None` outside enclave mode; `EENTER` and `ERESUME` set it, `EEXIT` clears it.
///
/// The machine has seen to what comes before the leaf (SDM, ENCLU): #UD at a privilege level other than 3, #NM for CR0.TS, #GP if CR0.NE is 0.
pub fn enclu<'e>(
    machine: &mut impl Machine<'e>,
    thread: &mut Option<Thread>,
    processor: &mut Processor,
) -> Outcome {
    let _ = (machine, thread, processor);
    Outcome::Fault(Fault::general_protection())
}

/// What makes a thread leave its enclave other than by `EEXIT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An interrupt, or anything else that the enclave is not told of.
    Other,
    /// An exception of the instruction at the instruction pointer.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code, 0 for vectors without one.
        error: u32,
        /// The linear address of a page fault, 0 otherwise.
        address: u64,
    },
}

/// Leaves enclave mode at an event (AEX): `processor` comes with the registers of the enclave and goes with those that the SDM makes up
/// (table 37-1), at the asynchronous exit pointer. The address that goes to CR2 if the event is a page fault is returned, its low
/// 12 bits cleared.
pub fn asynchronous_exit<'e>(
    machine: &mut impl Machine<'e>,
    thread: Thread,
    processor: &mut Processor,
    event: Event,
) -> u64 {
    let _ = (machine, thread, processor, event);
    0
}
