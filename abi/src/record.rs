//! Records of [`Call::Enumerate`](crate::call::Call::Enumerate).
//!
//! Results: 0 is the next cursor (0 when this was the last record or there is none), 1 is 1 if a
//! record follows in results 2 to 7, else 0.
//!
//! Only sizes, places within a claim, ids, states, sharing and measurements appear: never
//! host-physical addresses, never contents.

/// What to list: argument 1 of `enumerate`; argument 2 is the subject, argument 3 the cursor
/// (0 begins).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Topic {
    /// The caller's own pool regions (address unused, subject unused): guest-physical address,
    /// size, quota in pages.
    Pool = 0,
    /// Claims in the pool region that holds the address: distance of the claim's first page from
    /// the address (signed bytes), size, quota limit, quota used, domains.
    Claims = 1,
    /// Domains that were created in the claim that holds the address: id, distance of its control
    /// page from the address, state, policy flags, vCPUs, epoch.
    Domains = 2,
    /// Domains that the domain `subject` (which must lie in or descend from the claim that holds
    /// the address) created: id, 0, state, policy flags, vCPUs, epoch.
    Children = 3,
    /// Regions that the domain `subject` holds: region, place, size, attributes,
    /// [`Sharing`], region it derives from.
    Regions = 4,
    /// One record: the measurement of the domain `subject`, 32 bytes in four words, little endian;
    /// then 1 if it is sealed.
    Measurement = 5,
    /// One record: of the domain `subject`: quota limit, used, passed on, vCPUs, entries so far
    /// (low 32 bits) and epoch (high), exceptions mask.
    Account = 6,
    /// Regions of the claim that belong to nobody: region, distance from the address, size,
    /// attributes, [`Sharing`], 1 if closed.
    Unowned = 7,
    /// Offers to the calling domain: region, size, attributes, id of the offering domain.
    Offers = 8,
    /// Core ranges that the domain `subject` may run on: first, count.
    Cores = 9,
    /// Cores that the domain `subject` has as a whole: region, the number of its first thread, threads, 1 if the domain can run
    /// there now (it is neither on its way nor given on).
    WholeCores = 10,
}

impl Topic {
    /// The topic with the number `value`.
    #[must_use]
    pub const fn from_number(value: u64) -> Option<Self> {
        Some(match value {
            0 => Self::Pool,
            1 => Self::Claims,
            2 => Self::Domains,
            3 => Self::Children,
            4 => Self::Regions,
            5 => Self::Measurement,
            6 => Self::Account,
            7 => Self::Unowned,
            8 => Self::Offers,
            9 => Self::Cores,
            10 => Self::WholeCores,
            _ => return None,
        })
    }
}

/// State of a domain in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum DomainState {
    /// Its owner composes it.
    Building = 0,
    /// Being measured.
    Sealing = 1,
    /// Sealed: may be entered.
    Sealed = 2,
    /// Being destroyed.
    Dying = 3,
}

/// How many domains can reach a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Sharing {
    /// The holder alone, through an unbroken line of carves.
    Exclusive = 0,
    /// Also the domain it was derived from, or domains derived from it.
    Shared = 1,
    /// Carved away to a child at present, in part or whole, otherwise exclusive.
    Lent = 2,
}
