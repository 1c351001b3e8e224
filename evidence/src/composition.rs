//! The composition: what each domain of a closure is, has, and has in common with others (`docs/attestation.md`, section 4).
//!
//! Written domain by domain and region by region, so that the writer needs no more memory than the largest region's list of peers.

use crate::Hash;
use crate::cbor::encode::{Encoder, Full, Sink};
use crate::claims::{DEBUG_STATE, DOMAIN, SUBMODS, domain as key};
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

#[cfg(feature = "verify")]
mod model;
#[cfg(feature = "verify")]
mod read;

pub use adyton_abi::record::Sharing;
#[cfg(feature = "verify")]
pub use model::{Composition, Domain, Region, Tenant};

/// Values of the key `kind`.
pub(crate) mod kind {
    pub const OPAQUE: u64 = 0;
    pub const BUILDING: u64 = 1;
    pub const SEALED: u64 = 2;
}

/// `dbgstat` (RFC 9711, section 4.2.9).
pub(crate) const DEBUG_ENABLED: u64 = 0;
/// As above.
pub(crate) const DEBUG_DISABLED: u64 = 1;

/// Who else reaches a region, and with what rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Index of the domain.
    pub domain: u64,
    /// Read, write, execute.
    pub rights: Attributes,
}

/// A PCI function that a domain owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Class code, three bytes.
    pub class: u32,
}

/// What is told of a domain in front of its regions.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// `None` before it is sealed.
    pub measurement: Option<Hash>,
    /// Policy flags.
    pub flags: Flags,
    /// Exceptions that go to the parent.
    pub exceptions: u32,
    /// vCPUs.
    pub vcpus: u64,
    /// First and count of each range of cores, rising.
    pub cores: &'a [[u64; 2]],
    /// Regions accepted after seal.
    pub epoch: u64,
    /// Which of create, carve, share, grant, accept may still happen.
    pub still: Flags,
    /// Who commands it, rising.
    pub commanders: &'a [u64],
    /// How many regions follow.
    pub regions: u64,
}

/// A region.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// Guest-physical address of its first byte.
    pub place: u64,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes.
    pub attributes: Attributes,
    /// Whether others reach it.
    pub sharing: Sharing,
    /// Index of the domain from whose memory it was derived.
    pub origin: u64,
    /// Who else reaches it, rising; none unless shared.
    pub peers: &'a [Peer],
}

/// Writes a composition; see [`Writer::begin`].
#[derive(Debug)]
pub struct Writer<S>(Encoder<S>);

impl<S: Sink> Writer<S> {
    /// Begins a composition of `domains` domains. Each follows, in the order of their indices from 0: [`Writer::opaque`], or
    /// [`Writer::domain`], a [`Writer::region`] for each region, and [`Writer::devices`].
    ///
    /// # Errors
    /// [`Full`].
    pub fn begin(sink: S, domains: u64) -> Result<Self, Full> {
        let mut encoder = Encoder(sink);
        encoder.map(1)?;
        encoder.integer(SUBMODS)?;
        encoder.map(domains)?;
        Ok(Self(encoder))
    }

    /// Domain 0.
    ///
    /// # Errors
    /// [`Full`].
    pub fn opaque(&mut self, index: u64) -> Result<(), Full> {
        self.name(index)?;
        self.0.map(1)?;
        self.0.integer(DOMAIN)?;
        self.0.map(1)?;
        self.0.integer(key::KIND)?;
        self.0.unsigned(kind::OPAQUE)
    }

    /// A domain, up to its regions.
    ///
    /// # Errors
    /// [`Full`].
    pub fn domain(&mut self, index: u64, facts: &Facts<'_>) -> Result<(), Full> {
        self.name(index)?;
        self.0.map(2)?;
        self.0.integer(DEBUG_STATE)?;
        self.0.unsigned(debug_state(facts.flags))?;
        self.0.integer(DOMAIN)?;
        let sealed = facts.measurement.is_some();
        self.0.map(10 + u64::from(sealed))?;
        let kind = if sealed { kind::SEALED } else { kind::BUILDING };
        self.number(key::KIND, kind)?;
        if let Some(measurement) = &facts.measurement {
            self.0.integer(key::MEASUREMENT)?;
            self.0.bytes(measurement)?;
        }
        self.number(key::FLAGS, facts.flags.word())?;
        self.number(key::EXCEPTIONS, facts.exceptions.into())?;
        self.number(key::VCPUS, facts.vcpus)?;
        self.0.integer(key::CORES)?;
        self.0.array(facts.cores.len() as u64)?;
        facts.cores.iter().try_for_each(|range| self.pair(*range))?;
        self.number(key::EPOCH, facts.epoch)?;
        self.number(key::STILL, facts.still.word())?;
        self.0.integer(key::COMMANDERS)?;
        self.0.array(facts.commanders.len() as u64)?;
        let mut commanders = facts.commanders.iter();
        commanders.try_for_each(|index| self.0.unsigned(*index))?;
        self.0.integer(key::REGIONS)?;
        self.0.array(facts.regions)
    }

    /// The next region of the domain, by rising place.
    ///
    /// # Errors
    /// [`Full`].
    pub fn region(&mut self, region: &Extent<'_>) -> Result<(), Full> {
        self.0.array(6)?;
        self.0.unsigned(region.place)?;
        self.0.unsigned(region.size)?;
        self.0.unsigned(region.attributes.word())?;
        self.0.unsigned(region.sharing as u64)?;
        self.0.unsigned(region.origin)?;
        self.0.array(region.peers.len() as u64)?;
        let mut peers = region.peers.iter();
        peers.try_for_each(|peer| self.pair([peer.domain, peer.rights.word()]))
    }

    /// The devices of the domain, which end it; rising.
    ///
    /// # Errors
    /// [`Full`].
    pub fn devices(&mut self, devices: &[Device]) -> Result<(), Full> {
        self.0.integer(key::DEVICES)?;
        self.0.array(devices.len() as u64)?;
        for device in devices {
            self.0.array(3)?;
            self.0.unsigned(device.vendor.into())?;
            self.0.unsigned(device.device.into())?;
            self.0.unsigned(device.class.into())?;
        }
        Ok(())
    }

    fn number(&mut self, key: i64, value: u64) -> Result<(), Full> {
        self.0.integer(key)?;
        self.0.unsigned(value)
    }

    fn pair(&mut self, [first, second]: [u64; 2]) -> Result<(), Full> {
        self.0.array(2)?;
        self.0.unsigned(first)?;
        self.0.unsigned(second)
    }

    /// The index as a decimal number.
    fn name(&mut self, index: u64) -> Result<(), Full> {
        let mut digits = [0; 20];
        let text = decimal(index, &mut digits);
        self.0.text(text)
    }
}

fn debug_state(flags: Flags) -> u64 {
    if flags.contains(Flags::DEBUG) {
        DEBUG_ENABLED
    } else {
        DEBUG_DISABLED
    }
}

fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &str {
    let mut first = digits.len();
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        first = place;
        if value == 0 {
            break;
        }
    }
    let used = digits.get(first..).unwrap_or_default();
    core::str::from_utf8(used).unwrap_or_default()
}
