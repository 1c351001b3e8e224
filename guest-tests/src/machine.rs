//! The machine's registers, as root reaches them in user mode: ports, and the local APIC by `/dev/mem`.
#![allow(unsafe_code)]

use std::arch::asm;
use std::fs::File;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;

use crate::raw;

/// Where every PC has its local APIC.
pub const APIC: u64 = 0xfee0_0000;
/// Interrupt command, low half.
pub const COMMAND: u64 = 0x300;
/// Interrupt command, high half: the destination.
pub const COMMAND_HIGH: u64 = 0x310;

/// Lets this process use every port.
///
/// # Errors
/// If it is not root.
pub fn open_ports() -> Result<()> {
    // SAFETY: changes what this process may do, nothing else.
    Errno::result(unsafe { libc::iopl(3) }).context("iopl")?;
    Ok(())
}

/// Writes `size` bytes (1, 2 or 4) to a port. After [`open_ports`].
pub fn output(port: u16, size: u8, value: u32) {
    // SAFETY: the tests write to ports that end the machine, or that are watched; none reaches this program's memory.
    unsafe {
        match size {
            1 => asm!("out dx, al", in("dx") port, in("al") value as u8, options(nomem, nostack)),
            2 => asm!("out dx, ax", in("dx") port, in("ax") value as u16, options(nomem, nostack)),
            _ => asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)),
        }
    }
}

/// `PORT:SIZE:VALUE` in hexadecimal, as a command of its own: for ends of the machine. Where the word is missing, the kernel's
/// command line has it behind `output=`.
///
/// # Errors
/// If a number is missing, or this process is not root.
pub fn output_command(words: &[String]) -> Result<()> {
    let line = std::fs::read_to_string("/proc/cmdline")?;
    let given = words.first().map(String::as_str);
    let told = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("output="));
    let word = given.or(told).context("PORT:SIZE:VALUE")?;
    let numbers: Result<Vec<u32>, _> = word
        .split(':')
        .map(|digits| u32::from_str_radix(digits, 16))
        .collect();
    let [port, size, value] = numbers?[..] else {
        anyhow::bail!("PORT:SIZE:VALUE")
    };
    open_ports()?;
    output(port as u16, size as u8, value);
    Ok(())
}

/// A page of physical memory or of devices, mapped by `/dev/mem`: its virtual address.
///
/// # Errors
/// What the kernel refuses; the boot has `iomem=relaxed`.
pub fn map_physical(address: u64, size: u64) -> Result<u64> {
    let memory = File::options().read(true).write(true).open("/dev/mem")?;
    raw::map(&memory, address, size, true)
}

/// Loads 32 bits of a device.
#[must_use]
pub fn load32(address: u64) -> u32 {
    let word: u32;
    // SAFETY: the tests give addresses of a mapped device whose registers can be read without effect.
    unsafe { asm!("mov {0:e}, [{1}]", out(reg) word, in(reg) address, options(nostack)) };
    word
}

/// Stores 32 bits to a device.
pub fn store32(address: u64, word: u32) {
    // SAFETY: as above; what the store does to the machine is what is tested.
    unsafe { asm!("mov [{0}], {1:e}", in(reg) address, in(reg) word, options(nostack)) };
}

/// Sends an interrupt command by the APIC that is mapped at `apic`, as the kernel does.
///
/// # Errors
/// If the command is never sent.
pub fn send(apic: u64, destination: u32, command: u32) -> Result<()> {
    const PENDING: u32 = 1 << 12;
    store32(apic + COMMAND_HIGH, destination << 24);
    store32(apic + COMMAND, command);
    let sent = (0..1_000_000).any(|_| load32(apic + COMMAND) & PENDING == 0);
    ensure!(sent, "the command stays pending");
    Ok(())
}

/// Stores 16 bits to a device.
pub fn store16(address: u64, word: u16) {
    // SAFETY: as above.
    unsafe { asm!("mov [{0}], {1:x}", in(reg) address, in(reg) word, options(nostack)) };
}

/// Stores a byte to a device.
pub fn store8(address: u64, byte: u8) {
    // SAFETY: as above.
    unsafe { asm!("mov [{0}], {1}", in(reg) address, in(reg_byte) byte, options(nostack)) };
}
