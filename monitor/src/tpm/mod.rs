//! The TPM, which is the monitor's alone: design note 005.
//!
//! [`device`] moves bytes, [`command`] says what they mean, [`event_log`] keeps account of what was extended. What they are for:
//! [`crate::attestation`].

pub mod command;
pub mod device;
pub mod event_log;
