//! The monitor's signing key: Ed25519, new at each boot, in memory only.

use adyton_evidence::signing::Key;
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use crate::once::Once;
use crate::random;

/// Words from the CPU: twice what is needed, for they cost nothing.
const WORDS: usize = 8;

static KEY: Once<Key> = Once::new();

/// Of reports that this monitor alone checks.
static LOCAL: Once<[u8; 32]> = Once::new();

/// Makes the key, from randomness of the TPM's, where there is one, and of the CPU's: each suffices. `None`, and no key, if
/// there is neither.
pub fn create(from_tpm: Option<&[u8; 32]>) -> Option<[u8; 32]> {
    let mut hash = Sha256::new_with_prefix(b"ADYTON-SIGNING-KEY-1");
    let mut is_random = false;
    for word in (0..WORDS).filter_map(|_| random::word()) {
        hash.update(word.to_le_bytes());
        is_random = true;
    }
    if let Some(bytes) = from_tpm {
        hash.update(bytes);
        is_random = true;
    }
    is_random.then(|| {
        let seed = hash.finalize().into();
        let mut local = Sha256::new_with_prefix(b"ADYTON-LOCAL-KEY-1");
        local.update(seed);
        LOCAL.set(local.finalize().into());
        let key = SigningKey::from_bytes(&seed);
        KEY.set(Key::new(&key)).public()
    })
}

/// The key, if there is one: for signing evidence.
#[must_use]
pub fn signing() -> Option<&'static Key> {
    KEY.try_get()
}

/// The key of reports, if there is one.
#[must_use]
pub fn local() -> Option<&'static [u8; 32]> {
    LOCAL.try_get()
}

/// The public half, if there is a key.
#[must_use]
pub fn public() -> Option<[u8; 32]> {
    Some(KEY.try_get()?.public())
}
