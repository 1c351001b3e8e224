//! Interrupts that a device of domain 0's forges: those that no device has a reason to send do not arrive.

use std::time::Duration;

use adyton::Function;
use anyhow::{Context, Result, ensure};

use super::assigned::{edu_function, folder, unknown_interrupts};
use super::configuration::{file, messages, read, write};
use super::edu::{Edu, physical};
use super::{SECRET, ordinary_memory};
use crate::{machine, raw};

/// Where messages go (Intel SDM volume 3, section 11.11).
const INTERRUPTS: u64 = 0xfee0_0000;
/// What messages say: a vector that no driver has, INIT, and a system-management interrupt.
const FIXED: u32 = 0x5a;
const INIT: u32 = 5 << 8;
const MANAGEMENT: u32 = 2 << 8;
/// `edu`'s register that raises its interrupt.
const RAISE: u64 = 0x60;
const WHILE: Duration = Duration::from_millis(300);

/// As its own message, and as a copy to where messages go. An INIT that arrives takes the core out of the monitor, and nothing goes on here.
pub(super) fn init() -> Result<()> {
    let function = edu_function()?;
    let edu = Edu::at(&folder(&function))?;
    for way in [by_message, by_copy] {
        let before = unknown_interrupts()?;
        way(&function, &edu, FIXED)?;
        ensure!(
            unknown_interrupts()? > before,
            "the control does not arrive"
        );
        let before = unknown_interrupts()?;
        for kind in [INIT, MANAGEMENT, INIT | FIXED] {
            way(&function, &edu, kind)?;
        }
        ensure!(unknown_interrupts()? == before, "something arrived");
    }
    ordinary_memory()
}

fn by_message(function: &Function, edu: &Edu, data: u32) -> Result<()> {
    let file = file(function)?;
    let place = messages(&file)?;
    write(&file, place + 4, INTERRUPTS as u32)?;
    write(&file, place + 8, 0)?;
    write(&file, place + 12, data)?;
    let control = read(&file, place)?;
    write(&file, place, control | 1 << 16)?;
    machine::store32(edu.registers + RAISE, 1);
    std::thread::sleep(WHILE);
    write(&file, place, control & !(1 << 16))
}

fn by_copy(_: &Function, edu: &Edu, data: u32) -> Result<()> {
    let page = raw::anonymous_page()?;
    raw::store(page, SECRET & !u64::from(u32::MAX) | u64::from(data));
    edu.read(physical(page)?, 8)?;
    edu.write(INTERRUPTS, 4).context("the copy")?;
    std::thread::sleep(WHILE);
    Ok(())
}
