//! PCI functions: finding them, taking them from the kernel's driver, giving them to a domain.
//!
//! Everything goes by files that the kernel has for functions. Whoever may write a function's `resource` file commands it, and so may
//! give it away; root, unless somebody has changed that.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use adyton_abi::region::{Attributes, RegionName};
use adyton_compose::devices::{self, Assignment, Facts};

use crate::{Domain, Error, Linux};

const FUNCTIONS: &str = "/sys/bus/pci/devices";
const PROBE: &str = "/sys/bus/pci/drivers_probe";
/// A name that no driver has: with it as its only choice a function stays without one.
const NO_DRIVER: &str = "adyton";

/// A PCI function of the first segment group.
#[derive(Clone, Debug)]
pub struct Function {
    folder: PathBuf,
    /// As the kernel calls it: `0000:00:04.0`.
    pub name: String,
    /// Bus << 8 | device << 3 | function.
    pub number: u16,
}

impl Function {
    /// Every function that the kernel lists, in order. Those that a domain has are listed as well.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let Ok(entries) = fs::read_dir(FUNCTIONS) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut all: Vec<Self> = names.filter_map(|name| Self::named(&name)).collect();
        all.sort_by_key(|function| function.number);
        all
    }

    /// The function with this name; the first part, the segment group, may be left out.
    ///
    /// # Errors
    /// [`Error::NoFunction`].
    pub fn find(name: &str) -> Result<Self, Error> {
        let missing = || Error::NoFunction(name.into());
        let function = Self::named(name).or_else(|| Self::named(&format!("0000:{name}")));
        function
            .filter(|function| function.folder.exists())
            .ok_or_else(missing)
    }

    fn named(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("0000:")?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let bus = u8::from_str_radix(bus, 16).ok()?;
        let device = u8::from_str_radix(device, 16)
            .ok()
            .filter(|device| *device < 32)?;
        let function = function
            .parse::<u8>()
            .ok()
            .filter(|function| *function < 8)?;
        Some(Self {
            folder: Path::new(FUNCTIONS).join(name),
            name: name.into(),
            number: u16::from(bus) << 8 | u16::from(device) << 3 | u16::from(function),
        })
    }

    /// The driver that the kernel has bound to it.
    #[must_use]
    pub fn driver(&self) -> Option<String> {
        let driver = fs::read_link(self.folder.join("driver")).ok()?;
        Some(driver.file_name()?.to_string_lossy().into_owned())
    }

    /// What the monitor knows of it.
    ///
    /// # Errors
    /// What the monitor refuses: what cannot be given away is not known.
    pub fn facts(&self) -> Result<Facts, Error> {
        let place = Linux::without_memory()?;
        Ok(devices::facts(&place, self.number.into())?)
    }

    fn write(&self, file: &str, text: &str) -> Result<(), Error> {
        let path = self.folder.join(file);
        fs::write(&path, text).map_err(|error| Error::io(path.display().to_string(), error))
    }

    /// Takes it from its driver, and keeps others from it.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn unbind(&self) -> Result<(), Error> {
        self.write("driver_override", NO_DRIVER)?;
        if self.driver().is_some() {
            self.write("driver/unbind", &self.name)?;
        }
        Ok(())
    }

    /// Lets the kernel bind a driver to it again.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn bind(&self) -> Result<(), Error> {
        self.write("driver_override", "\n")?;
        fs::write(PROBE, &self.name).map_err(|error| Error::io(PROBE, error))
    }

    /// Gives it to a domain that is being composed, its registers at guest-physical `place`: the region, and how many bytes they take. The
    /// kernel's driver must have let go of it.
    ///
    /// # Errors
    /// [`Error::Bound`], what the kernel refuses, what the monitor refuses.
    pub fn assign(
        &self,
        domain: &Domain,
        place: u64,
        attributes: Attributes,
    ) -> Result<(RegionName, u64), Error> {
        if let Some(driver) = self.driver() {
            return Err(Error::Bound(self.name.clone(), driver));
        }
        let registers = self.map()?;
        let assignment = Assignment {
            function: self.number,
            address: registers.base(),
            place,
            attributes,
        };
        Ok(domain.assign(assignment)?)
    }

    /// Maps what the first base address decodes: that names the function to the monitor.
    ///
    /// # Errors
    /// As [`Self::facts`]; what the kernel refuses.
    pub fn map(&self) -> Result<Linux, Error> {
        let facts = self.facts()?;
        let index = facts.offsets.iter().position(Option::is_some).unwrap_or(0);
        let path = self.folder.join(format!("resource{index}"));
        let open = || -> std::io::Result<(File, u64)> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().map_err(|error| Error::io(path.display().to_string(), error))?;
        Linux::map(&file, size.next_multiple_of(adyton_abi::PAGE_SIZE))
    }
}
