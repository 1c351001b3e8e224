//! A device and the EPC: it neither reads what an enclave holds nor writes there.

use adyton::Monitor;
use anyhow::{Result, ensure};

use super::edu::{self, Edu};
use super::{SECRET, WRITTEN, read, write};
use crate::enclave::code::{Command, enter};
use crate::enclave::driver::Enclave;
use crate::enclave::image::Attributes;
use crate::enclave::{image, physical_pages, place};
use crate::raw;

/// An enclave with a secret, and where that is.
struct Scene {
    enclave: Enclave,
    address: u64,
    physical: u64,
}

impl Scene {
    fn new() -> Result<Self> {
        let enclave = Enclave::load(&image(Attributes::PLAIN))?;
        let address = enclave.page(place::DATA);
        let scene = Self {
            physical: physical_pages(&enclave, place::DATA, 1)?[0],
            enclave,
            address,
        };
        for offset in (0..64).step_by(8) {
            scene.ask(Command::Store, address + offset, SECRET);
        }
        ensure!(scene.secret() == SECRET, "the enclave does not hold it");
        Ok(scene)
    }

    fn ask(&self, command: Command, first: u64, second: u64) -> u64 {
        enter(self.enclave.page(place::TCS), command, first, second)
    }

    /// The secret, as the enclave sees it.
    fn secret(&self) -> u64 {
        self.ask(Command::Load, self.address, 0)
    }
}

/// Behind an IOMMU. The control is a page of the program's.
pub fn memory() -> Result<()> {
    ensure!(Monitor::ask()?.device_protection);
    let (edu, scene) = (Edu::open()?, Scene::new()?);
    let page = raw::anonymous_page()?;
    raw::store(page, SECRET);
    let here = edu::physical(page)?;
    ensure!(read(&edu, here)? == SECRET, "the control does not read");
    write(&edu, here, WRITTEN)?;
    ensure!(raw::load(page) == WRITTEN, "the control does not write");
    let found = read(&edu, scene.physical)?;
    ensure!(found != SECRET, "the device has read the secret");
    write(&edu, scene.physical, WRITTEN)?;
    ensure!(scene.secret() == SECRET, "the device has written");
    Ok(())
}

/// Without an IOMMU the same device reads and writes it.
pub fn unprotected() -> Result<()> {
    ensure!(!Monitor::ask()?.device_protection);
    let (edu, scene) = (Edu::open()?, Scene::new()?);
    let found = read(&edu, scene.physical)?;
    ensure!(found == SECRET, "the device reads {found:#x}");
    write(&edu, scene.physical, WRITTEN)?;
    ensure!(scene.secret() == WRITTEN, "the device does not write");
    Ok(())
}
