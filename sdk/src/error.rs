//! What can go wrong outside of a call, and every refusal of one.

use std::io;
use std::path::PathBuf;

use adyton_compose::claim::Failure;
use adyton_compose::environment::Refusal;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// CPUID shows no monitor, or one of another interface version.
    #[error("no Adyton monitor runs below this system (CPUID leaf 0x40004100 does not show one)")]
    NoMonitor,
    /// No dax device.
    #[error(
        "there is no pool device {0}: load the kernel modules dax_hmem and device_dax, and see that the \
         monitor was given a pool (adyton.pool=SIZE)"
    )]
    NoDevice(PathBuf),
    /// The device may not be opened by this user.
    #[error("{0} may not be read and written by this user: ask for permission on the device")]
    Permission(PathBuf),
    /// The kernel uses the pool as ordinary memory.
    #[error(
        "the kernel uses {0} as ordinary System RAM, which would hand domains' memory to everybody: boot with \
         dax_hmem.region_idle=1, or keep the kmem driver off it"
    )]
    SystemRam(PathBuf),
    /// The device has no memory.
    #[error("the pool device has no memory: create one in its region first (`adyton setup`)")]
    Empty,
    /// No free range of the pool is large enough.
    #[error("the pool has no free range of {0} bytes")]
    PoolFull(u64),
    /// Domains live where the pool would be divided anew.
    #[error("{0} has domains in it: end them first (`adyton ls`, `adyton kill`)")]
    PoolInUse(PathBuf),
    /// No claim at that place.
    #[error("there is no claim at offset {0:#x} of the pool")]
    NoClaim(u64),
    /// No such PCI function.
    #[error("there is no PCI function {0}")]
    NoFunction(String),
    /// The kernel uses the PCI function.
    #[error(
        "the kernel's driver {1} has the PCI function {0}: `adyton device assign {0}` takes it from there"
    )]
    Bound(String, String),
    /// The operating system refused.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Its error.
        source: io::Error,
    },
    /// The monitor refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Composing failed.
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }
}
