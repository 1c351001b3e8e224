//! What exists in a pool: claims, the domains in them, their regions. Taken call by call, so it may be a moment
//! old at its edges; what vanished meanwhile is left out.

use adyton::abi::record::{DomainState, Sharing};
use adyton::listing::{self, Account, DomainRecord, RegionRecord, WholeCore};
use adyton::{Attributes, Claimed, Linux, Pool};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::show;

/// A claim with its domains.
pub struct Claim {
    /// The claim.
    pub claimed: Claimed,
    /// Domains created in it.
    pub domains: Vec<Domain>,
}

/// A domain with its own.
pub struct Domain {
    /// What it is.
    pub record: DomainRecord,
    /// What it holds.
    pub regions: Vec<RegionRecord>,
    /// Its measurement, when sealed.
    pub measurement: Option<[u8; 32]>,
    /// Its account.
    pub account: Option<Account>,
    /// Core ranges.
    pub cores: Vec<(u64, u64)>,
    /// Cores of its own.
    pub whole_cores: Vec<WholeCore>,
    /// Domains that it created.
    pub children: Vec<Domain>,
}

/// Nesting deeper than this is not followed.
const DEEPEST: u32 = 64;

/// Looks at everything in `pool`.
pub fn take(pool: &Pool) -> Result<Vec<Claim>, Failure> {
    let place = pool.environment();
    let look = |claimed: Claimed| {
        let address = claimed.record.address;
        let records = listing::domains(place, address).unwrap_or_default();
        let domains = records
            .into_iter()
            .map(|record| domain(place, address, record, 0));
        Claim {
            domains: domains.collect(),
            claimed,
        }
    };
    Ok(pool.claims()?.into_iter().map(look).collect())
}

fn domain(place: &Linux, address: u64, record: DomainRecord, depth: u32) -> Domain {
    let id = record.id;
    let below = if depth < DEEPEST {
        listing::children(place, address, id)
    } else {
        Ok(Vec::new())
    };
    let children = below.unwrap_or_default().into_iter();
    Domain {
        regions: listing::regions(place, address, id).unwrap_or_default(),
        measurement: listing::measurement(place, address, id).unwrap_or_default(),
        account: listing::account(place, address, id).unwrap_or_default(),
        cores: listing::cores(place, address, id).unwrap_or_default(),
        whole_cores: listing::whole_cores(place, address, id).unwrap_or_default(),
        children: children
            .map(|record| domain(place, address, record, depth + 1))
            .collect(),
        record,
    }
}

impl Domain {
    /// Bytes that nobody else reaches, bytes that others reach too, bytes of its own pool.
    pub fn memory(&self) -> (u64, u64, u64) {
        let sum = |wanted: &dyn Fn(&RegionRecord) -> bool| {
            self.regions
                .iter()
                .filter(|region| wanted(region))
                .map(|region| region.size)
                .sum()
        };
        let pool = |region: &RegionRecord| region.attributes.contains(Attributes::POOL);
        let shared = |region: &RegionRecord| region.sharing == Sharing::Shared as u64;
        (
            sum(&|region| !shared(region) && !pool(region)),
            sum(&|region| shared(region) && !pool(region)),
            sum(&pool),
        )
    }

    /// This domain and all below it.
    pub fn all(&self) -> Vec<&Domain> {
        let mut found = vec![self];
        found.extend(self.children.iter().flat_map(Domain::all));
        found
    }

    /// Whether it can be entered.
    pub fn is_sealed(&self) -> bool {
        self.record.state == DomainState::Sealed as u64
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (exclusive, shared, pool) = self.memory();
        json!({
            "id": show::id(self.record.id),
            "kind": show::kind(self.record.flags),
            "state": show::state(self.record.state),
            "may": show::abilities(self.record.flags),
            "vcpus": self.record.vcpus,
            "epoch": self.record.epoch,
            "measurement": self.measurement.as_ref().map(|digest| show::hexadecimal(digest)),
            "memory": { "exclusive": exclusive, "shared": shared, "pool": pool },
            "cores": self.cores,
            "whole_cores": self.whole_cores.iter().map(whole_core_json).collect::<Vec<_>>(),
            "quota": self.account.map(|account| json!({
                "limit": account.limit, "used": account.used, "passed": account.passed,
            })),
            "entries": self.account.map(|account| account.entries),
            "regions": self.regions.iter().map(region_json).collect::<Vec<_>>(),
            "children": self.children.iter().map(Domain::json).collect::<Vec<_>>(),
        })
    }
}

fn whole_core_json(core: &WholeCore) -> Value {
    json!({
        "region": core.region.0,
        "first": core.first,
        "threads": core.threads,
        "usable": core.usable,
    })
}

fn region_json(region: &RegionRecord) -> Value {
    json!({
        "region": region.region.0,
        "place": region.place,
        "size": region.size,
        "attributes": show::attributes(region.attributes),
        "sharing": show::sharing(region.sharing),
        "parent": region.parent.0,
    })
}

impl Claim {
    /// For programs.
    pub fn json(&self) -> Value {
        let claimed = &self.claimed;
        json!({
            "offset": claimed.offset,
            "size": claimed.record.size,
            "alive": claimed.alive,
            "owner": claimed.note.as_ref().map(|note| json!({
                "process": note.process, "name": note.name,
            })),
            "quota": { "limit": claimed.record.limit, "used": claimed.record.used },
            "domains": self.domains.iter().map(Domain::json).collect::<Vec<_>>(),
        })
    }

    /// Who says to own it.
    pub fn owner(&self) -> String {
        let note = self.claimed.note.as_ref();
        note.map_or("unknown".into(), |note| {
            format!("{} ({})", note.name, note.process)
        })
    }
}
