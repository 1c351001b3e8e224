//! `cargo xtask image`: a disk from which the UEFI firmware of a machine starts the monitor.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::build::Monitors;
use crate::guest::{Images, Settings, configuration};
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

/// Builds, writes the disk, and prints where it is and by which digest firmware measures the monitor.
pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    setup::packages()?;
    let maintainer = options.signing.maintainer(workspace)?;
    let images = Images::build(workspace, Monitors::PRODUCT)?.by(maintainer);
    let read = |path: &PathBuf| fs::read(path).with_context(|| path.display().to_string());
    let (kernel, initrd) = match (&options.kernel, &options.initrd) {
        (Some(kernel), Some(initrd)) => (read(kernel)?, read(initrd)?),
        _ => {
            let kernel = Settings::default().fetch_kernel(workspace)?;
            let initrd = images.initrd(&kernel, Vec::new())?;
            (read(&kernel.image)?, initrd.concat())
        }
    };
    let disk = match &options.output {
        Some(path) => path.clone(),
        None => {
            let folder = workspace.target("image");
            fs::create_dir_all(&folder)?;
            folder.join("adyton.img")
        }
    };
    let anchors = disk.with_extension("anchors.toml");
    fs::write(&anchors, anchors_text(&images, options, &kernel, &initrd)?)?;
    let release = options.signing.release;
    images.write_release(&disk, release, kernel, initrd, &options.command_line)?;
    println!("{}\n{}", disk.display(), anchors.display());
    Ok(ExitCode::SUCCESS)
}

/// The monitor's and the system's reference values. Those of the machine and of its firmware come from the machine.
fn anchors_text(
    images: &Images,
    options: &Options,
    kernel: &[u8],
    initrd: &[u8],
) -> Result<String> {
    let command_line = options.command_line.as_str();
    let configuration = configuration(command_line);
    let version = env!("CARGO_PKG_VERSION");
    let monitor = image::authenticode_digest(&images.application_of(options.signing.release)?);
    let system = [
        ("configuration", configuration.as_bytes()),
        ("kernel", kernel),
        ("initrd", initrd),
        ("command-line", command_line.as_bytes()),
    ];
    let lines: String = system
        .iter()
        .map(|(name, bytes)| format!("{name} = \"{}\"\n", image::digest(bytes)))
        .collect();
    Ok(format!(
        "# What the image beside this file measures: docs/attestation.md.\nversion = 1\n\n\
         [[monitor]]\nname = \"adyton {version}\"\nimage = \"{monitor}\"\nsecurity-version = 1\n\n\
         [[boot]]\nname = \"this image\"\n{lines}"
    ))
}
