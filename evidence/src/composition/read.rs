//! Reading a composition. What each record says of itself is checked here; what records say of each other in
//! [`closure`](crate::closure).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use super::{
    Composition, DEBUG_DISABLED, DEBUG_ENABLED, Device, Domain, Peer, Region, Sharing, Signer,
    Tenant, debug_state, decimal, kind,
};
use crate::cbor::decode::{Decoder, Malformed};
use crate::claims::{
    DEBUG_STATE, DOMAIN, SIGNER, SUBMODS, domain as key, is_domain_information, is_information,
};

/// What a domain may still do is said in these bits.
const STILL: Flags = Flags::MAY_COMPOSE;

impl Composition {
    /// Reads the claims set.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Decoder::whole(bytes, |decoder| {
            let mut outer = decoder.map()?;
            match outer.number(decoder)? {
                Some(SUBMODS) => {}
                Some(key) => return Err(Malformed::UnknownKey(key)),
                None => return Err(Malformed::MissingKey(SUBMODS)),
            }
            let domains = read_domains(decoder)?;
            match outer.number(decoder)? {
                Some(key) => Err(Malformed::UnknownKey(key)),
                None => Ok(Self { domains }),
            }
        })
    }
}

fn read_domains(decoder: &mut Decoder<'_>) -> Result<Vec<Domain>, Malformed> {
    let mut map = decoder.map()?;
    let mut domains = Vec::new();
    while let Some(name) = map.name(decoder)? {
        let mut digits = [0; 20];
        if name != decimal(domains.len() as u64, &mut digits) {
            return Err(Malformed::Range);
        }
        domains.push(read_domain(decoder)?);
    }
    Ok(domains)
}

fn read_domain(decoder: &mut Decoder<'_>) -> Result<Domain, Malformed> {
    let mut claims = decoder.map()?;
    let (mut debug, mut domain, mut signer) = (None, None, None);
    while let Some(key) = claims.number(decoder)? {
        match key {
            DEBUG_STATE => debug = Some(decoder.unsigned()?),
            SIGNER => signer = Some(read_signer(decoder)?),
            DOMAIN => domain = Some(read_record(decoder)?),
            _ if is_information(key) => decoder.skip()?,
            _ => return Err(Malformed::UnknownKey(key)),
        }
    }
    let mut domain = domain.ok_or(Malformed::MissingKey(DOMAIN))?;
    match (&mut domain, signer) {
        (_, None) => {}
        (Domain::Tenant(tenant), Some(_)) if tenant.measurement.is_some() => tenant.signer = signer,
        _ => return Err(Malformed::Range),
    }
    let right = match (&domain, debug) {
        (Domain::Opaque, debug) => debug.is_none(),
        (Domain::Tenant(tenant), Some(DEBUG_ENABLED | DEBUG_DISABLED)) => {
            debug == Some(debug_state(tenant.flags))
        }
        _ => false,
    };
    if right {
        Ok(domain)
    } else {
        Err(Malformed::Range)
    }
}

/// What was read of a record.
#[derive(Default)]
struct Reading {
    kind: Option<u64>,
    measurement: Option<[u8; 32]>,
    flags: Option<Flags>,
    exceptions: Option<u32>,
    vcpus: Option<u64>,
    cores: Option<Vec<[u64; 2]>>,
    epoch: Option<u64>,
    still: Option<Flags>,
    commanders: Option<Vec<u64>>,
    regions: Option<Vec<Region>>,
    devices: Option<Vec<Device>>,
    whole_cores: Option<Vec<u64>>,
}

fn read_record(decoder: &mut Decoder<'_>) -> Result<Domain, Malformed> {
    let mut map = decoder.map()?;
    let mut reading = Reading::default();
    let mut only_kind = true;
    while let Some(key) = map.number(decoder)? {
        only_kind &= key == key::KIND || is_domain_information(key);
        reading.field(key, decoder)?;
    }
    match reading.kind {
        Some(kind::OPAQUE) if only_kind => Ok(Domain::Opaque),
        Some(kind::BUILDING | kind::SEALED) => reading.tenant().map(Domain::Tenant),
        Some(_) => Err(Malformed::Range),
        None => Err(Malformed::MissingKey(key::KIND)),
    }
}

impl Reading {
    fn field(&mut self, key: i64, decoder: &mut Decoder<'_>) -> Result<(), Malformed> {
        match key {
            key::KIND => self.kind = Some(decoder.unsigned()?),
            key::MEASUREMENT => self.measurement = Some(decoder.array_of_bytes()?),
            key::FLAGS => self.flags = Some(read_flags(decoder)?),
            key::EXCEPTIONS => self.exceptions = Some(narrow(decoder)?),
            key::VCPUS => self.vcpus = Some(decoder.unsigned()?),
            key::CORES => self.cores = Some(list(decoder, read_cores, follows)?),
            key::EPOCH => self.epoch = Some(decoder.unsigned()?),
            key::STILL => {
                let still = read_flags(decoder)?;
                if !STILL.contains(still) {
                    return Err(Malformed::Range);
                }
                self.still = Some(still);
            }
            key::COMMANDERS => {
                self.commanders = Some(list(decoder, Decoder::unsigned, |a, b| a < b)?);
            }
            key::REGIONS => {
                self.regions = Some(list(decoder, read_region, |a, b| {
                    a.place + a.size <= b.place
                })?);
            }
            key::DEVICES => self.devices = Some(list(decoder, read_device, |_, _| true)?),
            key::WHOLE_CORES => {
                self.whole_cores = Some(list(decoder, read_whole_core, |_, _| true)?);
            }
            _ if is_domain_information(key) => decoder.skip()?,
            _ => return Err(Malformed::UnknownKey(key)),
        }
        Ok(())
    }

    fn tenant(self) -> Result<Tenant, Malformed> {
        let sealed = self.kind == Some(kind::SEALED);
        if sealed != self.measurement.is_some() {
            return Err(Malformed::MissingKey(key::MEASUREMENT));
        }
        // None are said by silence alone.
        if self.whole_cores.as_ref().is_some_and(Vec::is_empty) {
            return Err(Malformed::NotDeterministic);
        }
        let missing = Malformed::MissingKey;
        Ok(Tenant {
            measurement: self.measurement,
            signer: None,
            flags: self.flags.ok_or(missing(key::FLAGS))?,
            exceptions: self.exceptions.ok_or(missing(key::EXCEPTIONS))?,
            vcpus: self.vcpus.ok_or(missing(key::VCPUS))?,
            cores: self.cores.ok_or(missing(key::CORES))?,
            epoch: self.epoch.ok_or(missing(key::EPOCH))?,
            still: self.still.ok_or(missing(key::STILL))?,
            commanders: self.commanders.ok_or(missing(key::COMMANDERS))?,
            regions: self.regions.ok_or(missing(key::REGIONS))?,
            devices: self.devices.ok_or(missing(key::DEVICES))?,
            whole_cores: self.whole_cores.unwrap_or_default(),
        })
    }
}

/// An array whose neighbours stand in order.
fn list<'a, T>(
    decoder: &mut Decoder<'a>,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, Malformed>,
    in_order: impl Fn(&T, &T) -> bool,
) -> Result<Vec<T>, Malformed> {
    let mut items = Vec::new();
    for _ in 0..decoder.array()? {
        let item = read(decoder)?;
        if items.last().is_some_and(|last| !in_order(last, &item)) {
            return Err(Malformed::NotDeterministic);
        }
        items.push(item);
    }
    Ok(items)
}

fn narrow<T: TryFrom<u64>>(decoder: &mut Decoder<'_>) -> Result<T, Malformed> {
    T::try_from(decoder.unsigned()?).map_err(|_| Malformed::Range)
}

fn read_flags(decoder: &mut Decoder<'_>) -> Result<Flags, Malformed> {
    Flags::from_word(decoder.unsigned()?).ok_or(Malformed::Range)
}

fn read_cores(decoder: &mut Decoder<'_>) -> Result<[u64; 2], Malformed> {
    decoder.array_of(2)?;
    let (first, count) = (decoder.unsigned()?, decoder.unsigned()?);
    match first.checked_add(count) {
        Some(end) if end > first => Ok([first, count]),
        _ => Err(Malformed::Range),
    }
}

fn read_whole_core(decoder: &mut Decoder<'_>) -> Result<u64, Malformed> {
    match decoder.unsigned()? {
        0 => Err(Malformed::Range),
        threads => Ok(threads),
    }
}

fn follows(before: &[u64; 2], after: &[u64; 2]) -> bool {
    let ([first, count], [next, _]) = (before, after);
    first + count <= *next
}

fn read_region(decoder: &mut Decoder<'_>) -> Result<Region, Malformed> {
    decoder.array_of(6)?;
    let (place, size) = (decoder.unsigned()?, decoder.unsigned()?);
    if place.checked_add(size).is_none_or(|end| end <= place) {
        return Err(Malformed::Range);
    }
    let attributes = Attributes::from_answer(decoder.unsigned()?)
        .filter(|attributes| !attributes.contains(Attributes::NOBODY))
        .ok_or(Malformed::Range)?;
    let sharing = match decoder.unsigned()? {
        0 => Sharing::Exclusive,
        1 => Sharing::Shared,
        2 => Sharing::Lent,
        3 => Sharing::Open,
        _ => return Err(Malformed::Range),
    };
    let origin = decoder.unsigned()?;
    let peers = list(decoder, read_peer, |_, _| true)?;
    let mut met = BTreeSet::new();
    let once = peers.iter().all(|peer| met.insert(peer.domain));
    // What nobody else reaches names nobody. What is shared may have lost its last peer.
    let alone = matches!(sharing, Sharing::Exclusive | Sharing::Lent);
    if !once || alone && !peers.is_empty() {
        return Err(Malformed::Range);
    }
    Ok(Region {
        place,
        size,
        attributes,
        sharing,
        origin,
        peers,
    })
}

fn read_peer(decoder: &mut Decoder<'_>) -> Result<Peer, Malformed> {
    decoder.array_of(2)?;
    let domain = decoder.unsigned()?;
    let rights = Attributes::from_word(decoder.unsigned()?)
        .filter(|rights| Attributes::RIGHTS.contains(*rights) && *rights != Attributes::NONE)
        .ok_or(Malformed::Range)?;
    Ok(Peer { domain, rights })
}

fn read_signer(decoder: &mut Decoder<'_>) -> Result<Signer, Malformed> {
    decoder.array_of(3)?;
    Ok(Signer {
        key: decoder.array_of_bytes()?,
        product: decoder.unsigned()?,
        version: decoder.unsigned()?,
    })
}

fn read_device(decoder: &mut Decoder<'_>) -> Result<Device, Malformed> {
    decoder.array_of(3)?;
    Ok(Device {
        vendor: narrow(decoder)?,
        device: narrow(decoder)?,
        class: narrow(decoder)?,
    })
}
