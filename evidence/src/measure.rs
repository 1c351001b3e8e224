//! The measurement of a domain, made from what it was built of (`docs/attestation.md`, section 2).
//!
//! What must hold: the same bytes as the monitor hashes when it seals the domain.

use adyton_abi::policy::Policy;
use adyton_abi::region::Attributes;
use sha2::{Digest, Sha256};

use crate::Hash;

const MAGIC: u64 = u64::from_le_bytes(*b"ADYTONMS");
const VERSION: u64 = 1;

/// State in which a vCPU starts.
#[derive(Clone, Copy, Debug)]
pub struct Vcpu {
    /// Instruction pointer.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Guest-physical address of the root page table.
    pub cr3: u64,
    /// RDI.
    pub argument: u64,
}

/// A region at seal.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    /// Guest-physical address of its first byte.
    pub place: u64,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes as they were asked for.
    pub attributes: Attributes,
    /// Whether it was shared, not carved.
    pub shared: bool,
    /// Of a device's registers its kind: vendor, device << 16, class << 32; of memory 0.
    pub device: u64,
    /// What it holds, where it is measured: zeros follow up to its size.
    pub contents: &'a [u8],
}

/// The measurement of a domain with these parts; `regions` by rising place.
#[must_use]
pub fn measure(policy: Policy, vcpus: &[Vcpu], regions: &[Region<'_>]) -> Hash {
    let mut stream = Sha256::new();
    let counts = [vcpus.len() as u64, regions.len() as u64];
    let [flags, exceptions] = [policy.flags.word(), policy.exceptions.into()];
    record(
        &mut stream,
        [0, VERSION, flags, exceptions, counts[0], counts[1], 0],
    );
    for (vcpu, index) in vcpus.iter().zip(0..) {
        let Vcpu {
            rip,
            rsp,
            cr3,
            argument,
        } = *vcpu;
        record(&mut stream, [1, index, rip, rsp, cr3, argument, 0]);
    }
    for region in regions {
        add(&mut stream, policy, region);
    }
    stream.finalize().into()
}

fn add(stream: &mut Sha256, policy: Policy, region: &Region<'_>) {
    let confidential = policy
        .flags
        .contains(adyton_abi::policy::Flags::CONFIDENTIAL);
    let forced = if confidential && !region.shared {
        Attributes::CLEAN
    } else {
        Attributes::NONE
    };
    let attributes = (region.attributes | forced).without(Attributes::NOBODY);
    let measured = attributes.contains(Attributes::MEASURED);
    let [shared, measured_word] = [region.shared.into(), measured.into()];
    record(
        stream,
        [
            2,
            region.place,
            region.size,
            attributes.word(),
            shared,
            measured_word,
            region.device,
        ],
    );
    if measured {
        stream.update(region.contents);
        zeros(
            stream,
            region.size.saturating_sub(region.contents.len() as u64),
        );
    }
}

fn zeros(stream: &mut Sha256, mut count: u64) {
    const ZEROS: [u8; 4096] = [0; 4096];
    while count > 0 {
        let now = count.min(ZEROS.len() as u64);
        stream.update(ZEROS.get(..now as usize).unwrap_or_default());
        count -= now;
    }
}

fn record(stream: &mut Sha256, words: [u64; 7]) {
    stream.update(MAGIC.to_le_bytes());
    for word in words {
        stream.update(word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adyton_abi::policy::Flags;
    use adyton_capability::measure as engine;
    use adyton_capability::node::Entry;

    /// The stream as the engine makes it, record by record.
    #[test]
    fn the_engine_hashes_the_same_bytes() {
        let policy = Policy {
            flags: Flags::CONFIDENTIAL | Flags::MAY_ATTEST,
            exceptions: 0x101,
        };
        let private = Attributes::READ | Attributes::WRITE | Attributes::MEASURED;
        let window = Attributes::READ | Attributes::WRITE;
        let mut stream = Sha256::new();
        stream.update(engine::header(policy, 1, 2));
        let entry = Entry {
            rip: 1,
            rsp: 2,
            cr3: 3,
            argument: 4,
        };
        stream.update(engine::vcpu(0, entry));
        stream.update(engine::region(
            0x1000,
            0x3000,
            private | Attributes::CLEAN,
            true,
        ));
        stream.update([7; 10]);
        stream.update([0; 0x3000 - 10]);
        stream.update(engine::region(0x8000, 0x1000, window, false));
        let vcpu = Vcpu {
            rip: 1,
            rsp: 2,
            cr3: 3,
            argument: 4,
        };
        let regions = [
            Region {
                place: 0x1000,
                size: 0x3000,
                attributes: private,
                shared: false,
                device: 0,
                contents: &[7; 10],
            },
            Region {
                place: 0x8000,
                size: 0x1000,
                attributes: window,
                shared: true,
                device: 0,
                contents: &[],
            },
        ];
        let expected: Hash = stream.finalize().into();
        assert_eq!(measure(policy, &[vcpu], &regions), expected);
        let other = Vcpu { rip: 9, ..vcpu };
        assert_ne!(measure(policy, &[other], &regions), expected);
    }
}
