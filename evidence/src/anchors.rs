//! What a relying party trusts: machines, firmware, monitors, and what they may have started with.

use alloc::string::String;
use alloc::vec::Vec;

use crate::Hash;

/// All of it. What is not in here has no reference value and is refused.
#[derive(Clone, Debug, Default)]
pub struct Anchors {
    /// Machines, by the attestation keys of their TPMs.
    pub machines: Vec<Machine>,
    /// Monitors.
    pub monitors: Vec<Monitor>,
    /// Firmware.
    pub firmware: Vec<Firmware>,
    /// Boot loaders that may start a monitor.
    pub loaders: Vec<Loader>,
    /// What a monitor may have started with.
    pub boots: Vec<Boot>,
}

/// A machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// For people.
    pub name: String,
    /// SHA-256 of the TPMT_PUBLIC of its attestation key.
    pub key: Hash,
}

/// A monitor.
#[derive(Clone, Debug)]
pub struct Monitor {
    /// For people.
    pub name: String,
    /// Digest of the EFI application, as for Authenticode.
    pub image: Hash,
    /// The security version that it states.
    pub security_version: u64,
}

/// Firmware.
#[derive(Clone, Debug)]
pub struct Firmware {
    /// For people.
    pub name: String,
    /// PCRs and their values; those of [`Firmware::NEEDED`] at least.
    pub values: Vec<(u32, Hash)>,
}

impl Firmware {
    /// The PCRs that must have a reference value: the firmware itself, option ROMs, Secure Boot.
    pub const NEEDED: [u32; 3] = [0, 2, 7];
    /// The PCRs that can have one; [the monitor's image](Monitor::image) stands for PCR 4.
    pub const POSSIBLE: [u32; 7] = [0, 1, 2, 3, 5, 6, 7];
}

/// A boot loader that runs before the monitor.
#[derive(Clone, Debug)]
pub struct Loader {
    /// For people.
    pub name: String,
    /// Digests of the EFI applications in front of the monitor, in order.
    pub images: Vec<Hash>,
    /// What it does and reads. Without it nobody knows what such a loader brings in, and it is refused.
    pub rules: Option<LoaderRules>,
}

/// What a boot loader does and reads: this, in this order, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct LoaderRules {
    /// Its events in PCR 8.
    pub commands: Vec<LoaderEvent>,
    /// Its events in PCR 9.
    pub files: Vec<LoaderEvent>,
}

/// A command that a boot loader executes, or a file that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderEvent {
    /// For people: the command, the file's name, or nothing.
    pub text: String,
    /// What is measured of it; this counts.
    pub digest: Hash,
}

/// What a monitor started with.
#[derive(Clone, Debug)]
pub struct Boot {
    /// For people.
    pub name: String,
    /// SHA-256 of the configuration.
    pub configuration: Hash,
    /// SHA-256 of domain 0's kernel, initrd and command line, where they are pinned.
    pub domain_0: Option<[Hash; 3]>,
}
