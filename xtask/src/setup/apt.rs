//! Packages that are unpacked under `target/`, never installed.
//!
//! What the system's own sources do not have is asked for through an apt configuration of our own, so that the machine's
//! package lists and sources are not touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

/// apt, with the system's configuration or one of its own.
pub struct Apt {
    configuration: Option<PathBuf>,
}

impl Apt {
    /// The system's own sources, with lists fetched if they do not know `package`.
    pub fn system(package: &str) -> Result<Self> {
        let apt = Self {
            configuration: None,
        };
        if apt.dependency(package).is_err() {
            apt.command("apt-get").args(["update", "-qq"]).status()?;
        }
        Ok(apt)
    }

    /// A configuration below `folder` whose only source is Debian's `suite`.
    pub fn private(folder: &Path, suite: &str) -> Result<Self> {
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
    pub fn dependency(&self, meta_package: &str) -> Result<String> {
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

    /// Downloads packages to `folder` and unpacks them all into its subfolder `root`.
    pub fn unpack(&self, packages: &[&str], folder: &Path) -> Result<()> {
        // As root apt drops to the user _apt for downloads, who may not write below target/.
        let status = self
            .command("apt-get")
            .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
            .args(packages)
            .current_dir(folder)
            .status()?;
        ensure!(
            status.success(),
            "apt-get could not download {}",
            packages.join(" ")
        );
        let is_package = |path: &PathBuf| path.extension().is_some_and(|word| word == "deb");
        for archive in fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(is_package)
        {
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
        }
        Ok(())
    }
}
