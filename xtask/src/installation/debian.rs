//! Debian as its installer leaves it, as an archive: made by mmdebstrap from the distribution's packages, kept under `target/`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::image;
use crate::progress;
use crate::setup;
use crate::tool;
use crate::workspace::Workspace;

/// What the system has besides the smallest that boots.
const PACKAGES: &str = "systemd-sysv,udev,kmod,initramfs-tools,linux-image-cloud-amd64,grub2-common,grub-pc-bin,\
                        grub-efi-amd64-bin,grub-efi-amd64-signed,shim-signed,e2fsprogs,mount,dosfstools";

/// The archive, made if it is not there yet.
pub fn root(workspace: &Workspace) -> Result<PathBuf> {
    setup::install(&[
        ("/usr/bin/mmdebstrap", "mmdebstrap"),
        ("/usr/bin/fakeroot", "fakeroot"),
        ("/sbin/mkfs.ext4", "e2fsprogs"),
    ])?;
    // Another list of packages is another archive.
    let name = &image::digest(PACKAGES.as_bytes())[..8];
    let archive = workspace.target(format!("debian/root-{name}.tar"));
    if archive.exists() {
        return Ok(archive);
    }
    fs::create_dir_all(workspace.target("debian"))?;
    let partial = workspace.target(format!("debian/partial-{}.tar", std::process::id()));
    let made = progress::step("installing Debian into an archive", || {
        tool::run(
            Command::new("mmdebstrap")
                .args([
                    "--quiet",
                    "--variant=minbase",
                    &format!("--include={PACKAGES}"),
                ])
                .arg("--aptopt=APT::Install-Recommends \"false\"")
                // Manuals are wanted: the package's own are looked at.
                .args([
                    "--dpkgopt=path-exclude=/usr/share/doc/*",
                    "--dpkgopt=path-exclude=/usr/share/locale/*",
                ])
                .arg("bookworm")
                .arg(&partial),
        )
    });
    let kept = made.and_then(|_| Ok(fs::rename(&partial, &archive)?));
    if kept.is_err() {
        let _ = fs::remove_file(&partial);
    }
    kept.map(|()| archive)
}
