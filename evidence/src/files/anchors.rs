//! Anchors as TOML: `docs/policy.md` shows one.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;

use super::loader::{CommandEntry, FileEntry};
use super::{Digest, FileError, version};
use crate::anchors::{Anchors, Boot, Firmware, Loader, LoaderRules, Machine, Monitor};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    version: u64,
    #[serde(default)]
    machine: Vec<MachineEntry>,
    #[serde(default)]
    monitor: Vec<MonitorEntry>,
    #[serde(default)]
    firmware: Vec<FirmwareEntry>,
    #[serde(default)]
    loader: Vec<LoaderEntry>,
    #[serde(default)]
    boot: Vec<BootEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineEntry {
    name: String,
    key: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MonitorEntry {
    name: String,
    image: Digest,
    security_version: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmwareEntry {
    name: String,
    pcrs: BTreeMap<String, Digest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoaderEntry {
    name: String,
    images: Vec<Digest>,
    commands: Option<Vec<CommandEntry>>,
    files: Option<Vec<FileEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct BootEntry {
    name: String,
    configuration: Digest,
    kernel: Option<Digest>,
    initrd: Option<Digest>,
    command_line: Option<Digest>,
}

/// Reads anchors.
///
/// # Errors
/// [`FileError`].
pub fn read(text: &str) -> Result<Anchors, FileError> {
    let file: File = toml::from_str(text)?;
    version(file.version)?;
    let firmware = file.firmware.into_iter().map(firmware);
    let loaders = file.loader.into_iter().map(loader);
    let boots = file.boot.into_iter().map(boot);
    Ok(Anchors {
        machines: file
            .machine
            .into_iter()
            .map(|entry| Machine {
                name: entry.name,
                key: entry.key.0,
            })
            .collect(),
        monitors: file
            .monitor
            .into_iter()
            .map(|entry| Monitor {
                name: entry.name,
                image: entry.image.0,
                security_version: entry.security_version,
            })
            .collect(),
        firmware: firmware.collect::<Result<_, _>>()?,
        loaders: loaders.collect::<Result<_, _>>()?,
        boots: boots.collect::<Result<_, _>>()?,
    })
}

fn firmware(entry: FirmwareEntry) -> Result<Firmware, FileError> {
    let wrong = |why| FileError::Values(entry.name.clone(), why);
    let mut values = Vec::new();
    for (pcr, value) in &entry.pcrs {
        let pcr = pcr.parse().ok();
        let pcr = pcr.filter(|pcr| Firmware::POSSIBLE.contains(pcr));
        let pcr = pcr.ok_or_else(|| wrong("only PCRs 0 to 3 and 5 to 7 are the firmware's"))?;
        values.push((pcr, value.0));
    }
    let has = |wanted: &u32| values.iter().any(|(pcr, _)| pcr == wanted);
    if Firmware::NEEDED.iter().all(has) {
        Ok(Firmware {
            name: entry.name,
            values,
        })
    } else {
        Err(wrong("PCRs 0, 2 and 7 must have values"))
    }
}

fn loader(entry: LoaderEntry) -> Result<Loader, FileError> {
    let wrong = |why| FileError::Values(entry.name.clone(), why);
    let rules = match (entry.commands, entry.files) {
        (None, None) => None,
        (Some(commands), Some(files)) => Some(LoaderRules {
            commands: commands.into_iter().map(|entry| entry.0).collect(),
            files: files.into_iter().map(FileEntry::event).collect(),
        }),
        _ => return Err(wrong("commands and files go together")),
    };
    if entry.images.is_empty() {
        return Err(wrong("a boot loader has at least one image"));
    }
    Ok(Loader {
        name: entry.name,
        images: super::digests(entry.images),
        rules,
    })
}

fn boot(entry: BootEntry) -> Result<Boot, FileError> {
    let domain_0 = match (entry.kernel, entry.initrd, entry.command_line) {
        (None, None, None) => None,
        (Some(kernel), Some(initrd), Some(line)) => Some([kernel.0, initrd.0, line.0]),
        _ => {
            let why = "kernel, initrd and command-line go together";
            return Err(FileError::Values(entry.name, why));
        }
    };
    Ok(Boot {
        name: entry.name,
        configuration: entry.configuration.0,
        domain_0,
    })
}
