//! The composition: what each domain of a closure is, has, and has in common with others (`docs/attestation.md`, section 4).
//!
//! Written domain by domain and region by region, so that the writer needs no more memory than the largest region's list of peers.

use crate::Hash;
use crate::cbor::encode::{Encoder, Full, Sink};
use crate::claims::{DEBUG_STATE, DOMAIN, SIGNER, SUBMODS, domain as key};
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

#[cfg(feature = "verify")]
mod model;
#[cfg(feature = "verify")]
mod read;

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

/// Who has signed a domain, as it has shown to the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signer {
    /// SHA-256 of the signer's public key.
    pub key: Hash,
    /// The signer's number for the product.
    pub product: u64,
    /// The version.
    pub version: u64,
}

/// Who reaches a region besides its domain, now or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Sharing {
    /// Nobody, by an unbroken line of carves.
    Exclusive = 0,
    /// The peers.
    Shared = 1,
    /// Nobody, and parts of it are carved away to domains below at present.
    Lent = 2,
    /// The peers, and whoever made it can share it with more, although he does not reach it himself.
    Open = 3,
}

/// What is told of a domain first.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// `None` before it is sealed.
    pub measurement: Option<Hash>,
    /// Policy flags.
    pub flags: Flags,
    /// Exceptions that go to the parent.
    pub exceptions: u32,
    /// vCPUs.
    pub vcpus: u64,
    /// How many ranges of cores follow.
    pub cores: u64,
    /// How many cores of its own are told of at the end.
    pub whole_cores: u64,
    /// Only of one that is sealed.
    pub signer: Option<Signer>,
}

/// What is told of a domain behind its cores.
#[derive(Clone, Copy, Debug)]
pub struct Holdings<'a> {
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
pub struct Extent {
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
    /// How many peers follow: who else reaches it. None unless shared.
    pub peers: u64,
}

/// Writes a composition; see [`Writer::begin`].
#[derive(Debug)]
pub struct Writer<S>(Encoder<S>);

impl<S: Sink> Writer<S> {
    /// Begins a composition of `domains` domains. Each follows, in the order of their indices from 0: [`Writer::opaque`], or
    /// [`Writer::domain`], its [`Writer::cores`], [`Writer::holdings`], a [`Writer::region`] with its [`Writer::peer`]s for each region, and
    /// [`Writer::devices`] with each [`Writer::device`], and where it has cores of its own [`Writer::whole_cores`] with each
    /// [`Writer::whole_core`].
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

    /// Goes on with one that was begun elsewhere.
    pub const fn resume(sink: S) -> Self {
        Self(Encoder(sink))
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

    /// A domain, up to its ranges of cores.
    ///
    /// # Errors
    /// [`Full`].
    pub fn domain(&mut self, index: u64, facts: &Facts) -> Result<(), Full> {
        self.name(index)?;
        self.0.map(2 + u64::from(facts.signer.is_some()))?;
        self.0.integer(DEBUG_STATE)?;
        self.0.unsigned(debug_state(facts.flags))?;
        if let Some(signer) = &facts.signer {
            self.0.integer(SIGNER)?;
            self.0.array(3)?;
            self.0.bytes(&signer.key)?;
            self.0.unsigned(signer.product)?;
            self.0.unsigned(signer.version)?;
        }
        self.0.integer(DOMAIN)?;
        let sealed = facts.measurement.is_some();
        self.0
            .map(10 + u64::from(sealed) + u64::from(facts.whole_cores > 0))?;
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
        self.0.array(facts.cores)
    }

    /// First and count of the next range of cores, rising.
    ///
    /// # Errors
    /// [`Full`].
    pub fn cores(&mut self, range: [u64; 2]) -> Result<(), Full> {
        self.pair(range)
    }

    /// What stands between a domain's cores and its regions.
    ///
    /// # Errors
    /// [`Full`].
    pub fn holdings(&mut self, holdings: &Holdings<'_>) -> Result<(), Full> {
        self.number(key::EPOCH, holdings.epoch)?;
        self.number(key::STILL, holdings.still.word())?;
        self.0.integer(key::COMMANDERS)?;
        self.0.array(holdings.commanders.len() as u64)?;
        let mut commanders = holdings.commanders.iter();
        commanders.try_for_each(|index| self.0.unsigned(*index))?;
        self.0.integer(key::REGIONS)?;
        self.0.array(holdings.regions)
    }

    /// The next region of the domain, by rising place, up to its peers.
    ///
    /// # Errors
    /// [`Full`].
    pub fn region(&mut self, region: &Extent) -> Result<(), Full> {
        self.0.array(6)?;
        self.0.unsigned(region.place)?;
        self.0.unsigned(region.size)?;
        self.0.unsigned(region.attributes.word())?;
        self.0.unsigned(region.sharing as u64)?;
        self.0.unsigned(region.origin)?;
        self.0.array(region.peers)
    }

    /// The next peer of the region; each once.
    ///
    /// # Errors
    /// [`Full`].
    pub fn peer(&mut self, peer: &Peer) -> Result<(), Full> {
        self.pair([peer.domain, peer.rights.word()])
    }

    /// How many devices the domain has; they end it, unless it has cores of its own.
    ///
    /// # Errors
    /// [`Full`].
    pub fn devices(&mut self, devices: u64) -> Result<(), Full> {
        self.0.integer(key::DEVICES)?;
        self.0.array(devices)
    }

    /// The next device, by rising place of its registers.
    ///
    /// # Errors
    /// [`Full`].
    pub fn device(&mut self, device: &Device) -> Result<(), Full> {
        self.0.array(3)?;
        self.0.unsigned(device.vendor.into())?;
        self.0.unsigned(device.device.into())?;
        self.0.unsigned(device.class.into())
    }

    /// How many cores of its own the domain has, if it has any; they end it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn whole_cores(&mut self, cores: u64) -> Result<(), Full> {
        self.0.integer(key::WHOLE_CORES)?;
        self.0.array(cores)
    }

    /// How many threads the next one has.
    ///
    /// # Errors
    /// [`Full`].
    pub fn whole_core(&mut self, threads: u64) -> Result<(), Full> {
        self.0.unsigned(threads)
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
