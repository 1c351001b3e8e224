//! `adyton boot`: keeps what the machine boots up to date. The package's hooks call it; a person rarely has to.

use std::fs;

use super::configuration::Configuration;
use super::linux::{Kernel, command_line};
use super::{System, volume};
use crate::failure::Failure;

/// What the package brings.
const APPLICATION: &str = "/usr/lib/adyton/adyton.efi";
const IMAGE: &str = "/usr/lib/adyton/adyton.elf";
/// What the maintainer has signed about the application.
const APPROVALS: &str = "/usr/lib/adyton/approvals";
/// Where GRUB finds the monitor on a machine without UEFI.
const LEGACY: &str = "/boot/adyton/adyton.elf";

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Copy the monitor, the newest kernel and its initrd to where the firmware finds them
    Refresh,
    /// Take all of that away again
    Remove,
    /// Print the command line that domain 0 gets
    #[command(name = "command-line")]
    Line,
    /// Print the release of the kernel that domain 0 boots
    Kernel,
    /// Print where the EFI system partition is mounted; nothing if it is not
    Partition,
}

/// Does it.
pub fn run(system: &System, command: &Command) -> Result<(), Failure> {
    match command {
        Command::Refresh => refresh(system),
        Command::Remove => remove(system),
        Command::Line => {
            say!("{}", command_line(system, &Configuration::read(system)?)?);
            Ok(())
        }
        Command::Kernel => {
            say!("{}", Kernel::newest(system)?.release);
            Ok(())
        }
        Command::Partition => {
            if let Some(place) = volume::efi_partition(system) {
                say!("{}", place.display());
            }
            Ok(())
        }
    }
}

/// The configuration names what is there already when it is written, and what it no longer names goes last.
fn refresh(system: &System) -> Result<(), Failure> {
    let configuration = Configuration::read(system)?;
    let kernel = Kernel::newest(system)?;
    let line = command_line(system, &configuration)?;
    let read = |path: &str| {
        let path = system.path(path);
        fs::read(&path).map_err(Failure::file(&path))
    };
    volume::replace(&system.path(LEGACY), &read(IMAGE)?)?;
    let Some(partition) = volume::efi_partition(system) else {
        return Ok(());
    };
    let folder = partition.join("adyton");
    let names = [
        format!("kernel-{}", kernel.release),
        format!("initrd-{}", kernel.release),
    ];
    volume::replace(&folder.join(&names[0]), &read(&kernel.image())?)?;
    volume::replace(&folder.join(&names[1]), &read(&kernel.initrd())?)?;
    let text = format!(
        "kernel = /adyton/{}\ninitrd = /adyton/{}\ncommand-line = {line}\n",
        names[0], names[1]
    );
    volume::replace(&folder.join("configuration"), text.as_bytes())?;
    volume::replace(
        &partition.join("EFI/adyton/adyton.efi"),
        &read(APPLICATION)?,
    )?;
    volume::replace(&folder.join("approvals"), &read(APPROVALS)?)?;
    let entries = fs::read_dir(&folder).map_err(Failure::file(&folder))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["configuration", "approvals"].contains(&name.as_str()) && !names.contains(&name) {
            volume::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(system: &System) -> Result<(), Failure> {
    if let Some(partition) = volume::efi_partition(system) {
        volume::remove(&partition.join("adyton"))?;
        volume::remove(&partition.join("EFI/adyton"))?;
    }
    volume::remove(&system.path("/boot/adyton"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(folder: &std::path::Path) -> System {
        for (path, text) in [
            (APPLICATION, "application"),
            (IMAGE, "image"),
            (APPROVALS, "approvals"),
            ("/boot/vmlinuz-1", "kernel"),
            ("/boot/initrd.img-1", "initrd"),
            ("/boot/efi/EFI/debian/grubx64.efi", "grub"),
            ("/etc/fstab", "UUID=1 / ext4\n"),
        ] {
            let path = folder.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        System::at(folder)
    }

    fn files(folder: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_partition_has_the_newest_kernel_alone() {
        let folder = tempfile::tempdir().unwrap();
        let system = system(folder.path());
        let partition = folder.path().join("boot/efi");
        refresh(&system).unwrap();
        assert_eq!(
            files(&partition.join("adyton")),
            ["approvals", "configuration", "initrd-1", "kernel-1"]
        );
        fs::write(folder.path().join("boot/vmlinuz-2"), "newer").unwrap();
        fs::write(folder.path().join("boot/initrd.img-2"), "newer").unwrap();
        refresh(&system).unwrap();
        assert_eq!(
            files(&partition.join("adyton")),
            ["approvals", "configuration", "initrd-2", "kernel-2"]
        );
        let text = fs::read_to_string(partition.join("adyton/configuration")).unwrap();
        assert_eq!(
            text,
            "kernel = /adyton/kernel-2\ninitrd = /adyton/initrd-2\n\
             command-line = root=UUID=1 ro dax_hmem.region_idle=1\n"
        );
        assert_eq!(
            fs::read(partition.join("EFI/adyton/adyton.efi")).unwrap(),
            b"application"
        );
        assert_eq!(
            fs::read(folder.path().join("boot/adyton/adyton.elf")).unwrap(),
            b"image"
        );
    }

    #[test]
    fn nothing_of_it_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let system = system(folder.path());
        refresh(&system).unwrap();
        remove(&system).unwrap();
        remove(&system).unwrap();
        assert_eq!(files(&folder.path().join("boot/efi")), ["EFI"]);
        assert_eq!(files(&folder.path().join("boot/efi/EFI")), ["debian"]);
        assert_eq!(
            files(&folder.path().join("boot")),
            ["efi", "initrd.img-1", "vmlinuz-1"]
        );
    }

    #[test]
    fn a_wrong_configuration_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let system = system(folder.path());
        fs::write(folder.path().join("etc/adyton.toml"), "poool = 1").unwrap();
        assert!(refresh(&system).is_err());
        assert_eq!(files(&folder.path().join("boot/efi")), ["EFI"]);
    }
}
