//! What a player remembers of what its calls have made. It may be out of date: others play too.

use adyton_abi::enclave::REPORT_SIZE;

/// Memory in which a player may claim: ranges one behind another, and addresses that are wrong in an interesting way.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// Address of the first range.
    pub base: u64,
    /// How many ranges there are, at most [`RANGES`].
    pub ranges: u64,
    /// Bytes of each.
    pub size: u64,
    /// Pages that are no pool, not contiguous in physical memory: address, bytes.
    pub ordinary: (u64, u64),
    /// A contiguous range of small pages that is too long for one call: address, bytes.
    pub long: Option<(u64, u64)>,
    /// Memory of the player's own, not of the pool, where it asks questions and calls answer: address, bytes. A page for a report follows.
    pub answers: Option<(u64, u64)>,
    /// A REPORT that an enclave has made for the monitor.
    pub report: Option<&'static [u8; REPORT_SIZE]>,
    /// A PCI function, and where its registers are mapped.
    pub device: Option<(u64, u64)>,
    /// An address that nothing is mapped at, where a fault does no harm.
    pub unmapped: Option<u64>,
    /// Whether the player is a domain other than domain 0, which may exit.
    pub is_inside: bool,
}

/// Most ranges.
pub const RANGES: usize = 8;
const DOMAINS: usize = 16;
const REGIONS: usize = 48;
/// vCPUs of a domain whose sequence is remembered.
pub const VCPUS: usize = 2;

/// A domain that was made.
#[derive(Clone, Copy, Debug)]
pub struct Domain {
    /// The range that it lives in.
    pub range: usize,
    /// Address of its control page.
    pub control: u64,
    /// Whether it was sealed.
    pub is_sealed: bool,
    /// How many vCPUs it has.
    pub vcpus: u64,
    /// Sequence numbers of their last exits.
    pub sequences: [u64; VCPUS],
    /// Where the next thing may be placed.
    pub next_place: u64,
    /// The region of the core that is its alone.
    pub core: Option<u64>,
}

/// A region that was derived.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// The range whose claim derived it.
    pub range: usize,
    /// Its name.
    pub name: u64,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes.
    pub attributes: u64,
    /// Whether it belongs to nobody.
    pub is_nobodys: bool,
    /// Control page of the domain it was offered to, and the place.
    pub offer: Option<(u64, u64)>,
}

/// Everything that was made.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// The keys of the ranges that are claimed.
    pub keys: [Option<[u64; 2]>; RANGES],
    /// Domains.
    pub domains: [Option<Domain>; DOMAINS],
    /// Regions.
    pub regions: [Option<Region>; REGIONS],
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Nothing was made.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            keys: [None; RANGES],
            domains: [None; DOMAINS],
            regions: [None; REGIONS],
        }
    }

    /// The key of a range, or one that is wrong.
    #[must_use]
    pub fn key(&self, range: usize) -> [u64; 2] {
        self.keys.get(range).copied().flatten().unwrap_or([1, 2])
    }

    /// Forgets a range and all that was made in it.
    pub fn forget_range(&mut self, range: usize) {
        if let Some(key) = self.keys.get_mut(range) {
            *key = None;
        }
        forget(&mut self.domains, |domain| domain.range == range);
        forget(&mut self.regions, |region| region.range == range);
    }

    /// Forgets the domain with this control page.
    pub fn forget_domain(&mut self, control: u64) {
        forget(&mut self.domains, |domain| domain.control == control);
    }

    /// Forgets the region with this name.
    pub fn forget_region(&mut self, name: u64) {
        let domains = self.domains.iter_mut().flatten();
        let losing = domains.filter(|domain| domain.core == Some(name));
        losing.for_each(|domain| domain.core = None);
        forget(&mut self.regions, |region| region.name == name);
    }

    /// The domain with this control page.
    pub fn domain(&mut self, control: u64) -> Option<&mut Domain> {
        let domains = self.domains.iter_mut().flatten();
        domains.into_iter().find(|found| found.control == control)
    }

    /// The region with this name.
    pub fn region(&mut self, name: u64) -> Option<&mut Region> {
        let regions = self.regions.iter_mut().flatten();
        regions.into_iter().find(|region| region.name == name)
    }
}

/// Remembers one more; where there is no room, what `victim` says is forgotten.
pub fn remember<T>(places: &mut [Option<T>], victim: u64, new: T) {
    let free = places.iter().position(Option::is_none);
    let index = free.unwrap_or(victim as usize % places.len().max(1));
    if let Some(place) = places.get_mut(index) {
        *place = Some(new);
    }
}

fn forget<T>(places: &mut [Option<T>], matches: impl Fn(&T) -> bool) {
    for place in places {
        if place.as_ref().is_some_and(&matches) {
            *place = None;
        }
    }
}
