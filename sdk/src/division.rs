//! Dividing the pool's region into dax devices, one per tenant, so that file permissions decide who has how much of it.
//!
//! The kernel resizes a device only while no driver is bound to it, and gives the devices of a region consecutive numbers
//! (Linux `drivers/dax/bus.c`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::device::{self, DEVICES, Device, number};
use crate::{Error, Pool};

/// Sizes are multiples of it.
pub const GRANULE: u64 = 2 << 20;

/// The region that the pool's devices are cut from.
struct Region(PathBuf);

impl Region {
    fn find() -> Result<Self, Error> {
        let missing = || Error::NoDevice("/dev/dax0.0".into());
        let mut entries: Vec<_> = fs::read_dir(DEVICES)
            .map_err(|_| missing())?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        let first = entries.first().ok_or_else(missing)?;
        let device = fs::canonicalize(first)
            .map_err(|error| Error::io(format!("following {}", first.display()), error))?;
        Ok(Self(device.parent().ok_or_else(missing)?.into()))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join("dax_region").join(name)
    }

    /// Its devices' folders, by number.
    fn devices(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| Some((index(&entry.path())?, entry.path())))
            .collect();
        found.sort();
        found.into_iter().map(|(_, path)| path).collect()
    }

    fn sizes(&self) -> Vec<u64> {
        let devices = self.devices();
        let sizes = devices.iter().map(|folder| number(&folder.join("size")));
        sizes.map(Option::unwrap_or_default).collect()
    }

    fn size(&self) -> Result<u64, Error> {
        let file = self.file("size");
        number(&file).ok_or(Error::NoDevice(file))
    }

    /// Gives every device its size, and each a driver.
    fn apply(&self, sizes: &[u64]) -> Result<(), Error> {
        for folder in self.devices() {
            if folder.join("driver").exists() {
                device::write(&folder.join("driver/unbind"), &name(&folder))?;
            }
            device::write(&folder.join("size"), "0")?;
        }
        for folder in self.devices().iter().skip(sizes.len()) {
            device::write(&self.file("delete"), &name(folder))?;
        }
        // Space must be free for a device to be made.
        while self.devices().len() < sizes.len() {
            device::write(&self.file("create"), "1")?;
        }
        let wanted = self.devices().into_iter().zip(sizes);
        for (folder, size) in wanted.filter(|&(_, &size)| size != 0) {
            device::write(&folder.join("size"), &size.to_string())?;
            if !folder.join("driver").exists() {
                device::bind(&name(&folder))?;
            }
        }
        Ok(())
    }
}

fn name(folder: &Path) -> String {
    let name = folder.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The number behind the dot of a folder's name, if it is a device's.
fn index(folder: &Path) -> Option<u64> {
    let name = name(folder);
    let (_, number) = name.strip_prefix("dax")?.split_once('.')?;
    number.parse().ok()
}

/// The sizes of all devices where tenants want `parts`: what is left comes first.
fn sizes(whole: u64, parts: &[u64]) -> Option<Vec<u64>> {
    let asked = parts.iter().try_fold(0, |sum: u64, &part| {
        sum.checked_add(part.checked_next_multiple_of(GRANULE)?)
    })?;
    let rest = whole.checked_sub(asked)? / GRANULE * GRANULE;
    let rounded = parts.iter().map(|part| part.next_multiple_of(GRANULE));
    Some([rest].into_iter().chain(rounded).collect())
}

/// Bytes that all of them take; as many as can be said where they are more.
fn total(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |sum, part| sum.saturating_add(*part))
}

/// Divides the pool: the first device returned has what is left, and then there is one of each of these sizes, in bytes, rounded up
/// to 2 MiB. Does nothing where it is divided so already. Needs root.
///
/// # Errors
/// [`Error::PoolFull`] if they are more than the pool has, [`Error::PoolInUse`] if it would be divided anew while domains are in it,
/// and what the kernel refuses.
pub fn divide(parts: &[u64]) -> Result<Vec<PathBuf>, Error> {
    let region = Region::find()?;
    let wanted = sizes(region.size()?, parts).ok_or(Error::PoolFull(total(parts)))?;
    if region.sizes() != wanted {
        refuse_claims()?;
        region.apply(&wanted)?;
    }
    let devices = region.devices();
    let nodes = devices
        .iter()
        .map(|folder| Path::new("/dev").join(name(folder)));
    Ok(nodes.collect())
}

fn refuse_claims() -> Result<(), Error> {
    for device in Device::all() {
        if !Pool::open(&device.path)?.claims()?.is_empty() {
            return Err(Error::PoolInUse(device.path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_comes_first_and_nothing_is_promised_twice() {
        const MIB: u64 = 1 << 20;
        assert_eq!(sizes(128 * MIB, &[]), Some(vec![128 * MIB]));
        let divided = sizes(128 * MIB, &[MIB, 64 * MIB]);
        assert_eq!(divided, Some(vec![62 * MIB, 2 * MIB, 64 * MIB]));
        assert_eq!(sizes(128 * MIB, &[128 * MIB]), Some(vec![0, 128 * MIB]));
        assert_eq!(sizes(128 * MIB, &[128 * MIB, 1]), None);
        assert_eq!(sizes(128 * MIB, &[u64::MAX]), None);
        assert_eq!(
            sizes(128 * MIB, &[u64::MAX / 2, u64::MAX / 2, 4 * MIB]),
            None
        );
    }

    #[test]
    fn what_is_too_much_can_be_said() {
        assert_eq!(total(&[1, 2]), 3);
        assert_eq!(total(&[u64::MAX, 1]), u64::MAX);
    }

    #[test]
    fn numbers_are_not_compared_as_text() {
        assert_eq!(index(Path::new("/x/dax0.10")), Some(10));
        assert_eq!(index(Path::new("/x/dax_region")), None);
    }
}
