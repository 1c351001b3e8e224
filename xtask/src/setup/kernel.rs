//! Debian's kernel packages, unpacked under `target/kernels/`, never installed.
//!
//! A flavour is fetched once and stays: delete its folder to take a newer package.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Deserialize;

use super::apt::Apt;
use crate::progress;
use crate::workspace::Workspace;

/// A kernel package that domain 0 can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Debian 12's kernel for cloud machines: the default domain 0.
    Cloud,
    /// Debian 12's kernel for any machine.
    Generic,
    /// Debian 13's kernel for cloud machines.
    Trixie,
}

impl Flavour {
    /// The name of its folder, and its name in test definitions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Generic => "generic",
            Self::Trixie => "trixie",
        }
    }

    /// The package that depends on the newest kernel of this flavour.
    fn meta_package(self) -> &'static str {
        match self {
            Self::Cloud | Self::Trixie => "linux-image-cloud-amd64",
            Self::Generic => "linux-image-amd64",
        }
    }
}

/// An unpacked kernel package.
#[derive(Clone)]
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// `/lib/modules/RELEASE` in the package.
    pub modules: PathBuf,
    /// What `uname -r` prints under it.
    pub release: String,
}

/// The kernel of this flavour, fetched if it is not there yet.
pub fn fetch(workspace: &Workspace, flavour: Flavour) -> Result<Kernel> {
    let folder = workspace.target("kernels").join(flavour.name());
    if let Ok(kernel) = find(&folder) {
        return Ok(kernel);
    }
    let outcome = progress::step(&format!("fetching the {} kernel", flavour.name()), || {
        fetch_into(workspace, flavour, &folder)
    });
    // Somebody else may have fetched it at the same time: then it is there all the same.
    find(&folder).map_err(|missing| outcome.err().unwrap_or(missing))
}

/// Downloads beside the folder and moves there whole: an interrupted fetch leaves no half.
fn fetch_into(workspace: &Workspace, flavour: Flavour, folder: &Path) -> Result<()> {
    let name = format!("kernels/{}.partial-{}", flavour.name(), std::process::id());
    let partial = workspace.target(name);
    fs::create_dir_all(&partial)?;
    let outcome = download(workspace, flavour, &partial)
        .and_then(|()| Ok(fs::rename(partial.join("root"), folder)?));
    fs::remove_dir_all(&partial)?;
    outcome
}

fn find(folder: &Path) -> Result<Kernel> {
    let releases = fs::read_dir(folder.join("lib/modules"))
        .or_else(|_| fs::read_dir(folder.join("usr/lib/modules")))?;
    let entry = releases
        .into_iter()
        .next()
        .context("the kernel package has no modules")??;
    let release = entry.file_name().to_string_lossy().into_owned();
    Ok(Kernel {
        image: folder.join(format!("boot/vmlinuz-{release}")),
        modules: entry.path(),
        release,
    })
}

fn download(workspace: &Workspace, flavour: Flavour, folder: &Path) -> Result<()> {
    let apt = match flavour {
        Flavour::Trixie => Apt::private(&workspace.target("kernels/apt-trixie"), "trixie")?,
        _ => Apt::system(flavour.meta_package())?,
    };
    let package = apt.dependency(flavour.meta_package())?;
    apt.unpack(&[&package], folder)
}
