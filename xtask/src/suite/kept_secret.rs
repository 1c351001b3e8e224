//! The platform secret of an emulated TPM, as nobody but the emulator sees it: to search memories for it.

use std::fs;
use std::path::Path;

use adyton_secrets::derivation::PlatformKey;
use adyton_secrets::index::handle;
use anyhow::{Context, Result, ensure};

use super::remains;

/// Where libtpms keeps what lies in its non-volatile storage.
const STATE: &str = "tpm2-00.permall";
/// TPMS_NV_PUBLIC with a policy: index, algorithm, attributes, policy, size.
const PUBLIC_SIZE: usize = 4 + 2 + 4 + 2 + 32 + 2;
/// What libtpms has between that and the contents, without a password; it ends with their size.
const BETWEEN: [u8; 9] = [0, 0, 1, 0, 0, 0, 0, 0, 32];

/// What a memory may hold of it.
pub struct KeptSecret {
    secret: Vec<u8>,
    key: Vec<u8>,
}

/// What was found in a memory, whole or in part.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// The secret.
    pub secret: bool,
    /// The key that is made of it.
    pub key: bool,
}

impl KeptSecret {
    /// Takes it from the state of an emulator that has ended.
    pub fn read(state: &Path) -> Result<Self> {
        let bytes = fs::read(state.join(STATE))?;
        let [first, second, third, fourth] = handle::SECRET.to_be_bytes();
        let public = [first, second, third, fourth, 0, 0xb];
        let place = memchr::memmem::find(&bytes, &public).context("the TPM has no secret")?;
        let rest = bytes.get(place + PUBLIC_SIZE..).unwrap_or_default();
        let contents = rest.strip_prefix(&BETWEEN);
        let secret = contents.and_then(|contents| contents.get(..32));
        let secret = secret.context("the TPM keeps the secret in another way")?;
        ensure!(secret.iter().any(|byte| *byte != 0), "there is no secret");
        let words = PlatformKey::new(secret).words();
        Ok(Self {
            secret: secret.to_vec(),
            key: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
        })
    }

    /// Searches a machine's memory, which is removed, for every word of both, also as SHA-256 reads them.
    pub fn search(&self, memory: &Path) -> Result<Found> {
        let [secret, key] = [&self.secret, &self.key].map(|bytes| {
            let (words, _) = bytes.as_chunks::<8>();
            let forms = words.iter().flat_map(|word| [word.to_vec(), swapped(word)]);
            forms.collect::<Vec<_>>()
        });
        let found = remains::find(memory, &[secret.as_slice(), &key].concat())?;
        let (of_secret, of_key) = found.split_at(secret.len());
        Ok(Found {
            secret: of_secret.contains(&true),
            key: of_key.contains(&true),
        })
    }
}

/// Big-endian numbers of 32 bits as the processor has them.
fn swapped(word: &[u8; 8]) -> Vec<u8> {
    let (halves, _) = word.as_chunks::<4>();
    let swapped = halves.iter().flat_map(|half| half.iter().rev());
    swapped.copied().collect()
}
