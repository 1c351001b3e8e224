//! Coming to know a machine: see the README of this crate.
//!
//! [`certificate`] says whose TPM it is, [`challenge`] asks it, [`answer`] judges what comes back; [`files`] is how all that travels.
#![forbid(unsafe_code)]

pub mod answer;
pub mod certificate;
pub mod challenge;
pub mod files;

/// Why a machine is not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A certificate or a key cannot be read.
    #[error("{0} cannot be read: {1}")]
    Unreadable(&'static str, String),
    /// The certificate is not one of a TPM's endorsement key.
    #[error("the certificate is not that of an endorsement key: {0}")]
    WrongKind(&'static str),
    /// No chain leads from it to a root.
    #[error("no chain of the given certificates leads from the TPM's certificate to a root")]
    NoChain,
    /// The attestation key could leave the TPM, or sign what others made.
    #[error("the attestation key is not what it must be: {0:?}")]
    Key(adyton_evidence::tpm::KeyProblem),
    /// What came back is not what was sent.
    #[error("the machine has not opened the challenge")]
    NotOpened,
    /// The quote is not right.
    #[error("the machine's statement is not right: {0}")]
    Statement(&'static str),
}
