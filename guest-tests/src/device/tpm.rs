//! The TPM's registers and a device that domain 0 commands: who reaches them can extend what nobody has measured.

use anyhow::{Result, ensure};

use super::edu::Edu;
use super::{WRITTEN, read, write};

/// The registers of the first locality (PC Client Platform TPM Profile, section 6.5), one page each for five.
const REGISTERS: u64 = 0xfed4_0000;
const LOCALITIES: u64 = 5;
const PAGE: u64 = 4096;
/// Vendor and device; QEMU's TPM with the older registers says that IBM made it.
const VENDOR: u64 = 0xf00;
const IBM: u16 = 0x1014;

fn vendor(edu: &Edu, locality: u64) -> Result<u16> {
    Ok(read(edu, REGISTERS + locality * PAGE + VENDOR)? as u16)
}

/// The control: without the monitor the device reads them.
pub(super) fn reached() -> Result<()> {
    let edu = Edu::open()?;
    let found = vendor(&edu, 0)?;
    ensure!(found == IBM, "the device finds {found:#x}");
    Ok(())
}

/// With it, nothing is read, and nothing is written that the monitor would notice when it quotes.
pub(super) fn hidden() -> Result<()> {
    let edu = Edu::open()?;
    for locality in 0..LOCALITIES {
        let found = vendor(&edu, locality)?;
        ensure!(found != IBM, "the device reads locality {locality}");
        for word in [0, WRITTEN, !0] {
            write(&edu, REGISTERS + locality * PAGE, word)?;
        }
    }
    super::ordinary_memory()
}
