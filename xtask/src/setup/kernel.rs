//! Debian's kernel packages, unpacked under `target/kernels/`, never installed.
//!
//! A flavour is fetched once and stays: delete its folder to take a newer package. Debian 13's
//! kernel is asked for through an apt configuration of its own, so that the machine's package
//! lists and sources are not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

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
        _ => Apt::system()?,
    };
    let package = apt.dependency(flavour.meta_package())?;
    apt.download(&package, folder)?;
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let status = Command::new("dpkg-deb")
        .arg("-x")
        .arg(&archive)
        .arg(folder.join("root"))
        .status()?;
    ensure!(
        status.success(),
        "dpkg-deb could not unpack {}",
        archive.display()
    );
    Ok(())
}

/// apt, with the system's configuration or one of its own.
struct Apt {
    configuration: Option<PathBuf>,
}

impl Apt {
    /// The system's own sources, with lists fetched if there are none.
    fn system() -> Result<Self> {
        let apt = Self {
            configuration: None,
        };
        if apt.dependency(Flavour::Cloud.meta_package()).is_err() {
            apt.command("apt-get").args(["update", "-qq"]).status()?;
        }
        Ok(apt)
    }

    /// A configuration below `folder` whose only source is Debian's `suite`.
    fn private(folder: &Path, suite: &str) -> Result<Self> {
        let place = folder.display();
        for part in ["lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("status"), "")?;
        fs::write(
            folder.join("sources.list"),
            format!(
                "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                 http://deb.debian.org/debian {suite} main\n"
            ),
        )?;
        let configuration = folder.join("apt.conf");
        fs::write(
            &configuration,
            format!(
                "Dir::State \"{place}\";\nDir::State::lists \"{place}/lists\";\n\
                 Dir::State::status \"{place}/status\";\nDir::Cache \"{place}/cache\";\n\
                 Dir::Etc::sourcelist \"{place}/sources.list\";\n\
                 Dir::Etc::sourceparts \"{place}/parts\";\n\
                 Acquire::http::Timeout \"20\";\nAcquire::Retries \"1\";\n"
            ),
        )?;
        let apt = Self {
            configuration: Some(configuration),
        };
        let status = apt.command("apt-get").args(["update", "-qq"]).status()?;
        ensure!(
            status.success(),
            "the package lists of {suite} cannot be reached"
        );
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        if let Some(configuration) = &self.configuration {
            command.env("APT_CONFIG", configuration);
        }
        command
    }

    /// The kernel package that a meta package depends on.
    fn dependency(&self, meta_package: &str) -> Result<String> {
        let output = self
            .command("apt-cache")
            .args(["depends", meta_package])
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        {
            Some(rest) => Ok(format!("linux-image-{rest}")),
            None => bail!("apt knows no dependency of {meta_package}"),
        }
    }

    fn download(&self, package: &str, folder: &Path) -> Result<()> {
        // As root apt drops to the user _apt for downloads, who may not write below target/.
        let status = self
            .command("apt-get")
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root", package])
            .current_dir(folder)
            .status()?;
        ensure!(status.success(), "apt-get could not download {package}");
        Ok(())
    }
}
