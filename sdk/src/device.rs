//! The dax device that offers the pool: finding it, refusing a dangerous one, making one out of an idle
//! region.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::Error;

pub(crate) const DEVICES: &str = "/sys/bus/dax/devices";
const DRIVER: &str = "/sys/bus/dax/drivers/device_dax";

/// A dax device.
#[derive(Clone, Debug)]
pub struct Device {
    /// The device node.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Alignment of mappings.
    pub alignment: u64,
}

/// The number in a file, in decimal or with 0x.
pub(crate) fn number(path: &Path) -> Option<u64> {
    parse(fs::read_to_string(path).ok()?.trim())
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Device {
    /// The device with the node `path`.
    ///
    /// # Errors
    /// No such device, or the kernel uses it as ordinary memory.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let name = path
            .file_name()
            .ok_or_else(|| Error::NoDevice(path.into()))?;
        let folder = Path::new(DEVICES).join(name);
        if !folder.exists() {
            return Err(Error::NoDevice(path.into()));
        }
        let device = Self {
            path: path.into(),
            size: number(&folder.join("size")).unwrap_or(0),
            alignment: number(&folder.join("align")).unwrap_or(2 << 20),
        };
        device.refuse_system_ram(&folder)?;
        Ok(device)
    }

    /// Every dax device that has memory and a node.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir(DEVICES).into_iter().flatten().flatten();
        let nodes = entries.map(|entry| Path::new("/dev").join(entry.file_name()));
        let mut devices: Vec<_> = nodes
            .filter(|node| node.exists())
            .filter_map(|node| Self::at(&node).ok())
            .filter(|device| device.size != 0)
            .collect();
        devices.sort_by(|left, right| left.path.cmp(&right.path));
        devices
    }

    pub(crate) fn open(&self) -> Result<File, Error> {
        let opened = OpenOptions::new().read(true).write(true).open(&self.path);
        opened.map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::NoDevice(self.path.clone()),
            ErrorKind::PermissionDenied => Error::Permission(self.path.clone()),
            _ => Error::io(format!("opening {}", self.path.display()), error),
        })
    }

    fn refuse_system_ram(&self, folder: &Path) -> Result<(), Error> {
        let driver = fs::read_link(folder.join("driver")).unwrap_or_default();
        let refused = driver.ends_with("kmem") || self.overlaps_system_ram(folder);
        if refused {
            Err(Error::SystemRam(self.path.clone()))
        } else {
            Ok(())
        }
    }

    /// As far as this user may read addresses: without the right to, all of them are 0.
    fn overlaps_system_ram(&self, folder: &Path) -> bool {
        let Some(start) = number(&folder.join("resource")).filter(|&start| start != 0) else {
            return false;
        };
        let map = fs::read_to_string("/proc/iomem").unwrap_or_default();
        system_ram(&map).any(|(first, last)| first < start + self.size && last >= start)
    }
}

/// The ranges (first, last) that `/proc/iomem` calls System RAM.
fn system_ram(map: &str) -> impl Iterator<Item = (u64, u64)> {
    map.lines().filter_map(|line| {
        let (range, name) = line.trim().split_once(" : ")?;
        let (first, last) = range.split_once('-')?;
        let hexadecimal = |text| u64::from_str_radix(text, 16).ok();
        let range = (hexadecimal(first)?, hexadecimal(last)?);
        (name.starts_with("System RAM") && range.1 != 0).then_some(range)
    })
}

/// Makes devices usable that the kernel left idle (`dax_hmem.region_idle=1`): gives an empty device all of its
/// region's memory, and binds it to the device driver. Does nothing where a device is ready. Needs root.
///
/// # Errors
/// What the kernel refuses.
pub fn prepare() -> Result<(), Error> {
    if !Device::all().is_empty() {
        return Ok(());
    }
    let entries = fs::read_dir(DEVICES);
    let entries = entries.map_err(|_| Error::NoDevice("/dev/dax0.0".into()))?;
    for entry in entries.flatten() {
        let folder = entry.path();
        if number(&folder.join("size")) == Some(0) {
            fill(&folder)?;
        }
        if !folder.join("driver").exists() {
            bind(&entry.file_name().to_string_lossy())?;
        }
    }
    Ok(())
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = fs::write(path, text);
    written.map_err(|error| Error::io(format!("writing {text} to {}", path.display()), error))
}

fn fill(folder: &Path) -> Result<(), Error> {
    let region = fs::canonicalize(folder)
        .map_err(|error| Error::io(format!("following {}", folder.display()), error))?;
    let available = region
        .parent()
        .map(|parent| parent.join("dax_region/available_size"));
    match available.and_then(|file| number(&file)) {
        Some(size) if size != 0 => write(&folder.join("size"), &size.to_string()),
        _ => Ok(()),
    }
}

/// `new_id` makes the driver take a device that was meant for another one, and binds it.
pub(crate) fn bind(name: &str) -> Result<(), Error> {
    let driver = Path::new(DRIVER);
    write(&driver.join("new_id"), name).or_else(|_| write(&driver.join("bind"), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_ram_is_found_and_hidden_addresses_are_not_taken_for_it() {
        let map = "00001000-0009fbff : System RAM\n  00002000-00002fff : Kernel code\n\
                   100000000-1ffffffff : Soft Reserved\n  100000000-1ffffffff : dax0.0\n\
                   \x20   180000000-1ffffffff : System RAM (kmem)\n";
        let found: Vec<_> = system_ram(map).collect();
        assert_eq!(found, [(0x1000, 0x9fbff), (0x1_8000_0000, 0x1_ffff_ffff)]);
        assert_eq!(system_ram("00000000-00000000 : System RAM\n").count(), 0);
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(parse("2097152"), Some(2 << 20));
        assert_eq!(parse("0x200000"), Some(2 << 20));
        assert_eq!(parse(""), None);
    }
}
