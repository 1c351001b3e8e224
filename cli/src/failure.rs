//! What went wrong, with what to do about it.

use std::path::PathBuf;

use adyton::abi::error::Error as Reason;
use miette::Diagnostic;

/// An error for people.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// From the SDK.
    #[error(transparent)]
    Sdk(#[from] adyton::Error),
    /// Composing failed.
    #[error(transparent)]
    Compose(#[from] adyton::Failure),
    /// The monitor refused.
    #[error(transparent)]
    Refused(#[from] adyton::Refusal),
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No such domain or claim.
    #[error("there is no domain or claim {0}")]
    NoTarget(String),
    /// Evidence about nothing.
    #[error("evidence of what? Name a payload, or give --enclave-report")]
    NoSubject,
    /// The monitor shows no log.
    #[error("the monitor does not show its log to this system")]
    NoLog,
    /// Evidence, policy, anchors or a key cannot be used.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Not hexadecimal.
    #[error("{0} is not hexadecimal")]
    Hexadecimal(String),
    /// Not a window.
    #[error(
        "{0} is not a window: write NUMBER=SIZE, with :r behind if the domain may only read it"
    )]
    Window(String),
    /// Not a device.
    #[error(
        "{0} is not a device: write VENDOR:DEVICE:CLASS=SIZE, as `adyton device ls` shows them"
    )]
    Device(String),
    /// Not a size.
    #[error("{0} is not a size: write bytes, or a number with K, M or G")]
    Size(String),
}

impl Failure {
    /// What the system says of a file.
    pub fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::File { path, source }
    }

    /// A file that cannot be used for `reason`.
    pub fn unusable(path: &std::path::Path, reason: impl std::fmt::Display) -> Self {
        Self::Unusable {
            path: path.into(),
            reason: reason.to_string(),
        }
    }

    fn reason(&self) -> Option<Reason> {
        let refusal = match self {
            Self::Refused(refusal)
            | Self::Compose(adyton::Failure::Refused(refusal))
            | Self::Sdk(
                adyton::Error::Refused(refusal)
                | adyton::Error::Failed(adyton::Failure::Refused(refusal)),
            ) => refusal,
            _ => return None,
        };
        refusal.reason()
    }

    fn advice(&self) -> Option<&'static str> {
        match (self, self.reason()) {
            (Self::Sdk(adyton::Error::NoMonitor), _) => {
                Some("start this system under the monitor: `cargo xtask run` shows how")
            }
            (Self::Sdk(adyton::Error::Permission(_)), _) => Some(
                "root can give it away: chown or chgrp the device to whom you trust with domains",
            ),
            (Self::Sdk(adyton::Error::PoolFull(_)), _) => {
                Some("`adyton ls` shows who has it; `adyton gc` takes back what dead programs left")
            }
            (Self::NoTarget(_), _) => Some("`adyton ls` lists what exists"),
            (_, Some(Reason::Quota)) => Some(
                "monitor memory is shared out with the pool: a larger --memory claims more of it",
            ),
            (_, Some(Reason::CoreBusy)) => Some(
                "as root: echo 0 > /sys/devices/system/cpu/cpuN/online, for it and all its threads",
            ),
            (_, Some(Reason::WrongCore)) => Some("run it on the cores it was given: taskset -c"),
            _ => None,
        }
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn std::fmt::Display + 'a>> {
        self.advice()
            .map(|text| Box::new(text) as Box<dyn std::fmt::Display>)
    }
}
