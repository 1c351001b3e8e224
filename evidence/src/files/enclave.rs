//! The enclave that a policy is about, as TOML.

use alloc::vec::Vec;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{Bytes, Digest, FileError, digests};
use crate::enclave::{Separation, attribute};
use crate::policy::{EnclaveRule, Signed};

/// Names of the SDM's, in small letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct EnclaveEntry {
    mrenclave: Option<Vec<Digest>>,
    mrsigner: Option<Vec<Digest>>,
    isvprodid: Option<u16>,
    isvsvn: Option<u16>,
    #[serde(default = "mode64bit")]
    attributes: Vec<Attribute>,
    #[serde(default)]
    may: Vec<Attribute>,
    #[serde(default)]
    debug: bool,
    #[serde(default = "legacy")]
    xfrm: u64,
    #[serde(default)]
    xfrm_may: u64,
    #[serde(default)]
    miscselect: u32,
    configid: Option<Bytes<64>>,
    configsvn: Option<u16>,
    isvfamilyid: Option<Bytes<16>>,
    isvextprodid: Option<Bytes<16>>,
}

fn mode64bit() -> Vec<Attribute> {
    Vec::from([Attribute(attribute::MODE64BIT)])
}

/// x87 and SSE, which every enclave has.
fn legacy() -> u64 {
    3
}

/// A flag by its name.
struct Attribute(u64);

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = alloc::string::String::deserialize(deserializer)?;
        let mut names = attribute::NAMES.iter();
        let found = names.find(|(_, name)| *name == text);
        found.map(|(flag, _)| Self(*flag)).ok_or_else(|| {
            D::Error::custom(
                "an attribute is mode64bit, provisionkey, einittoken-key, kss or aexnotify",
            )
        })
    }
}

fn flags(attributes: &[Attribute]) -> u64 {
    attributes.iter().fold(0, |flags, flag| flags | flag.0)
}

impl EnclaveEntry {
    /// What it says.
    pub(super) fn rule(self) -> Result<EnclaveRule, FileError> {
        let wrong = |reason| FileError::Values("enclave".into(), reason);
        let signed = match (self.mrsigner, self.isvprodid, self.isvsvn) {
            (None, None, _) => None,
            (Some(signers), Some(product), Some(_)) => Some(Signed {
                signers: digests(signers),
                product,
            }),
            (None, Some(_), _) => return Err(wrong("isvprodid says nothing without mrsigner")),
            (Some(_), ..) => return Err(wrong("mrsigner needs isvprodid and isvsvn")),
        };
        let measurements = self.mrenclave.map(digests);
        let [family, product] =
            [self.isvfamilyid, self.isvextprodid].map(|id| id.map_or([0; 16], |id| id.0));
        Ok(EnclaveRule {
            measurements,
            signed,
            version: self.isvsvn.unwrap_or(0),
            flags: flags(&self.attributes),
            may: flags(&self.may),
            debug: self.debug,
            xfrm: self.xfrm,
            xfrm_may: self.xfrm_may,
            miscselect: self.miscselect,
            separation: Separation {
                configuration: self.configid.map_or([0; 64], |id| id.0),
                configuration_version: self.configsvn.unwrap_or(0),
                family,
                product,
            },
        })
    }
}
