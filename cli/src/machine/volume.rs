//! Files that are read before this system runs: written beside and renamed, so that a machine that loses its power has the old or
//! the new one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::System;
use crate::failure::Failure;

/// Where Debian mounts the EFI system partition, and where others do.
const PLACES: [&str; 3] = ["/boot/efi", "/efi", "/boot"];

/// Where a system's EFI system partition is mounted, if it is.
pub fn efi_partition(system: &System) -> Option<PathBuf> {
    let is_it = |place: &&&str| match system.is_running() {
        true => mounted(&system.text("/proc/mounts").unwrap_or_default(), place),
        false => system.path(place).join("EFI").is_dir(),
    };
    PLACES.iter().find(is_it).map(|place| system.path(place))
}

/// Whether a FAT file system is mounted at `place`.
fn mounted(mounts: &str, place: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(place) && fields.next() == Some("vfat")
    })
}

/// Makes `path` hold these bytes. Nothing is written where it does already.
///
/// # Errors
/// What the system refuses; then the old file is still there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(Failure::file(folder))?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let written = written.and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| {
        // What does not fit must not take the room of what does.
        let _ = fs::remove_file(&beside);
        Failure::file(path)(source)
    })
}

/// Removes a file or a folder, if it is there.
///
/// # Errors
/// What the system refuses.
pub fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::file(path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fat_file_system_is_the_firmwares() {
        let mounts = "/dev/vda3 / ext4 rw 0 0\n/dev/vda2 /boot/efi vfat rw 0 0\n/dev/vda4 /boot ext4 rw 0 0\n";
        assert!(mounted(mounts, "/boot/efi"));
        assert!(!mounted(mounts, "/boot"));
    }

    #[test]
    fn files_are_replaced_whole_and_removed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path().join("a")).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
