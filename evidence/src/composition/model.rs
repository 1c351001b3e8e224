//! A composition in memory, as the verifier looks at it.

use alloc::vec::Vec;

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use super::{Device, Extent, Facts, Holdings, Peer, Sharing, Signer, Writer};
use crate::Hash;
use crate::cbor::encode::{Full, Sink};

/// All domains of a closure, by index; the first is the subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Composition {
    /// The domains.
    pub domains: Vec<Domain>,
}

/// A member of a closure.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly all are tenants")]
pub enum Domain {
    /// Domain 0, of which nothing more is told.
    Opaque,
    /// Any other.
    Tenant(Tenant),
}

/// A domain that is not opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// `None` before it is sealed.
    pub measurement: Option<Hash>,
    /// Who has signed it, if it has shown that.
    pub signer: Option<Signer>,
    /// Policy flags.
    pub flags: Flags,
    /// Exceptions that go to the parent.
    pub exceptions: u32,
    /// vCPUs.
    pub vcpus: u64,
    /// First and count of each range of cores, rising.
    pub cores: Vec<[u64; 2]>,
    /// Regions accepted after seal.
    pub epoch: u64,
    /// Which of create, carve, share, grant, accept may still happen.
    pub still: Flags,
    /// Who commands it, rising.
    pub commanders: Vec<u64>,
    /// Its memory, by rising place.
    pub regions: Vec<Region>,
    /// Its devices, by rising place of their registers.
    pub devices: Vec<Device>,
    /// How many threads each core of its own has: it runs there without exits, and nobody else does but whom it enters itself.
    pub whole_cores: Vec<u64>,
}

/// A region; fields as in [`Extent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
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
    /// Who else reaches it.
    pub peers: Vec<Peer>,
}

impl Composition {
    /// Writes the claims set.
    ///
    /// # Errors
    /// [`Full`].
    pub fn encode(&self, sink: impl Sink) -> Result<(), Full> {
        let mut writer = Writer::begin(sink, self.domains.len() as u64)?;
        for (domain, index) in self.domains.iter().zip(0..) {
            match domain {
                Domain::Opaque => writer.opaque(index)?,
                Domain::Tenant(tenant) => tenant.encode(&mut writer, index)?,
            }
        }
        Ok(())
    }

    /// The domain with that index, unless it is opaque or missing.
    #[must_use]
    pub fn tenant(&self, index: u64) -> Option<&Tenant> {
        let domain = self.domains.get(usize::try_from(index).ok()?)?;
        match domain {
            Domain::Opaque => None,
            Domain::Tenant(tenant) => Some(tenant),
        }
    }

    /// The domains that are not opaque, with their indices.
    pub fn tenants(&self) -> impl Iterator<Item = (u64, &Tenant)> {
        (0..).zip(&self.domains).filter_map(|(index, domain)| {
            let Domain::Tenant(tenant) = domain else {
                return None;
            };
            Some((index, tenant))
        })
    }
}

impl Tenant {
    fn encode<S: Sink>(&self, writer: &mut Writer<S>, index: u64) -> Result<(), Full> {
        let facts = Facts {
            measurement: self.measurement,
            flags: self.flags,
            exceptions: self.exceptions,
            vcpus: self.vcpus,
            cores: self.cores.len() as u64,
            whole_cores: self.whole_cores.len() as u64,
            signer: self.signer,
        };
        writer.domain(index, &facts)?;
        let mut cores = self.cores.iter();
        cores.try_for_each(|range| writer.cores(*range))?;
        writer.holdings(&Holdings {
            epoch: self.epoch,
            still: self.still,
            commanders: &self.commanders,
            regions: self.regions.len() as u64,
        })?;
        for region in &self.regions {
            writer.region(&Extent {
                place: region.place,
                size: region.size,
                attributes: region.attributes,
                sharing: region.sharing,
                origin: region.origin,
                peers: region.peers.len() as u64,
            })?;
            let mut peers = region.peers.iter();
            peers.try_for_each(|peer| writer.peer(peer))?;
        }
        writer.devices(self.devices.len() as u64)?;
        let mut devices = self.devices.iter();
        devices.try_for_each(|device| writer.device(device))?;
        if self.whole_cores.is_empty() {
            return Ok(());
        }
        writer.whole_cores(self.whole_cores.len() as u64)?;
        let mut cores = self.whole_cores.iter();
        cores.try_for_each(|threads| writer.whole_core(*threads))
    }

    /// Whether nobody sees more of it than it gives away.
    #[must_use]
    pub fn is_confidential(&self) -> bool {
        self.flags.contains(Flags::CONFIDENTIAL) && !self.flags.contains(Flags::DEBUG)
    }
}
