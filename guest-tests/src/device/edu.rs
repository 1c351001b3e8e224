//! QEMU's teaching device (`docs/specs/edu`), driven from user space through the files that the kernel has for it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::raw;

const NAME: [u8; 4] = [0x34, 0x12, 0xe8, 0x11];
const REGISTERS_SIZE: u64 = 1 << 20;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
const START: u64 = 1;
const TO_MEMORY: u64 = 2;
/// Its own buffer, by its own address.
const BUFFER: u64 = 0x4_0000;

/// Offset of the command register of every PCI function, and the bit that lets it access memory by itself.
const PCI_COMMAND: u64 = 4;
const MASTER: u8 = 1 << 2;

/// The device.
pub struct Edu {
    /// Where they are mapped.
    pub registers: u64,
    /// Device and function, on bus 0.
    pub function: u8,
}

impl Edu {
    /// Finds it, switches it on and maps its registers.
    pub fn open() -> Result<Self> {
        Self::at(&find()?)
    }

    /// Switches on the one with this folder, and maps its registers.
    pub fn at(folder: &Path) -> Result<Self> {
        fs::write(folder.join("enable"), "1")?;
        let path = folder.join("config");
        let configuration = File::options().read(true).write(true).open(path)?;
        let mut command = [0];
        configuration.read_exact_at(&mut command, PCI_COMMAND)?;
        configuration.write_all_at(&[command[0] | MASTER], PCI_COMMAND)?;
        let memory = File::options()
            .read(true)
            .write(true)
            .open(folder.join("resource0"))?;
        let name = folder.to_string_lossy();
        let (rest, function) = name.rsplit_once('.').context("no function")?;
        let (_, device) = rest.rsplit_once(':').context("no device")?;
        let function = u8::from_str_radix(device, 16)? << 3 | function.parse::<u8>()?;
        Ok(Self {
            registers: raw::map(&memory, 0, REGISTERS_SIZE, true)?,
            function,
        })
    }

    /// Copies from memory to its buffer, as far as it gets.
    pub fn read(&self, physical: u64, bytes: u64) -> Result<()> {
        self.copy(physical, BUFFER, bytes, 0)
    }

    /// Copies from its buffer to memory, as far as it gets.
    pub fn write(&self, physical: u64, bytes: u64) -> Result<()> {
        self.copy(BUFFER, physical, bytes, TO_MEMORY)
    }

    /// Begins to copy 64 bytes from its buffer to memory, and does not wait: that takes a tenth of a second.
    pub fn begin_write(&self, physical: u64) {
        self.begin(BUFFER, physical, 64, TO_MEMORY);
    }

    fn begin(&self, from: u64, to: u64, bytes: u64, direction: u64) {
        raw::store(self.registers + SOURCE, from);
        raw::store(self.registers + DESTINATION, to);
        raw::store(self.registers + COUNT, bytes);
        raw::store(self.registers + COMMAND, START | direction);
    }

    fn copy(&self, from: u64, to: u64, bytes: u64, direction: u64) -> Result<()> {
        // More would end QEMU.
        ensure!(bytes < 4096);
        self.begin(from, to, bytes, direction);
        let begin = Instant::now();
        while raw::load(self.registers + COMMAND) & START != 0 {
            ensure!(
                begin.elapsed() < Duration::from_secs(10),
                "edu does not end"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn find() -> Result<PathBuf> {
    for entry in fs::read_dir("/sys/bus/pci/devices")? {
        let folder = entry?.path();
        let mut name = [0; 4];
        File::open(folder.join("config"))?.read_exact_at(&mut name, 0)?;
        if name == NAME {
            return Ok(folder);
        }
    }
    anyhow::bail!("the machine has no edu device")
}

/// The physical address of a mapped page of this process.
pub fn physical(address: u64) -> Result<u64> {
    let mut word = [0; 8];
    let file = File::open("/proc/self/pagemap")?;
    file.read_exact_at(&mut word, address / 4096 * 8)?;
    let word = u64::from_le_bytes(word);
    ensure!(word >> 63 == 1, "the page is not there");
    let frame = word & ((1 << 55) - 1);
    ensure!(frame != 0, "the kernel does not tell");
    Ok(frame * 4096 + address % 4096)
}
