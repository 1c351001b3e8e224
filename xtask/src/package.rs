//! `cargo xtask deb`: the Debian package. What it is made of besides the programs lies in `packaging/`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::build::{self, Monitors, Programs};
use crate::image::Signing;
use crate::setup;
use crate::tool;
use crate::workspace::Workspace;

/// Write the Debian package: the monitor, the `adyton` command, and what installs them on a machine.
#[derive(Args)]
pub struct Options {
    /// Where it is written [default: `adyton_VERSION_amd64.deb` in the build directory]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
}

/// The version of the package and of everything in it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files of `packaging/`, where they go, and whether they are programs.
const FILES: &[(&str, &str, bool)] = &[
    ("postinst", "DEBIAN/postinst", true),
    ("prerm", "DEBIAN/prerm", true),
    ("postrm", "DEBIAN/postrm", true),
    ("conffiles", "DEBIAN/conffiles", false),
    ("adyton.toml", "etc/adyton.toml", false),
    ("grub-entry", "etc/grub.d/09_adyton", true),
    ("hook", "etc/kernel/postinst.d/zz-adyton", true),
    ("hook", "etc/kernel/postrm.d/zz-adyton", true),
    ("hook", "etc/initramfs/post-update.d/zz-adyton", true),
    (
        "adyton-pool.service",
        "lib/systemd/system/adyton-pool.service",
        false,
    ),
    ("60-adyton.rules", "lib/udev/rules.d/60-adyton.rules", false),
    ("sysusers.conf", "usr/lib/sysusers.d/adyton.conf", false),
    (
        "modules-load.conf",
        "usr/lib/modules-load.d/adyton.conf",
        false,
    ),
];

/// What the manual's writer leaves, and where a system looks for it.
const COMPLETIONS: &[(&str, &str)] = &[
    (
        "adyton.bash",
        "usr/share/bash-completion/completions/adyton",
    ),
    (
        "adyton.fish",
        "usr/share/fish/vendor_completions.d/adyton.fish",
    ),
    ("_adyton", "usr/share/zsh/vendor-completions/_adyton"),
];

/// Builds it, and prints where it is.
pub fn run(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    setup::packages()?;
    let programs = build::everything(workspace, Monitors::PRODUCT)?;
    let package = options
        .output
        .clone()
        .unwrap_or_else(|| default_path(workspace));
    write(workspace, &programs, &options.signing, &package)?;
    println!("{}", package.display());
    Ok(ExitCode::SUCCESS)
}

/// Where it is written unless said otherwise.
pub fn default_path(workspace: &Workspace) -> PathBuf {
    workspace.target(format!("adyton_{VERSION}_amd64.deb"))
}

/// Writes the package.
pub fn write(
    workspace: &Workspace,
    programs: &Programs,
    signing: &Signing,
    package: &Path,
) -> Result<()> {
    let staged = workspace.target(format!("package-{}", std::process::id()));
    fs::create_dir_all(&staged)?;
    let outcome =
        stage(workspace, programs, signing, &staged).and_then(|()| pack(&staged, package));
    fs::remove_dir_all(&staged)?;
    outcome
}

fn stage(workspace: &Workspace, programs: &Programs, signing: &Signing, root: &Path) -> Result<()> {
    for (source, place, is_program) in FILES {
        let source = workspace.source("packaging").join(source);
        let bytes = fs::read(&source).with_context(|| source.display().to_string())?;
        put(&root.join(place), &bytes, *is_program)?;
    }
    let named = |paths: &[PathBuf], name: &str| {
        let found = paths.iter().find(|path| path.ends_with(name)).cloned();
        found.with_context(|| format!("{name} was not built"))
    };
    let monitor = programs.monitor.as_deref().context("there is no monitor")?;
    let monitor = fs::read(monitor)?;
    let maintainer = signing.maintainer(workspace)?;
    let release = maintainer.release(&monitor, signing.release)?;
    let folder = root.join("usr/lib/adyton");
    put(&folder.join("adyton.efi"), &release.application, false)?;
    let approvals = release.approvals.as_bytes();
    put(&folder.join("approvals"), approvals, false)?;
    put(&root.join("usr/lib/adyton/adyton.elf"), &monitor, false)?;
    let payload = fs::read(named(&programs.payloads, "hello")?)?;
    put(&root.join("usr/lib/adyton/payloads/hello"), &payload, false)?;
    let command = named(&programs.programs, "adyton")?;
    put(&root.join("usr/bin/adyton"), &fs::read(&command)?, true)?;
    write_manual(&command, root)?;
    write_control(workspace, root)
}

/// Manual pages and completions, which the command writes itself.
fn write_manual(command: &Path, root: &Path) -> Result<()> {
    let folder = root.join("manual");
    fs::create_dir_all(&folder)?;
    tool::run(Command::new(command).arg("manual").arg(&folder))?;
    for (file, place) in COMPLETIONS {
        put(&root.join(place), &fs::read(folder.join(file))?, false)?;
    }
    let pages = root.join("usr/share/man/man1");
    for entry in fs::read_dir(folder.join("man1"))? {
        let page = entry?;
        put(
            &pages.join(page.file_name()),
            &fs::read(page.path())?,
            false,
        )?;
    }
    tool::run(Command::new("gzip").args(["-9n", "-r"]).arg(&pages))?;
    fs::remove_dir_all(folder)?;
    Ok(())
}

fn write_control(workspace: &Workspace, root: &Path) -> Result<()> {
    let template = fs::read_to_string(workspace.source("packaging/control"))?;
    let kibibytes = size(root)? / 1024;
    let text = template
        .replace("@VERSION@", VERSION)
        .replace("@SIZE@", &kibibytes.to_string());
    put(&root.join("DEBIAN/control"), text.as_bytes(), false)
}

fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        sum += match entry.file_type()?.is_dir() {
            true => size(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(sum)
}

fn put(path: &Path, bytes: &[u8], is_program: bool) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())?;
    let mode = if is_program { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Everything in it belongs to root, whoever builds it.
fn pack(staged: &Path, package: &Path) -> Result<()> {
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "--build"]);
    tool::run(command.arg(staged).arg(package))?;
    Ok(())
}
