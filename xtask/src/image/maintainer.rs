//! The maintainer: whose monitors get a machine's platform secret.
//!
//! The key is P-256, in a PEM file as OpenSSL writes it (PKCS #8). For development one is made in the build directory.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use adyton_secrets::Hash;
use adyton_secrets::approval::Approval;
use adyton_secrets::hash;
use adyton_secrets::maintainer::{Imprint, MaintainerKey};
use adyton_secrets::policy::Policy;
use anyhow::{Context, Result, anyhow};
use clap::Args;
use p256::SecretKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};

use super::application::application;
use super::authenticode::authenticode_hash;
use crate::workspace::Workspace;

/// What firmware says in PCR 4 before it tries an option, and after one that gave up (PC Client Platform Firmware Profile, section
/// 10.4.5).
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
const RETURNING: &[u8] = b"Returning from EFI Application from Boot Option";
/// What separates what firmware does for itself from what it starts.
const SEPARATOR: &[u8] = &[0; 4];
/// Options without an application that firmware may try before the monitor's.
const MOST_VAIN: usize = 4;

/// Who signs a release, and which it is.
#[derive(Args)]
pub struct Signing {
    /// The key that signs the monitor: P-256, PKCS #8 in PEM. Only monitors of one maintainer share a machine's platform secret
    /// [default: one that is made in the build directory, for development]
    #[arg(long, value_name = "FILE")]
    maintainer: Option<PathBuf>,
    /// The number of this release: once it has run on a machine, those with smaller numbers get no secrets there
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub release: u64,
}

impl Default for Signing {
    fn default() -> Self {
        Self {
            maintainer: None,
            release: 1,
        }
    }
}

impl Signing {
    /// The maintainer.
    pub fn maintainer(&self, workspace: &Workspace) -> Result<Maintainer> {
        match &self.maintainer {
            Some(path) => Maintainer::read(path),
            None => Maintainer::of_development(workspace),
        }
    }
}

/// A maintainer's signing key.
pub struct Maintainer(SigningKey);

impl Maintainer {
    /// The one in this file.
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let key = SecretKey::from_pkcs8_pem(&text);
        let key = key.map_err(|error| anyhow!("{}: {error}", path.display()))?;
        Ok(Self(key.into()))
    }

    /// The one for development, which is made if there is none.
    pub fn of_development(workspace: &Workspace) -> Result<Self> {
        Self::read_or_make(&workspace.target("maintainer.pem"))
    }

    fn read_or_make(path: &Path) -> Result<Self> {
        if !path.exists() {
            let mut scalar = [0; 32];
            fs::File::open("/dev/urandom")?.read_exact(&mut scalar)?;
            let key = SecretKey::from_slice(&scalar)?;
            let text = key.to_pkcs8_pem(LineEnding::LF);
            let text = text.map_err(|error| anyhow!("the key cannot be written: {error}"))?;
            fs::create_dir_all(path.parent().context("no folder")?)?;
            // Complete at once, should two boots begin together.
            let staged = path.with_extension(std::process::id().to_string());
            fs::write(&staged, text.as_bytes())?;
            fs::hard_link(&staged, path).or_else(|error| match path.exists() {
                true => Ok(()),
                false => Err(error),
            })?;
            fs::remove_file(staged)?;
        }
        Self::read(path)
    }

    /// What is written into the image of a release.
    fn imprint(&self, release: u64) -> Result<Imprint> {
        let point = self.0.verifying_key().to_sec1_point(false);
        let key = point.as_bytes().get(1..).context("no point")?;
        Ok(Imprint {
            key: MaintainerKey(key.try_into()?),
            release,
        })
    }

    /// Makes the application of a release from the monitor's ELF file, and approves it.
    pub fn release(&self, elf: &[u8], release: u64) -> Result<Release> {
        let mut application = application(elf)?;
        let written = self.imprint(release)?.write(&mut application);
        written.map_err(|_| anyhow!("the monitor has no place for its maintainer's key"))?;
        let approvals = self.approvals(release, authenticode_hash(&application)?)?;
        Ok(Release {
            application,
            approvals,
        })
    }

    /// The approvals of a release whose application has this digest (as for Authenticode). Nothing may have been started before it: a
    /// boot loader that takes modules, as GRUB does, runs code that PCR 4 does not show.
    fn approvals(&self, release: u64, application: Hash) -> Result<String> {
        let mut text =
            String::from("# What the maintainer has signed: docs/attestation.md, section 8.\n");
        for vain in 0..=MOST_VAIN {
            let started = started(vain, application);
            let digest = Policy::of_release(release, started).to_sign();
            let signature: Signature = self.0.sign_prehash(&digest)?;
            let approval = Approval {
                release,
                started,
                signature: signature.to_bytes().into(),
            };
            text.push_str(&format!("{approval}\n"));
        }
        Ok(text)
    }
}

/// A release, as it is installed.
pub struct Release {
    /// The EFI application.
    pub application: Vec<u8>,
    /// What the maintainer has signed about it.
    pub approvals: String,
}

/// The value of PCR 4 when the monitor runs: firmware has tried `vain` options that had no application, then its own.
fn started(vain: usize, application: Hash) -> Hash {
    let mut events = vec![hash(&[CALLING]), hash(&[SEPARATOR])];
    for _ in 0..vain {
        events.extend([hash(&[RETURNING]), hash(&[CALLING])]);
    }
    events.push(application);
    let extend = |value: Hash, event: Hash| hash(&[&value, &event]);
    events.into_iter().fold(Hash::default(), extend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_counts() {
        let application = [7; 32];
        let all = [
            started(0, application),
            started(1, application),
            started(0, [8; 32]),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }

    #[test]
    fn a_key_is_made_once() {
        let path = std::env::temp_dir().join(format!("adyton-maintainer-{}", std::process::id()));
        let first = Maintainer::read_or_make(&path).unwrap().imprint(3).unwrap();
        let second = Maintainer::read_or_make(&path).unwrap().imprint(3).unwrap();
        fs::remove_file(path).unwrap();
        assert_eq!(first, second);
        assert!(first.key.is_present());
    }
}
