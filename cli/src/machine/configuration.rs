//! `/etc/adyton.toml`: what an operator decides. What is not understood is an error.

use serde::{Deserialize, Deserializer, de};

use super::System;
use crate::failure::Failure;
use crate::show::parse_size;

/// Where it lies.
pub const PATH: &str = "/etc/adyton.toml";

/// All of it; every key may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Configuration {
    /// For the monitor.
    pub monitor: Monitor,
    /// For the system on it.
    pub linux: Linux,
    /// Who gets a pool device of his own.
    #[serde(rename = "tenant")]
    pub tenants: Vec<Tenant>,
}

/// `[monitor]`: words on the monitor's command line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Monitor {
    /// Bytes for domains.
    pub pool: Option<Size>,
    /// Bytes for the monitor's own tables.
    pub reserve: Option<Size>,
    /// Bytes for SGX enclaves; without it there is no SGX.
    pub epc: Option<Size>,
    /// Milliseconds that a core may take to answer.
    pub patience: Option<u64>,
    /// Whether it tells what it does while it boots.
    pub log: Option<Log>,
    /// Whether domains may be confidential where no IOMMU keeps devices out.
    pub without_iommu: Option<Consent>,
}

/// `[linux]`: how domain 0 starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Linux {
    /// In place of GRUB's command line.
    pub command_line: Option<String>,
    /// Cores that Linux takes offline, for domains to have.
    pub offline_cores: Vec<u32>,
}

/// `[[tenant]]`: a device of the pool, and who may open it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Bytes.
    pub size: Size,
    /// The device's owner.
    pub user: Option<String>,
    /// The device's group.
    pub group: Option<String>,
}

/// A number of bytes: `4096`, `"64M"`, `"4G"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        let size = match Written::deserialize(deserializer)? {
            Written::Number(number) => Some(number),
            Written::Text(text) => parse_size(&text),
        };
        let size = size.filter(|&size| size > 0).map(Self);
        size.ok_or_else(|| de::Error::custom("not a size: write bytes, or \"64M\", \"4G\""))
    }
}

/// Where the monitor's log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Log {
    /// To the console, until domain 0 starts.
    Console,
    /// Only into memory.
    Memory,
}

/// An operator's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// Yes.
    Allow,
    /// No.
    Refuse,
}

impl Configuration {
    /// Reads a system's; without a file, what holds where nothing is said.
    ///
    /// # Errors
    /// If something in it is not understood, or cannot be meant.
    pub fn read(system: &System) -> Result<Self, Failure> {
        let path = system.path(PATH);
        let Some(text) = system.text(PATH) else {
            return match path.exists() {
                true => Err(Failure::unusable(&path, "it cannot be read")),
                false => Ok(Self::default()),
            };
        };
        Self::parse(&text).map_err(|reason| Failure::unusable(&path, reason))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let configuration: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let nameless = |tenant: &Tenant| tenant.user.is_none() && tenant.group.is_none();
        if configuration.tenants.iter().any(nameless) {
            return Err("a tenant needs a user or a group".to_owned());
        }
        let names = configuration
            .tenants
            .iter()
            .flat_map(|tenant| tenant.user.iter().chain(&tenant.group));
        if let Some(name) = names.into_iter().find(|name| !is_name(name)) {
            return Err(format!("{name:?} is no name of a user or a group"));
        }
        if configuration.linux.offline_cores.contains(&0) {
            return Err("core 0 cannot be taken offline".to_owned());
        }
        let line = configuration.linux.command_line.as_deref().unwrap_or("");
        if line.contains(['\n', '\r']) {
            return Err("the command line must be one line".to_owned());
        }
        Ok(configuration)
    }

    /// The monitor's words for the command line.
    pub fn words(&self) -> Vec<String> {
        let monitor = &self.monitor;
        let size = |name: &str, size: Option<Size>| {
            size.map(|Size(bytes)| format!("adyton.{name}={bytes}"))
        };
        let words = [
            size("pool", monitor.pool),
            size("reserve", monitor.reserve),
            size("epc", monitor.epc),
            monitor
                .patience
                .map(|patience| format!("adyton.patience={patience}")),
            (monitor.log == Some(Log::Console)).then(|| "adyton.log=console".to_owned()),
            (monitor.without_iommu == Some(Consent::Allow))
                .then(|| "adyton.without-iommu=allow".to_owned()),
            // Otherwise kernels from 6.3 on take the pool for ordinary memory; older ones do not know the word.
            Some("dax_hmem.region_idle=1".to_owned()),
        ];
        words.into_iter().flatten().collect()
    }
}

/// What `useradd` takes; nothing that would mean something else in a rule of udev's.
fn is_name(name: &str) -> bool {
    let letters = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(letters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_the_package_brings_changes_nothing() {
        let shipped = include_str!("../../../packaging/adyton.toml");
        assert_eq!(Configuration::parse(shipped), Ok(Configuration::default()));
        // And what it shows as examples is right.
        let examples: String = shipped
            .lines()
            .filter_map(|line| Some(format!("{}\n", line.strip_prefix('#')?)))
            .filter(|line| line.contains('=') || line.starts_with('['))
            .collect();
        let configuration = Configuration::parse(&examples).unwrap();
        assert_eq!(configuration.tenants.len(), 1);
        assert!(configuration.monitor.pool.is_some());
    }

    #[test]
    fn words_say_what_the_file_says() {
        let text = "[monitor]\npool = \"1G\"\nreserve = 33554432\nepc = \"64M\"\nwithout-iommu = \"allow\"\nlog = \"console\"\npatience = 5\n";
        let words = Configuration::parse(text).unwrap().words().join(" ");
        assert_eq!(
            words,
            "adyton.pool=1073741824 adyton.reserve=33554432 adyton.epc=67108864 adyton.patience=5 adyton.log=console \
             adyton.without-iommu=allow dax_hmem.region_idle=1"
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "pool = 1",
            "[monitor]\npol = 1",
            "[monitor]\npool = \"1T\"",
            "[monitor]\npool = 0",
            "[monitor]\nwithout-iommu = true",
            "[[tenant]]\nsize = 1",
            "[[tenant]]\nuser = \"a\"",
            "[[tenant]]\nsize = 1\nuser = \"a\\\", RUN=\\\"b\"",
            "[linux]\noffline-cores = [0]",
            "[linux]\ncommand-line = \"a\\nb\"",
        ] {
            assert!(Configuration::parse(text).is_err(), "{text}");
        }
    }
}
