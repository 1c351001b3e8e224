//! PCI functions: giving one to a domain, and what its holder does with configuration space.

use adyton_abi::call::{Call, Information};
use adyton_abi::region::{Attributes, RegionName};

use crate::calls::{Name, once, patiently};
use crate::environment::{Environment, Refusal, Request};

/// Base addresses of a function.
pub const BASE_ADDRESSES: usize = 6;

/// What the caller gives away, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Assignment {
    /// Bus << 8 | device << 3 | function; only domain 0's callers are asked for it.
    pub function: u16,
    /// Virtual address at which the caller has mapped the function's first base address, or all its registers if it got it from another domain.
    pub address: u64,
    /// Guest-physical address of the registers in the domain.
    pub place: u64,
    /// READ, WRITE, and what else the region shall bear.
    pub attributes: Attributes,
}

/// Gives a function to a domain that is being composed: the region, and how many bytes the registers take.
///
/// # Errors
/// What the monitor refuses.
pub fn assign(
    place: &impl Environment,
    domain: Name,
    what: Assignment,
) -> Result<(RegionName, u64), Refusal> {
    let rest = [
        what.function.into(),
        what.address,
        what.place,
        what.attributes.word(),
        0,
    ];
    let request = Request::new(Call::Assign, domain.arguments(rest));
    patiently(place, request).map(|results| (RegionName(results[0]), results[1]))
}

/// Reads `width` bytes (1, 2 or 4) at `offset` of the configuration space of the function whose registers are at `address`.
///
/// # Errors
/// What the monitor refuses.
pub fn read(
    place: &impl Environment,
    address: u64,
    offset: u16,
    width: u8,
) -> Result<u32, Refusal> {
    let arguments = [address, offset.into(), width.into(), 0, 0];
    once(place, Request::new(Call::Configure, arguments)).map(|results| results[0] as u32)
}

/// Writes there.
///
/// # Errors
/// What the monitor refuses.
pub fn write(
    place: &impl Environment,
    address: u64,
    offset: u16,
    width: u8,
    value: u32,
) -> Result<(), Refusal> {
    let arguments = [address, offset.into(), width.into(), 1, value.into()];
    once(place, Request::new(Call::Configure, arguments)).map(drop)
}

/// What a device is, as it says itself, and what its registers take: all that a domain's measurement says of it but the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Class, 24 bits.
    pub class: u32,
    /// Bytes of registers in a domain.
    pub size: u64,
}

impl Kind {
    /// Vendor, device << 16, class << 32.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.vendor as u64 | (self.device as u64) << 16 | (self.class as u64) << 32
    }
}

/// Who has a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Domain 0.
    System,
    /// Nobody: it is on its way, or was quarantined.
    Nobody,
    /// The caller.
    Caller,
    /// Another domain, by its id.
    Other(u64),
}

/// What is known of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
    /// Class, 24 bits.
    pub class: u32,
    /// Who has it.
    pub holder: Holder,
    /// Bytes that its registers take in a domain.
    pub size: u64,
    /// Where what each base address decodes begins in them.
    pub offsets: [Option<u64>; BASE_ADDRESSES],
}

impl Facts {
    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        Kind {
            vendor: self.vendor,
            device: self.device,
            class: self.class,
            size: self.size,
        }
    }
}

/// What is known of a function: by its number in domain 0, by the guest-physical address of its registers elsewhere.
///
/// # Errors
/// What the monitor refuses.
pub fn facts(place: &impl Environment, subject: u64) -> Result<Facts, Refusal> {
    let request = Request::new(Call::Information, [Information::Device as u64, subject]);
    let [identity, holder, size, first, second, third, id, _] = once(place, request)?;
    let words = [first, second, third];
    let offsets = core::array::from_fn(|index| {
        let word = words.get(index / 2).copied().unwrap_or(0);
        let page = word >> (32 * (index % 2)) & 0xffff_ffff;
        page.checked_sub(1).map(|page| page * adyton_abi::PAGE_SIZE)
    });
    Ok(Facts {
        vendor: identity as u16,
        device: (identity >> 16) as u16,
        class: (identity >> 32) as u32,
        holder: match holder {
            0 => Holder::System,
            2 => Holder::Caller,
            3 => Holder::Other(id),
            _ => Holder::Nobody,
        },
        size,
        offsets,
    })
}
