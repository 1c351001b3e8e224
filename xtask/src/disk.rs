//! `cargo xtask image`: a disk from which the UEFI firmware of a machine starts the monitor. `cargo xtask reference`: what it measures.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::build::Monitors;
use crate::guest::{Images, Settings, digests};
use crate::image::{self, Signing};
use crate::setup;
use crate::workspace::Workspace;

/// Write a disk with an EFI system partition: the monitor as `EFI/BOOT/BOOTX64.EFI`, and in `adyton/` its configuration and approvals, domain 0's
/// kernel and its initrd. Beside it, what a verifier should find in its evidence: `FILE.anchors.toml`. Without files of your own
/// it is the system that `cargo xtask run` starts.
#[derive(Args)]
pub struct Options {
    /// Where it is written [default: `image/adyton.img` in the build directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    system: System,
}

/// Print what a verifier should find in evidence of a machine that starts such a disk, as JSON: the events that the firmware and the monitor
/// measure, with their digests. `docs/attestation.md` defines them, `adyton measure` tells the measurements of domains.
#[derive(Args)]
pub struct Reference {
    #[command(flatten)]
    system: System,
}

/// What the disk starts.
#[derive(Args)]
struct System {
    /// A kernel image of your own
    #[arg(long, value_name = "FILE", requires = "initrd")]
    kernel: Option<PathBuf>,
    /// An initrd of your own
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// The command line of domain 0 and of the monitor
    #[arg(
        long,
        value_name = "STRING",
        default_value = "console=ttyS0",
        allow_hyphen_values = true
    )]
    command_line: String,
    #[command(flatten)]
    signing: Signing,
}

impl System {
    /// Builds everything; with the kernel and its initrd.
    fn build(&self, workspace: &Workspace) -> Result<(Images, Vec<u8>, Vec<u8>)> {
        setup::packages()?;
        let maintainer = self.signing.maintainer(workspace)?;
        let images = Images::build(workspace, Monitors::PRODUCT)?.by(maintainer);
        let read = |path: &PathBuf| fs::read(path).with_context(|| path.display().to_string());
        let (kernel, initrd) = match (&self.kernel, &self.initrd) {
            (Some(kernel), Some(initrd)) => (read(kernel)?, read(initrd)?),
            _ => {
                let kernel = Settings::default().fetch_kernel(workspace)?;
                let initrd = images.initrd(&kernel, Vec::new())?;
                (read(&kernel.image)?, initrd.concat())
            }
        };
        Ok((images, kernel, initrd))
    }

    /// What is measured, in the order of the events.
    fn digests(&self, images: &Images, kernel: &[u8], initrd: &[u8]) -> Result<Vec<Digest>> {
        let application = images.application_of(self.signing.release)?;
        let digests = digests(&application, kernel, &self.command_line)?;
        let mut all = Vec::from(digests);
        all.insert(all.len() - 1, ("adyton:initrd", image::digest(initrd)));
        Ok(all)
    }
}

/// A name and a SHA-256 in hexadecimal.
type Digest = (&'static str, String);

/// Prints the reference values.
pub fn print_reference(workspace: &Workspace, options: &Reference) -> Result<ExitCode> {
    let (images, kernel, initrd) = options.system.build(workspace)?;
    let digests = options.system.digests(&images, &kernel, &initrd)?;
    let event = |(name, digest): &Digest| match *name {
        "monitor" => json!({
            "pcr": 4,
            "event": "EV_EFI_BOOT_SERVICES_APPLICATION",
            "what": name,
            "sha256": digest,
        }),
        event => json!({
            "pcr": 12,
            "event": event,
            "what": event.trim_start_matches("adyton:"),
            "sha256": digest,
        }),
    };
    let events: Vec<_> = digests.iter().map(event).collect();
    let reference = json!({
        "version": 1,
        "name": format!("adyton {}", env!("CARGO_PKG_VERSION")),
        "release": options.system.signing.release,
        "events": events,
    });
    println!("{reference:#}");
    Ok(ExitCode::SUCCESS)
}

/// Builds, writes the disk, and prints where it is and by which digest firmware measures the monitor.
pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let system = &options.system;
    let (images, kernel, initrd) = system.build(workspace)?;
    let disk = match &options.output {
        Some(path) => path.clone(),
        None => {
            let folder = workspace.target("image");
            fs::create_dir_all(&folder)?;
            folder.join("adyton.img")
        }
    };
    let anchors = disk.with_extension("anchors.toml");
    fs::write(&anchors, anchors_text(&images, system, &kernel, &initrd)?)?;
    let release = system.signing.release;
    images.write_release(&disk, release, kernel, initrd, &system.command_line)?;
    println!("{}\n{}", disk.display(), anchors.display());
    Ok(ExitCode::SUCCESS)
}

/// The monitor's and the system's reference values. Those of the machine and of its firmware come from the machine.
fn anchors_text(images: &Images, system: &System, kernel: &[u8], initrd: &[u8]) -> Result<String> {
    let version = env!("CARGO_PKG_VERSION");
    let digests = system.digests(images, kernel, initrd)?;
    let (monitor, loaded) = digests.split_first().context("nothing is measured")?;
    let (_, monitor) = monitor;
    let lines: String = loaded
        .iter()
        .map(|(name, digest)| format!("{} = \"{digest}\"\n", name.trim_start_matches("adyton:")))
        .collect();
    Ok(format!(
        "# What the image beside this file measures: docs/attestation.md.\nversion = 1\n\n\
         [[monitor]]\nname = \"adyton {version}\"\nimage = \"{monitor}\"\nsecurity-version = 1\n\n\
         [[boot]]\nname = \"this image\"\n{lines}"
    ))
}
