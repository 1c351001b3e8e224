//! A machine's disk: a place for GRUB where there is no UEFI, an EFI system partition, and Debian. Written without any privilege.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, copy};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::image::{self, MIB, SECTOR};
use crate::tool;
use crate::workspace::Workspace;

/// (first MiB, number of MiB) of the partitions.
const GRUB: (u64, u64) = (1, 1);
const FIRMWARE: (u64, u64) = (2, 160);
const ROOT: (u64, u64) = (162, 1400);

/// The files of the kernel on it, for the start that puts the boot loader there.
pub struct Boot {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its initial RAM disk.
    pub initrd: PathBuf,
}

/// Writes the disk with this system, the package in `/root`, and the steps that the machine takes.
pub fn write(
    workspace: &Workspace,
    system: &Path,
    package: &Path,
    folder: &Path,
    disk: &Path,
) -> Result<Boot> {
    let root = folder.join("root.ext4");
    fs::File::create(&root)?.set_len(ROOT.1 * MIB)?;
    let staged = folder.join("system");
    if staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    fs::create_dir_all(&staged)?;
    tool::run(
        Command::new("fakeroot")
            .args(["sh", "-e", "-c", STAGE])
            .arg(&staged)
            .arg(system)
            .arg(workspace.source("tests/installation"))
            .arg(package)
            .arg(&root),
    )?;
    let boot = Boot {
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd"),
    };
    fs::copy(find(&staged.join("boot"), "vmlinuz-")?, &boot.kernel)?;
    fs::copy(find(&staged.join("boot"), "initrd.img-")?, &boot.initrd)?;
    fs::remove_dir_all(&staged)?;
    partition(disk)?;
    insert(disk, ROOT.0 * MIB, &root)?;
    fs::remove_file(&root)?;
    image::format_firmware_partition(disk, FIRMWARE.0 * MIB, FIRMWARE.1 * MIB)?;
    Ok(boot)
}

/// In a world where the user seems to be root: unpacks, adds, and makes the file system. Device nodes come with the running system.
const STAGE: &str = r#"
tar --extract --file "$1" --directory "$0" --exclude './dev/*'
cp "$2/fstab" "$0/etc/fstab"
cp "$2/grub" "$0/etc/default/grub"
cp "$2/steps.sh" "$2/evidence.sh" "$0/root/"
cp "$2/steps.service" "$0/etc/systemd/system/steps.service"
mkdir -p "$0/etc/systemd/system/multi-user.target.wants" "$0/boot/efi"
ln -s ../steps.service "$0/etc/systemd/system/multi-user.target.wants/steps.service"
ln -s /dev/null "$0/etc/systemd/system/serial-getty@ttyS0.service"
cp "$3" "$0/root/adyton.deb"
echo install > "$0/root/stage"
echo machine > "$0/etc/hostname"
/sbin/mkfs.ext4 -q -F -U 41445954-4f4e-4000-8000-000000000003 -d "$0" "$4"
"#;

/// The one file in a folder whose name begins so.
fn find(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut names = entries.flatten().map(|entry| entry.path());
    let begins = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
    };
    names
        .find(begins)
        .with_context(|| format!("no {prefix} in {}", folder.display()))
}

fn partition(disk: &Path) -> Result<()> {
    let end = ROOT.0 + ROOT.1 + 1;
    File::create(disk)?.set_len(end * MIB)?;
    let line = |(start, size): (u64, u64), kind: &str| {
        format!(
            "start={}, size={}, type={kind}\n",
            start * MIB / SECTOR,
            size * MIB / SECTOR
        )
    };
    let table = [
        "label: gpt\n".to_owned(),
        line(GRUB, "21686148-6449-6E6F-744E-656564454649"),
        line(FIRMWARE, "uefi"),
        line(ROOT, "linux"),
    ];
    image::partition(disk, &table.concat())
}

/// Copies a file into the disk.
fn insert(disk: &Path, start: u64, source: &Path) -> Result<()> {
    let mut disk = OpenOptions::new().write(true).open(disk)?;
    disk.seek(SeekFrom::Start(start))?;
    copy(&mut File::open(source)?, &mut disk)?;
    Ok(())
}
