//! One QEMU: how it is configured, started, listened to and ended.
//!
//! [`Machine`] is what one asks for, [`Session`] one that runs with its console captured, and
//! [`control`] the line to QEMU itself, which tells why a machine ended and, when it hangs,
//! what its cores were doing.

mod control;
mod machine;
mod session;
mod tpm;

pub use machine::{Board, FIRMWARE_VARIABLES, Load, Machine, Timing, Tpm};
pub use session::{Ending, Event, Session, spawn};
pub use tpm::{TpmEmulator, manufacture};
