//! Facts about the monitor.

use adyton_abi::call::{Information, Protection};
use adyton_compose::calls::information;

use crate::{Error, Linux};

/// What the monitor tells about itself, and about the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Version of the call interface.
    pub interface: u64,
    /// Major, minor and patch of the monitor.
    pub version: [u64; 3],
    /// Build id.
    pub build: u64,
    /// Cores.
    pub cores: u64,
    /// TSC ticks a second, where known.
    pub frequency: Option<u64>,
    /// Bytes of pool.
    pub pool: u64,
    /// Bytes of pool that are claimed.
    pub claimed: u64,
    /// Pages of monitor memory: limit, used, passed on.
    pub quota: [u64; 3],
    /// Whether an IOMMU keeps devices out of confidential memory.
    pub device_protection: bool,
    /// IOMMUs that are driven.
    pub iommus: u64,
    /// Times that they were made to forget translations.
    pub iommu_flushes: u64,
    /// What devices tried and were kept from, as far as the IOMMUs tell.
    pub blocked: Blocked,
    /// Whether the boot was measured.
    pub measured_boot: bool,
    /// Guest-physical address and size of the log ring.
    pub log: Option<(u64, u64)>,
}

/// Accesses of devices that an IOMMU has blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// How many.
    pub count: u64,
    /// Whose was the last: bus << 8 | device << 3 | function.
    pub device: u16,
    /// Where it went.
    pub address: u64,
}

impl Monitor {
    /// Asks the monitor.
    ///
    /// # Errors
    /// [`Error::NoMonitor`], or a refusal.
    pub fn ask() -> Result<Self, Error> {
        let place = Linux::without_memory()?;
        let ask = |topic| information(&place, topic, 0);
        let version = ask(Information::Version)?;
        let cores = ask(Information::Cores)?;
        let pool = ask(Information::Pool)?;
        let quota = ask(Information::Quota)?;
        let protection = ask(Information::Protection)?[0];
        let devices = ask(Information::Devices)?;
        let log = ask(Information::Log)?;
        Ok(Self {
            interface: version[0],
            version: [
                version[1] >> 32,
                version[1] >> 16 & 0xffff,
                version[1] & 0xffff,
            ],
            build: version[2],
            cores: cores[0],
            frequency: Some(cores[2]).filter(|&ticks| ticks != 0),
            pool: pool[0],
            claimed: pool[1],
            quota: [quota[0], quota[1], quota[2]],
            device_protection: protection & Protection::DeviceDma as u64 != 0,
            iommus: devices[0],
            iommu_flushes: devices[1],
            blocked: Blocked {
                count: devices[2],
                device: devices[3] as u16,
                address: devices[4],
            },
            measured_boot: protection & Protection::MeasuredBoot as u64 != 0,
            log: Some((log[0], log[1])).filter(|&(address, _)| address != 0),
        })
    }
}
