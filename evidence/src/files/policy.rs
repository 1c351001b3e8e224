//! A policy as TOML: `docs/policy.md` shows one.

use alloc::string::String;
use alloc::vec::Vec;

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::enclave::EnclaveEntry;
use super::{Digest, FileError, digests, version};
use crate::policy::{EdgeRule, End, Policy, Rule, SignerRule};

/// How policies name domain 0.
const ZERO: &str = "domain-0";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u64,
    name: String,
    #[serde(default)]
    subject: Option<String>,
    #[serde(default)]
    unmeasured: bool,
    #[serde(default)]
    without_iommu: bool,
    #[serde(default)]
    domain_0: DomainZero,
    security_version: u64,
    #[serde(default)]
    fetched_by_owner: bool,
    #[serde(default = "one")]
    depth: u64,
    #[serde(default)]
    domain: Vec<DomainEntry>,
    #[serde(default)]
    memory: Vec<MemoryEntry>,
    #[serde(default)]
    command: Vec<DirectedEntry>,
    #[serde(default)]
    derivation: Vec<DirectedEntry>,
    #[serde(default)]
    device: Vec<DeviceEntry>,
    #[serde(default)]
    enclave: Option<EnclaveEntry>,
}

impl File {
    /// Whether it speaks of domains.
    fn has_domains(&self) -> bool {
        let edges = [self.command.len(), self.derivation.len()];
        let others = [self.domain.len(), self.memory.len(), self.device.len()];
        let entries = edges.into_iter().chain(others).sum::<usize>();
        self.subject.is_some() || entries > 0
    }
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

/// What domain 0 may be.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum DomainZero {
    Any,
    #[default]
    Reference,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Confidential,
    Sandbox,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Ability {
    Create,
    Carve,
    Share,
    Grant,
    Accept,
    Attest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DomainEntry {
    name: String,
    #[serde(default)]
    measurement: Vec<Digest>,
    signer: Option<Vec<Digest>>,
    product: Option<u64>,
    version: Option<u64>,
    #[serde(default)]
    kind: Kind,
    #[serde(default)]
    debug: bool,
    #[serde(default)]
    may: Vec<Ability>,
    #[serde(default)]
    still: Vec<Ability>,
    #[serde(default)]
    changed: bool,
    #[serde(default)]
    open: bool,
    #[serde(default = "one")]
    vcpus: u64,
    #[serde(default)]
    whole_cores: [u64; 2],
    #[serde(default = "yes")]
    shared_cores: bool,
    #[serde(default = "one")]
    least: u64,
    #[serde(default = "one")]
    most: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemoryEntry {
    between: [String; 2],
    rights: [Rights; 2],
    most: Size,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectedEntry {
    from: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceEntry {
    device: DeviceName,
    domain: String,
}

/// `rw-`
struct Rights(Attributes);

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = [Attributes::READ, Attributes::WRITE, Attributes::EXECUTE];
        let mut rights = Attributes::NONE;
        let mut right = text.len() == 3;
        for ((found, letter), bit) in text.chars().zip("rwx".chars()).zip(bits) {
            if found == letter {
                rights = rights | bit;
            } else {
                right &= found == '-';
            }
        }
        if right {
            Ok(Self(rights))
        } else {
            Err(D::Error::custom(
                "rights are written as rwx, with - for those that are missing",
            ))
        }
    }
}

/// `64K`
struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (number, shift) = match text.as_bytes().last() {
            Some(b'K') => (text.trim_end_matches('K'), 10),
            Some(b'M') => (text.trim_end_matches('M'), 20),
            Some(b'G') => (text.trim_end_matches('G'), 30),
            _ => (text.as_str(), 0),
        };
        let size = number.parse::<u64>().ok();
        size.and_then(|size| size.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| D::Error::custom("a size is a number, with K, M or G or without"))
    }
}

/// `1af4:1041`
struct DeviceName([u16; 2]);

impl<'de> Deserialize<'de> for DeviceName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |digits: &str| {
            let four = digits.len() == 4;
            four.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        text.split_once(':')
            .and_then(|(vendor, device)| Some(Self([number(vendor)?, number(device)?])))
            .ok_or_else(|| {
                D::Error::custom("a device is written as vendor:device, four digits each")
            })
    }
}

/// Reads a policy.
///
/// # Errors
/// [`FileError`].
pub fn read(text: &str) -> Result<Policy, FileError> {
    let file: File = toml::from_str(text)?;
    version(file.version)?;
    let names: Vec<_> = file
        .domain
        .iter()
        .map(|entry| entry.name.as_str())
        .collect();
    for (index, name) in names.iter().enumerate() {
        if *name == ZERO || names.iter().take(index).any(|earlier| earlier == name) {
            return Err(FileError::NameTaken((*name).into()));
        }
    }
    if file.enclave.is_some() && file.has_domains() {
        let reason = "a policy is about domains or about an enclave, not about both";
        return Err(FileError::Values("enclave".into(), reason));
    }
    // Without domains the name cannot be found; the verifier has a reason of its own for that.
    let subject = match &file.subject {
        Some(subject) if !names.is_empty() => find(&names, subject)?,
        None if file.enclave.is_none() => {
            let reason = "a policy names its subject, or has an [enclave]";
            return Err(FileError::Values("subject".into(), reason));
        }
        _ => 0,
    };
    Ok(Policy {
        subject,
        edges: edges(&file, &names)?,
        enclave: file.enclave.map(EnclaveEntry::rule).transpose()?,
        name: file.name,
        unmeasured: file.unmeasured,
        unprotected: file.without_iommu,
        any_domain_0: file.domain_0 == DomainZero::Any,
        security_version: file.security_version,
        owner: file.fetched_by_owner,
        most_depth: file.depth,
        domains: file
            .domain
            .into_iter()
            .map(rule)
            .collect::<Result<_, _>>()?,
    })
}

fn find(names: &[&str], wanted: &str) -> Result<usize, FileError> {
    let place = names.iter().position(|name| *name == wanted);
    place.ok_or_else(|| FileError::NoSuchName(wanted.into()))
}

fn end(names: &[&str], wanted: &str) -> Result<End, FileError> {
    if wanted == ZERO {
        Ok(End::Zero)
    } else {
        find(names, wanted).map(End::Rule)
    }
}

fn edges(file: &File, names: &[&str]) -> Result<Vec<EdgeRule>, FileError> {
    let mut edges = Vec::new();
    for entry in &file.memory {
        let [first, second] = &entry.between;
        edges.push(EdgeRule::Memory {
            ends: [end(names, first)?, end(names, second)?],
            rights: [entry.rights[0].0, entry.rights[1].0],
            most: entry.most.0,
        });
    }
    for entry in &file.command {
        let (from, to) = (end(names, &entry.from)?, find(names, &entry.to)?);
        edges.push(EdgeRule::Command { from, to });
    }
    for entry in &file.derivation {
        let (from, to) = (end(names, &entry.from)?, find(names, &entry.to)?);
        edges.push(EdgeRule::Derivation { from, to });
    }
    for entry in &file.device {
        edges.push(EdgeRule::Device {
            device: entry.device.0,
            domain: find(names, &entry.domain)?,
        });
    }
    Ok(edges)
}

fn rule(entry: DomainEntry) -> Result<Rule, FileError> {
    let signer = match (entry.signer, entry.product, entry.version) {
        (None, None, None) => None,
        (Some(keys), product, version) => Some(SignerRule {
            keys: digests(keys),
            product,
            version: version.unwrap_or_default(),
        }),
        (None, ..) => {
            let reason = "product and version say nothing without signer";
            return Err(FileError::Values(entry.name, reason));
        }
    };
    Ok(Rule {
        name: entry.name,
        measurements: digests(entry.measurement),
        signer,
        sandbox: entry.kind == Kind::Sandbox,
        debug: entry.debug,
        may: flags(&entry.may),
        still: flags(&entry.still),
        changed: entry.changed,
        open: entry.open,
        most_vcpus: entry.vcpus,
        whole_cores: entry.whole_cores,
        shared_cores: entry.shared_cores,
        count: [entry.least, entry.most],
    })
}

fn flags(abilities: &[Ability]) -> Flags {
    let flag = |ability: &Ability| match ability {
        Ability::Create => Flags::MAY_CREATE,
        Ability::Carve => Flags::MAY_CARVE,
        Ability::Share => Flags::MAY_SHARE,
        Ability::Grant => Flags::MAY_GRANT,
        Ability::Accept => Flags::MAY_ACCEPT,
        Ability::Attest => Flags::MAY_ATTEST,
    };
    abilities
        .iter()
        .map(flag)
        .fold(Flags::NONE, core::ops::BitOr::bitor)
}
