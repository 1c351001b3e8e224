//! The measured stream: the bytes whose SHA-256 is a domain's measurement.
//!
//! The stream is a sequence of records of 64 bytes, each eight little-endian words, some followed by contents:
//!
//! | word | header | vCPU | region |
//! | --- | --- | --- | --- |
//! | 0 | [`MAGIC`] | [`MAGIC`] | [`MAGIC`] |
//! | 1 | 0 | 1 | 2 |
//! | 2 | [`VERSION`] | index | guest-physical place |
//! | 3 | policy flags | RIP | bytes |
//! | 4 | exceptions that go to the parent | RSP | rights and attributes |
//! | 5 | vCPUs | CR3 | 0 exclusive, 1 shared |
//! | 6 | regions | argument (RDI) | 1 if contents follow, else 0 |
//! | 7 | 0 | 0 | 0, of a device its kind |
//!
//! First the header, then the vCPUs by index, then the regions by place. A region with the attribute `MEASURED` is
//! followed by its bytes. `exclusive` means that an unbroken line of carves leads to the region. Every length is in a
//! record before it, so no two domains have the same stream. Host-physical addresses, cores and quota are not in it.

use adyton_abi::policy::Policy;
use adyton_abi::region::Attributes;

use crate::effect::RECORD_SIZE;
use crate::node::Entry;

/// The first word of every record: "ADYTONMS".
pub const MAGIC: u64 = u64::from_le_bytes(*b"ADYTONMS");

/// Version of the stream.
pub const VERSION: u64 = 1;

/// A record of the stream.
pub type Record = [u8; RECORD_SIZE];

/// The header.
#[must_use]
pub fn header(policy: Policy, vcpus: u32, regions: u32) -> Record {
    record([
        MAGIC,
        0,
        VERSION,
        policy.flags.word(),
        u64::from(policy.exceptions),
        u64::from(vcpus),
        u64::from(regions),
        0,
    ])
}

/// The record of one vCPU.
#[must_use]
pub fn vcpu(index: u64, entry: Entry) -> Record {
    record([
        MAGIC,
        1,
        index,
        entry.rip,
        entry.rsp,
        entry.cr3,
        entry.argument,
        0,
    ])
}

/// The record of one region. For a device the platform, which knows it, puts its kind into the last word: vendor, device << 16,
/// class << 32, as configuration space says.
#[must_use]
pub fn region(place: u64, size: u64, attributes: Attributes, exclusive: bool) -> Record {
    record([
        MAGIC,
        2,
        place,
        size,
        attributes.word(),
        u64::from(!exclusive),
        u64::from(attributes.contains(Attributes::MEASURED)),
        0,
    ])
}

fn record(words: [u64; 8]) -> Record {
    let mut bytes = [0; RECORD_SIZE];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_in_order_little_endian() {
        let attributes = Attributes::READ | Attributes::MEASURED;
        let bytes = region(0x1000, 0x2000, attributes, true);
        assert_eq!(&bytes[..8], b"ADYTONMS");
        assert_eq!(bytes[8..16], 2u64.to_le_bytes());
        assert_eq!(bytes[16..24], 0x1000u64.to_le_bytes());
        assert_eq!(bytes[24..32], 0x2000u64.to_le_bytes());
        assert_eq!(bytes[32..40], 17u64.to_le_bytes());
        assert_eq!(bytes[40..48], 0u64.to_le_bytes());
        assert_eq!(bytes[48..56], 1u64.to_le_bytes());
    }
}
