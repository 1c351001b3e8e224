//! A boot loader between firmware and the monitor: Debian's GRUB, as a machine has it where the package is installed.
//!
//! What it should do is written down in `tests/loader/expected.toml`, in the order of its events, so that reference values do not come from a
//! log.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::json;

use super::{authenticode_digest, digest};
use crate::setup::BootLoader;

/// Where firmware looks for what it shall start.
pub const APPLICATION: &str = "EFI/BOOT/BOOTX64.EFI";
/// Where the package puts the monitor on a machine that GRUB starts.
const CHAINED: &str = "EFI/adyton/adyton.efi";
/// What shim starts: beside itself.
const BEHIND_SHIM: &str = "EFI/BOOT/grubx64.efi";
/// Where the image that Debian signs looks for its script, and for modules.
const SCRIPT: &str = "EFI/debian/grub.cfg";
const MODULE: &str = "EFI/debian/x86_64-efi/hello.mod";

const KNOWN: &str = include_str!("../../../tests/loader/grub.cfg");
const EXPECTED: &str = include_str!("../../../tests/loader/expected.toml");
/// What the changed script begins with.
const CHANGE: &str = include_str!("../../../tests/loader/change.cfg");

/// A boot loader and what it is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chain {
    /// GRUB, with the script that the reference values are made from.
    Grub,
    /// The same, started by shim, as Debian's installer leaves a machine.
    ShimAndGrub,
    /// GRUB, whose script loads one more module, which is on the disk.
    ChangedGrub,
}

impl Chain {
    /// Moves the monitor away from where firmware looks, and puts GRUB there.
    pub fn put_first(
        self,
        loader: &BootLoader,
        files: &mut Vec<(&'static str, Vec<u8>)>,
    ) -> Result<()> {
        let monitor = files.iter_mut().find(|(path, _)| *path == APPLICATION);
        monitor.context("there is no monitor")?.0 = CHAINED;
        let script = match self {
            Self::Grub | Self::ShimAndGrub => KNOWN.to_owned(),
            Self::ChangedGrub => format!("{CHANGE}{KNOWN}"),
        };
        if self == Self::ShimAndGrub {
            files.push((APPLICATION, loader.shim()?));
            files.push((BEHIND_SHIM, loader.application()?));
        } else {
            files.push((APPLICATION, loader.application()?));
        }
        files.push((SCRIPT, script.into_bytes()));
        files.push((MODULE, loader.module("hello.mod")?));
        Ok(())
    }

    /// What GRUB should do on the way to this monitor, as a `[[loader]]` for anchors. It is the same whatever the script says that it is
    /// given: those who know the right one refuse the other.
    pub fn reference(self, loader: &BootLoader, monitor: &[u8]) -> Result<String> {
        let expected: Expected = toml::from_str(EXPECTED)?;
        let mut images = vec![authenticode_digest(&loader.application()?)?];
        if self == Self::ShimAndGrub {
            images.insert(0, authenticode_digest(&loader.shim()?)?);
        }
        let images = json!(images);
        let mut text = format!("[[loader]]\nname = \"GRUB\"\nimages = {images}\n");
        // A string of JSON is one of TOML.
        let commands = json!(expected.commands);
        text.push_str(&format!("commands = {commands}\nfiles = [\n"));
        for name in expected.files {
            let contents = match &name {
                name if name.ends_with(SCRIPT) => KNOWN.as_bytes(),
                name if name.ends_with(CHAINED) => monitor,
                _ => bail!("{name} is not known"),
            };
            let (name, digest) = (json!(name), digest(contents));
            text.push_str(&format!("{{ name = {name}, digest = \"{digest}\" }},\n"));
        }
        Ok(text + "]\n")
    }
}

/// The events of GRUB's registers, in order.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    commands: Vec<String>,
    files: Vec<String>,
}
