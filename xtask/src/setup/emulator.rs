//! The emulators that machines run in.
//!
//! Debian 12 brings QEMU 7.2, and a newer one in its backports. Where the system's own is older than 10, that package is
//! unpacked under `target/emulators/` and runs from there, with the system's libraries.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use super::apt::Apt;
use crate::progress;
use crate::workspace::Workspace;

/// An emulator that tests ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
pub enum Emulator {
    /// The system's own.
    #[default]
    #[serde(rename = "system")]
    System,
    /// QEMU 10 or later.
    #[serde(rename = "qemu-10")]
    #[value(name = "qemu-10")]
    Qemu10,
}

const SYSTEM: &str = "qemu-system-x86_64";

/// Where what the program needs besides the system's libraries comes from.
const SUITE: &str = "bookworm-backports";
const PACKAGES: [&str; 4] = [
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
];

/// The program, fetched if it is not there yet.
pub fn fetch(workspace: &Workspace, emulator: Emulator) -> Result<PathBuf> {
    let system = PathBuf::from(SYSTEM);
    if emulator == Emulator::System || major(&system).is_ok_and(|version| version >= 10) {
        return Ok(system);
    }
    let folder = workspace.target("emulators/qemu-10");
    let program = folder.join(SYSTEM);
    if !program.exists() {
        let outcome = progress::step("fetching QEMU 10", || fetch_into(workspace, &folder));
        // Somebody else may have fetched it at the same time.
        if !program.exists() {
            outcome?;
        }
    }
    let version = major(&program)?;
    ensure!(version >= 10, "{} is version {version}", program.display());
    Ok(program)
}

/// The first number of its version.
fn major(program: &Path) -> Result<u32> {
    let output = Command::new(program).arg("--version").output()?;
    version(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("{} does not tell its version", program.display()))
}

fn version(text: &str) -> Option<u32> {
    let rest = text.split_once("version ")?.1;
    rest.split('.').next()?.parse().ok()
}

/// Downloads beside the folder and moves there whole: an interrupted fetch leaves no half.
fn fetch_into(workspace: &Workspace, folder: &Path) -> Result<()> {
    let partial = workspace.target(format!("emulators/partial-{}", std::process::id()));
    fs::create_dir_all(&partial)?;
    let outcome = download(workspace, &partial)
        .and_then(|()| write_start(&partial.join("root"), folder))
        .and_then(|()| Ok(fs::rename(partial.join("root"), folder)?));
    fs::remove_dir_all(&partial)?;
    outcome
}

fn download(workspace: &Workspace, folder: &Path) -> Result<()> {
    Apt::private(&workspace.target("emulators/apt"), SUITE)?.unpack(&PACKAGES, folder)
}

/// A command in `root` that starts the program with the data and the modules that came with it, once `root` is `folder`.
fn write_start(root: &Path, folder: &Path) -> Result<()> {
    let place = folder.display();
    let start = root.join(SYSTEM);
    let text = format!(
        "#!/bin/sh\n\
         export QEMU_MODULE_DIR='{place}/usr/lib/x86_64-linux-gnu/qemu'\n\
         exec '{place}/usr/bin/{SYSTEM}' -L '{place}/usr/share/qemu' -L '{place}/usr/share/seabios' \"$@\"\n"
    );
    fs::write(&start, text)?;
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_version_is_read() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(super::version(text), Some(10));
        assert_eq!(super::version("something else"), None);
    }
}
