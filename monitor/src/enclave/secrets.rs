//! Where the secrets of the enclaves' processor come from.
//!
//! They are made from one boot secret by a derivation for each use, so that a secret which outlives the boot changes this file alone.

use adyton_sgx::Secrets;
use sha2::{Digest, Sha256};

use crate::random;

/// Words of randomness: twice what is needed, for they cost nothing.
const WORDS: usize = 8;

/// Security versions of what the keys depend on. All components have the same: there is one, the monitor.
const CPUSVN: [u8; 16] = [1; 16];

/// The secrets for this boot; `None` without randomness.
pub(super) fn create() -> Option<Secrets> {
    let mut hash = Sha256::new_with_prefix(b"ADYTON-SGX-BOOT-SECRET-1");
    let mut is_random = false;
    for word in (0..WORDS).filter_map(|_| random::word()) {
        hash.update(word.to_le_bytes());
        is_random = true;
    }
    is_random.then(|| from_root(&hash.finalize().into()))
}

/// All of them from one.
fn from_root(root: &[u8; 32]) -> Secrets {
    let derive = |label: &[u8]| -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(b"ADYTON-SGX-SECRET-1");
        hash.update(root);
        hash.update(label);
        hash.finalize().into()
    };
    let half = |label| {
        let whole = derive(label);
        core::array::from_fn(|index| whole[index])
    };
    Secrets {
        root: half(b"root"),
        seal_fuses: half(b"seal fuses"),
        owner_epoch: [0; 16],
        cpusvn: CPUSVN,
        report_key_id: derive(b"report key id"),
        page_key: half(b"page key"),
    }
}
