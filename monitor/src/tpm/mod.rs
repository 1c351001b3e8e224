//! The TPM, which is the monitor's alone: design note 005.
//!
//! [`device`] moves bytes; [`command`], [`storage`], [`session`] and [`credential`] say what they mean; [`event_log`] keeps account of what was extended. What
//! they are for: [`crate::attestation`].

pub mod command;
pub mod credential;
pub mod device;
#[cfg(test)]
pub mod emulator;
pub mod event_log;
pub mod session;
pub mod storage;

use command::AnswerError;
use device::TpmError;

/// What carries commands out, one after another: the TPM itself, or an emulator that tests talk to.
pub trait Exchange {
    /// Runs a command to its end, and reads the answer.
    ///
    /// # Errors
    /// What the TPM refuses, and whatever keeps it from answering.
    fn run<T>(
        &mut self,
        message: &[u8],
        read: impl Fn(&[u8]) -> Result<T, AnswerError>,
    ) -> Result<T, TpmError>;
}
