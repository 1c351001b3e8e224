//! The edges of a closure, from what its domains say (`docs/attestation.md`, section 5).
//!
//! What must hold: both sides of an edge agree, and every domain is joined to the subject. Evidence by a genuine monitor always
//! does; what does not was not understood, and is refused.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use adyton_abi::region::Attributes;

use crate::composition::{Composition, Device, Domain, Tenant};

/// Two domains, or a domain and a device, that have to do with each other; domains by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// Both reach the same bytes.
    Memory {
        /// Who, the lower index first.
        ends: [u64; 2],
        /// With what rights.
        rights: [Attributes; 2],
        /// How many bytes.
        size: u64,
    },
    /// The first may enter and end the second.
    Command {
        /// Who commands.
        from: u64,
        /// Whom.
        to: u64,
    },
    /// The first can take memory of the second back.
    Derivation {
        /// Who had it.
        from: u64,
        /// Who has it.
        to: u64,
        /// How many bytes.
        size: u64,
    },
    /// The device may write the domain's memory.
    Device {
        /// The device.
        device: Device,
        /// Whose it is.
        domain: u64,
    },
}

impl Edge {
    /// Whether the domain with this index is at one of its ends.
    #[must_use]
    pub fn touches(&self, index: u64) -> bool {
        match self {
            Self::Memory { ends, .. } => ends.contains(&index),
            Self::Command { from, to } | Self::Derivation { from, to, .. } => {
                *from == index || *to == index
            }
            Self::Device { domain, .. } => *domain == index,
        }
    }
}

/// Why a composition cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// No domain, or the subject is opaque, or there is more than one domain 0.
    Members,
    /// An edge leads to a domain that is not there.
    Nobody(u64),
    /// The first says that it has memory in common with the second, and the second does not, or with other rights.
    Denied(u64, u64),
    /// No edge joins it to the subject.
    Stranger(u64),
    /// No line of commanders leads from domain 0 to it.
    Commanderless(u64),
}

/// A closure.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    /// All edges: memory, command, derivation, device.
    pub edges: Vec<Edge>,
    /// Levels below domain 0, by index.
    pub depths: Vec<u64>,
}

/// What two domains say of memory that they have in common, each seen from the one with the lower index.
#[derive(Clone, Copy, Default)]
struct Common {
    /// Own rights of each, as it says itself.
    own: [Attributes; 2],
    /// Rights of each, as the other says.
    told: [Attributes; 2],
    size: [u64; 2],
}

/// Finds the edges.
///
/// # Errors
/// [`Contradiction`].
pub fn examine(composition: &Composition) -> Result<Closure, Contradiction> {
    let domains = &composition.domains;
    let opaque = domains.iter().filter(|domain| **domain == Domain::Opaque);
    if opaque.count() > 1 || !matches!(domains.first(), Some(Domain::Tenant(_))) {
        return Err(Contradiction::Members);
    }
    let mut edges = memory_edges(composition)?;
    let mut derivations = BTreeMap::<_, u64>::new();
    for (index, tenant) in composition.tenants() {
        for commander in &tenant.commanders {
            exists(composition, *commander)?;
            edges.push(Edge::Command {
                from: *commander,
                to: index,
            });
        }
        for region in &tenant.regions {
            exists(composition, region.origin)?;
            if region.origin != index {
                let size = derivations.entry((region.origin, index)).or_default();
                *size = size.saturating_add(region.size);
            }
        }
        let devices = tenant.devices.iter();
        edges.extend(devices.map(|device| Edge::Device {
            device: *device,
            domain: index,
        }));
    }
    let derived = derivations.into_iter();
    edges.extend(derived.map(|((from, to), size)| Edge::Derivation { from, to, size }));
    joined(composition, &edges)?;
    Ok(Closure {
        depths: depths(composition, &edges)?,
        edges,
    })
}

fn exists(composition: &Composition, index: u64) -> Result<(), Contradiction> {
    if index < composition.domains.len() as u64 {
        Ok(())
    } else {
        Err(Contradiction::Nobody(index))
    }
}

fn memory_edges(composition: &Composition) -> Result<Vec<Edge>, Contradiction> {
    let mut pairs = BTreeMap::<_, Common>::new();
    for (index, tenant) in composition.tenants() {
        collect(composition, index, tenant, &mut pairs)?;
    }
    let mut edges = Vec::new();
    for (ends, common) in pairs {
        let mut rights = common.own;
        for (side, [me, other]) in [(0, ends), (1, [ends[1], ends[0]])] {
            let [told, own] = [common.told[1 - side], common.own[1 - side]];
            match [me, other].map(|index| composition.tenant(index).is_some()) {
                [true, true] if told != own => return Err(Contradiction::Denied(me, other)),
                // Domain 0 says nothing of itself.
                [true, false] => rights[1 - side] = told,
                _ => {}
            }
        }
        let size = common.size[0].max(common.size[1]);
        edges.push(Edge::Memory { ends, rights, size });
    }
    Ok(edges)
}

fn collect(
    composition: &Composition,
    index: u64,
    tenant: &Tenant,
    pairs: &mut BTreeMap<[u64; 2], Common>,
) -> Result<(), Contradiction> {
    for region in &tenant.regions {
        for peer in &region.peers {
            exists(composition, peer.domain)?;
            if peer.domain == index {
                return Err(Contradiction::Denied(index, index));
            }
            let (ends, me) = if index < peer.domain {
                ([index, peer.domain], 0)
            } else {
                ([peer.domain, index], 1)
            };
            let common = pairs.entry(ends).or_default();
            let own = region.attributes.intersection(Attributes::RIGHTS);
            common.own[me] = common.own[me] | own;
            common.told[1 - me] = common.told[1 - me] | peer.rights;
            common.size[me] = common.size[me].saturating_add(region.size);
        }
    }
    Ok(())
}

/// Whom each domain has to do with; nothing is followed beyond domain 0.
fn joined(composition: &Composition, edges: &[Edge]) -> Result<(), Contradiction> {
    let mut neighbours = BTreeMap::<u64, Vec<u64>>::new();
    for edge in edges {
        let (Edge::Memory {
            ends: [from, to], ..
        }
        | Edge::Command { from, to }
        | Edge::Derivation { from, to, .. }) = *edge
        else {
            continue;
        };
        neighbours.entry(from).or_default().push(to);
        neighbours.entry(to).or_default().push(from);
    }
    let mut seen = BTreeSet::from([0]);
    let mut open = Vec::from([0]);
    while let Some(index) = open.pop() {
        if composition.tenant(index).is_some() {
            let around = neighbours.get(&index).into_iter().flatten();
            open.extend(around.filter(|other| seen.insert(**other)));
        }
    }
    let all = 0..composition.domains.len() as u64;
    let mut strangers = all.filter(|index| !seen.contains(index));
    strangers
        .next()
        .map_or(Ok(()), |index| Err(Contradiction::Stranger(index)))
}

fn depths(composition: &Composition, edges: &[Edge]) -> Result<Vec<u64>, Contradiction> {
    let mut commanded = BTreeMap::<u64, Vec<u64>>::new();
    for edge in edges {
        if let Edge::Command { from, to } = *edge {
            commanded.entry(from).or_default().push(to);
        }
    }
    let mut found = BTreeMap::new();
    let zero = (0_u64..).zip(&composition.domains);
    let mut level: Vec<u64> = zero
        .filter(|(_, domain)| **domain == Domain::Opaque)
        .map(|(index, _)| index)
        .collect();
    let mut depth = 0;
    while !level.is_empty() {
        let mut below = Vec::new();
        for index in level {
            if found.insert(index, depth).is_none() {
                below.extend(commanded.get(&index).into_iter().flatten());
            }
        }
        below.retain(|index| !found.contains_key(index));
        (level, depth) = (below, depth + 1);
    }
    (0..composition.domains.len() as u64)
        .map(|index| {
            let depth = found.get(&index).copied();
            depth.ok_or(Contradiction::Commanderless(index))
        })
        .collect()
}
