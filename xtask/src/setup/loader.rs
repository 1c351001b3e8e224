//! Debian's GRUB for UEFI, unpacked under `target/grub/`, never installed: the image that Debian signs, which measures what it does, the
//! modules that fit it, and shim, which starts it on an installed machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::apt::Apt;
use super::folder;
use crate::workspace::Workspace;

const PACKAGES: [&str; 3] = ["grub-efi-amd64-signed", "grub-efi-amd64-bin", "shim-signed"];

/// An unpacked GRUB.
#[derive(Clone, Debug)]
pub struct BootLoader {
    folder: PathBuf,
}

impl BootLoader {
    /// Where it lies once it was fetched.
    pub fn place(workspace: &Workspace) -> Self {
        Self {
            folder: workspace.target("grub"),
        }
    }

    /// Fetches it if it is not there yet.
    pub fn fetch(&self) -> Result<()> {
        folder::fill(&self.folder, "fetching GRUB", unpack)
    }

    /// The EFI application.
    pub fn application(&self) -> Result<Vec<u8>> {
        self.read("grub/x86_64-efi-signed/grubx64.efi.signed")
    }

    /// A module, by its file's name.
    pub fn module(&self, name: &str) -> Result<Vec<u8>> {
        self.read(&format!("grub/x86_64-efi/{name}"))
    }

    /// The application that Debian has firmware start, and that starts GRUB.
    pub fn shim(&self) -> Result<Vec<u8>> {
        self.read("shim/shimx64.efi.signed")
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.folder.join("root/usr/lib").join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    }
}

fn unpack(folder: &Path) -> Result<()> {
    Apt::system(PACKAGES[0])?.unpack(&PACKAGES, folder)
}
