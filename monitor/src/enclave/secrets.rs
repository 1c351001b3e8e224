//! Where the secrets of the enclaves' processor come from.
//!
//! What seals must survive the boot comes from the platform's key, which only this monitor on this machine gets; without one (the boot is
//! not measured) from randomness of this boot, as everything else does. A derivation for each use keeps them apart.

use adyton_sgx::Secrets;
use sha2::{Digest, Sha256};

use crate::attestation::platform_key;
use crate::{iommu, random};

/// Words of randomness: twice what is needed, for they cost nothing.
const WORDS: usize = 8;

/// Security versions of what the keys depend on. All components have the same: there is one, the monitor.
const CPUSVN: [u8; 16] = [1; 16];

/// The secrets for this boot.
pub(super) fn create() -> Secrets {
    let mut hash = Sha256::new_with_prefix(b"ADYTON-SGX-BOOT-SECRET-1");
    for word in (0..WORDS).filter_map(|_| random::word()) {
        hash.update(word.to_le_bytes());
    }
    let of_boot: [u8; 32] = hash.finalize().into();
    let lasting = platform_key::with(|key| key.enclaves(iommu::is_active()));
    let lasting = lasting.unwrap_or(of_boot);
    Secrets {
        root: half(&derive(&lasting, b"root")),
        seal_fuses: half(&derive(&lasting, b"seal fuses")),
        owner_epoch: [0; 16],
        cpusvn: CPUSVN,
        report_key_id: derive(&of_boot, b"report key id"),
        page_key: half(&derive(&of_boot, b"page key")),
    }
}

fn derive(secret: &[u8; 32], label: &[u8]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(b"ADYTON-SGX-SECRET-1");
    hash.chain_update(secret)
        .chain_update(label)
        .finalize()
        .into()
}

fn half(whole: &[u8; 32]) -> [u8; 16] {
    core::array::from_fn(|index| whole[index])
}
