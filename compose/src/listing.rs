//! What exists: the records of `enumerate`, typed.

use alloc::vec::Vec;

use adyton_abi::call::Call;
use adyton_abi::policy::Flags;
use adyton_abi::record::Topic;
use adyton_abi::region::{Attributes, RegionName};

use crate::calls::once;
use crate::environment::{Environment, Refusal, Request};

/// A bound on the records of one listing, so that a monitor that never ends does not hang its caller.
const MOST: usize = 1 << 20;

/// Every record of `topic`, as bare words.
///
/// # Errors
/// What the monitor refuses.
pub fn records(
    place: &impl Environment,
    address: u64,
    topic: Topic,
    subject: u64,
) -> Result<Vec<[u64; 6]>, Refusal> {
    let mut found = Vec::new();
    let mut cursor = 0;
    while found.len() < MOST {
        let request = Request::new(Call::Enumerate, [address, topic as u64, subject, cursor]);
        let [next, present, record @ ..] = once(place, request)?;
        if present != 0 {
            found.push(record);
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    Ok(found)
}

/// A claim, as anybody sees it who has its first page mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimRecord {
    /// Virtual address of its first page.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Pages of monitor memory that it may use, and uses.
    pub limit: u64,
    /// Pages used.
    pub used: u64,
    /// Domains that were created in it.
    pub domains: u64,
}

/// A domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainRecord {
    /// Id.
    pub id: u64,
    /// Virtual address of its control page; the caller's own only for domains of the claim asked.
    pub control: u64,
    /// [`adyton_abi::record::DomainState`].
    pub state: u64,
    /// Policy.
    pub flags: Flags,
    /// vCPUs.
    pub vcpus: u64,
    /// How often it accepted something after seal.
    pub epoch: u64,
}

/// A region of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionRecord {
    /// Name.
    pub region: RegionName,
    /// Guest-physical address.
    pub place: u64,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes.
    pub attributes: Attributes,
    /// [`adyton_abi::record::Sharing`].
    pub sharing: u64,
    /// The region that it derives from.
    pub parent: RegionName,
}

/// An offer to the calling domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferRecord {
    /// Name.
    pub region: RegionName,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes.
    pub attributes: Attributes,
    /// Id of the offering domain.
    pub from: u64,
}

/// What a domain may use of monitor memory, and has used of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Pages it may use.
    pub limit: u64,
    /// Pages it uses itself.
    pub used: u64,
    /// Pages it passed on.
    pub passed: u64,
    /// Entries so far, low 32 bits.
    pub entries: u32,
}

/// A range of the caller's own pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolRecord {
    /// Guest-physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Pages of monitor memory.
    pub quota: u64,
}

/// The caller's own pool regions.
///
/// # Errors
/// What the monitor refuses.
pub fn pools(place: &impl Environment) -> Result<Vec<PoolRecord>, Refusal> {
    let records = records(place, 0, Topic::Pool, 0)?;
    let typed = |[base, size, quota, ..]: [u64; 6]| PoolRecord { base, size, quota };
    Ok(records.into_iter().map(typed).collect())
}

/// Claims in the pool region that holds `address`, as far as their first pages are mapped.
///
/// # Errors
/// What the monitor refuses.
pub fn claims(place: &impl Environment, address: u64) -> Result<Vec<ClaimRecord>, Refusal> {
    let records = records(place, address, Topic::Claims, 0)?;
    let typed = |[distance, size, limit, used, domains, _]: [u64; 6]| ClaimRecord {
        address: address.wrapping_add(distance),
        size,
        limit,
        used,
        domains,
    };
    Ok(records.into_iter().map(typed).collect())
}

/// Domains that were created in the claim that holds `address`.
///
/// # Errors
/// What the monitor refuses.
pub fn domains(place: &impl Environment, address: u64) -> Result<Vec<DomainRecord>, Refusal> {
    domain_records(place, address, Topic::Domains, 0)
}

/// Domains that the domain `parent`, which lives in the claim that holds `address` or descends from it, created.
///
/// # Errors
/// What the monitor refuses.
pub fn children(
    place: &impl Environment,
    address: u64,
    parent: u64,
) -> Result<Vec<DomainRecord>, Refusal> {
    domain_records(place, address, Topic::Children, parent)
}

fn domain_records(
    place: &impl Environment,
    address: u64,
    topic: Topic,
    subject: u64,
) -> Result<Vec<DomainRecord>, Refusal> {
    let typed = |[id, distance, state, flags, vcpus, epoch]: [u64; 6]| DomainRecord {
        id,
        control: address.wrapping_add(distance),
        state,
        flags: Flags::from_word(flags).unwrap_or_default(),
        vcpus,
        epoch,
    };
    Ok(records(place, address, topic, subject)?
        .into_iter()
        .map(typed)
        .collect())
}

/// Regions that the domain `subject` holds.
///
/// # Errors
/// What the monitor refuses.
pub fn regions(
    place: &impl Environment,
    address: u64,
    subject: u64,
) -> Result<Vec<RegionRecord>, Refusal> {
    let typed = |[region, at, size, attributes, sharing, parent]: [u64; 6]| RegionRecord {
        region: RegionName(region),
        place: at,
        size,
        attributes: Attributes::from_answer(attributes).unwrap_or_default(),
        sharing,
        parent: RegionName(parent),
    };
    Ok(records(place, address, Topic::Regions, subject)?
        .into_iter()
        .map(typed)
        .collect())
}

/// Offers to the calling domain.
///
/// # Errors
/// What the monitor refuses.
pub fn offers(place: &impl Environment) -> Result<Vec<OfferRecord>, Refusal> {
    let typed = |[region, size, attributes, from, ..]: [u64; 6]| OfferRecord {
        region: RegionName(region),
        size,
        attributes: Attributes::from_answer(attributes).unwrap_or_default(),
        from,
    };
    Ok(records(place, 0, Topic::Offers, 0)?
        .into_iter()
        .map(typed)
        .collect())
}

/// The measurement of the domain `subject`, once it is sealed.
///
/// # Errors
/// What the monitor refuses.
pub fn measurement(
    place: &impl Environment,
    address: u64,
    subject: u64,
) -> Result<Option<[u8; 32]>, Refusal> {
    let records = records(place, address, Topic::Measurement, subject)?;
    Ok(records
        .first()
        .filter(|record| record[4] == 1)
        .map(|record| {
            let mut digest = [0; 32];
            for (bytes, word) in digest.chunks_exact_mut(8).zip(record) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            digest
        }))
}

/// The account of the domain `subject`.
///
/// # Errors
/// What the monitor refuses.
pub fn account(
    place: &impl Environment,
    address: u64,
    subject: u64,
) -> Result<Option<Account>, Refusal> {
    let typed = |[limit, used, passed, _, entries, _]: [u64; 6]| Account {
        limit,
        used,
        passed,
        entries: entries as u32,
    };
    Ok(records(place, address, Topic::Account, subject)?
        .into_iter()
        .map(typed)
        .next())
}

/// A core that a domain has as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeCore {
    /// The region.
    pub region: RegionName,
    /// The number of its first thread.
    pub first: u64,
    /// How many threads it has.
    pub threads: u64,
    /// Whether the domain can run there now: it is neither on its way nor given on.
    pub usable: bool,
}

/// The cores that the domain `subject` has as a whole.
///
/// # Errors
/// What the monitor refuses.
pub fn whole_cores(
    place: &impl Environment,
    address: u64,
    subject: u64,
) -> Result<Vec<WholeCore>, Refusal> {
    let records = records(place, address, Topic::WholeCores, subject)?;
    let whole = |[region, first, threads, usable, ..]: [u64; 6]| WholeCore {
        region: RegionName(region),
        first,
        threads,
        usable: usable == 1,
    };
    Ok(records.into_iter().map(whole).collect())
}

/// Core ranges (first, count) that the domain `subject` may run on.
///
/// # Errors
/// What the monitor refuses.
pub fn cores(
    place: &impl Environment,
    address: u64,
    subject: u64,
) -> Result<Vec<(u64, u64)>, Refusal> {
    let records = records(place, address, Topic::Cores, subject)?;
    Ok(records
        .into_iter()
        .map(|[first, count, ..]| (first, count))
        .collect())
}
