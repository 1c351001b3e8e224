//! Putting a Linux kernel into memory by the x86 boot protocol, 32-bit entry (Linux `Documentation/arch/x86/boot.rst`).

use crate::memory::{Kind, MAXIMUM_ENTRIES, MemoryEntry, Range};

const PAGE: u64 = 4096;
const HEADER_START: usize = 0x1f1;
const MAGIC: &[u8] = b"HdrS";
/// 2.12: `xloadflags`, and 64-bit addresses of the RAM disk.
const OLDEST_VERSION: u64 = 0x20c;
const SECTOR: u64 = 512;
const LOADED_HIGH: u8 = 1 << 0;
const UNREGISTERED_LOADER: u8 = 0xff;

/// A field of the boot parameters ("zero page"): offset and size in bytes.
#[derive(Clone, Copy)]
struct Field(usize, usize);

mod field {
    use super::Field;

    pub const ROOT_POINTER: Field = Field(0x070, 8);
    pub const RAM_DISK_HIGH: Field = Field(0x0c0, 4);
    pub const RAM_DISK_SIZE_HIGH: Field = Field(0x0c4, 4);
    pub const COMMAND_LINE_HIGH: Field = Field(0x0c8, 4);
    pub const FIRMWARE_SIGNATURE: Field = Field(0x1c0, 4);
    pub const FIRMWARE_SYSTEM_TABLE: Field = Field(0x1c4, 4);
    pub const FIRMWARE_DESCRIPTOR_SIZE: Field = Field(0x1c8, 4);
    pub const FIRMWARE_DESCRIPTOR_VERSION: Field = Field(0x1cc, 4);
    pub const FIRMWARE_MAP: Field = Field(0x1d0, 4);
    pub const FIRMWARE_MAP_SIZE: Field = Field(0x1d4, 4);
    pub const FIRMWARE_SYSTEM_TABLE_HIGH: Field = Field(0x1d8, 4);
    pub const FIRMWARE_MAP_HIGH: Field = Field(0x1dc, 4);
    pub const MAP_ENTRIES: Field = Field(0x1e8, 1);
    pub const SETUP_SECTORS: Field = Field(0x1f1, 1);
    pub const VIDEO_MODE: Field = Field(0x1fa, 2);
    pub const JUMP_LENGTH: Field = Field(0x201, 1);
    pub const VERSION: Field = Field(0x206, 2);
    pub const LOADER: Field = Field(0x210, 1);
    pub const LOAD_FLAGS: Field = Field(0x211, 1);
    pub const RAM_DISK: Field = Field(0x218, 4);
    pub const RAM_DISK_SIZE: Field = Field(0x21c, 4);
    pub const COMMAND_LINE: Field = Field(0x228, 4);
    pub const ALIGNMENT: Field = Field(0x230, 4);
    pub const RELOCATABLE: Field = Field(0x234, 1);
    pub const PREFERRED_ADDRESS: Field = Field(0x258, 8);
    pub const INITIAL_SIZE: Field = Field(0x260, 4);
    pub const MAP: usize = 0x2d0;
    pub const MAP_ENTRY_SIZE: usize = 20;
}

/// Why a file cannot be booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinuxError {
    /// It is no bzImage.
    NoKernel,
    /// It speaks a boot protocol older than 2.12.
    TooOld,
    /// There is no free stretch of memory for it.
    NoRoom,
}

/// What a kernel file says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    file: &'a [u8],
    /// Where the protected-mode part begins.
    payload: usize,
    alignment: u64,
    relocatable: bool,
    preferred: u64,
    initial_size: u64,
}

/// What the kernel is told.
#[derive(Clone, Copy, Debug)]
pub struct Parameters<'a> {
    /// Where the command line lies, zero-terminated.
    pub command_line: u64,
    /// Where the initial RAM disk lies.
    pub ram_disk: Range,
    /// Physical address of the ACPI root pointer.
    pub root_pointer: u64,
    /// The memory map.
    pub map: &'a [MemoryEntry],
    /// How to call the firmware, where it can be called.
    pub uefi: Option<FirmwareFacts>,
}

/// What a kernel needs to know of UEFI (`struct efi_info` in Linux' `bootparam.h`).
#[derive(Clone, Copy, Debug)]
pub struct FirmwareFacts {
    /// Physical address of the system table.
    pub system_table: u64,
    /// Physical address of the memory map.
    pub map: u64,
    /// Bytes of it.
    pub map_size: u32,
    /// Bytes of a descriptor, of version 1.
    pub descriptor_size: u32,
}

impl FirmwareFacts {
    fn values(&self) -> [(Field, u64); 8] {
        const SIGNATURE: u64 = u32::from_le_bytes(*b"EL64") as u64;
        [
            (field::FIRMWARE_SIGNATURE, SIGNATURE),
            (field::FIRMWARE_SYSTEM_TABLE, self.system_table),
            (field::FIRMWARE_SYSTEM_TABLE_HIGH, self.system_table >> 32),
            (field::FIRMWARE_DESCRIPTOR_SIZE, self.descriptor_size.into()),
            (field::FIRMWARE_DESCRIPTOR_VERSION, 1),
            (field::FIRMWARE_MAP, self.map),
            (field::FIRMWARE_MAP_HIGH, self.map >> 32),
            (field::FIRMWARE_MAP_SIZE, self.map_size.into()),
        ]
    }
}

impl<'a> Kernel<'a> {
    /// Reads the header of `file`.
    ///
    /// # Errors
    /// If it is none that can be booted.
    pub fn parse(file: &'a [u8]) -> Result<Self, LinuxError> {
        let get = |field| read(file, field).ok_or(LinuxError::NoKernel);
        if file.get(0x202..0x206) != Some(MAGIC) {
            return Err(LinuxError::NoKernel);
        }
        if get(field::VERSION)? < OLDEST_VERSION {
            return Err(LinuxError::TooOld);
        }
        let sectors = match get(field::SETUP_SECTORS)? {
            0 => 4,
            sectors => sectors,
        };
        let payload = ((sectors + 1) * SECTOR) as usize;
        if file.len() <= payload || get(field::LOAD_FLAGS)? as u8 & LOADED_HIGH == 0 {
            return Err(LinuxError::NoKernel);
        }
        Ok(Self {
            file,
            payload,
            alignment: get(field::ALIGNMENT)?.max(PAGE).next_power_of_two(),
            relocatable: get(field::RELOCATABLE)? != 0,
            preferred: get(field::PREFERRED_ADDRESS)?,
            initial_size: get(field::INITIAL_SIZE)?,
        })
    }

    /// The protected-mode part: what is copied to where the kernel runs.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.file.get(self.payload..).unwrap_or(&[])
    }

    /// Where it goes: where it likes best, else, if it can be moved, the lowest place above that is free of `taken`.
    ///
    /// # Errors
    /// If there is none.
    pub fn place(&self, map: &[MemoryEntry], taken: &[Range]) -> Result<u64, LinuxError> {
        let size = self.initial_size.max(self.payload().len() as u64);
        let mut start = self.preferred.next_multiple_of(self.alignment);
        while start < 1 << 32 {
            let range = Range {
                start,
                end: start + size,
            };
            let in_ram = map.iter().any(|entry| {
                entry.kind == Kind::Ram
                    && entry.range.start <= start
                    && range.end <= entry.range.end
            });
            if in_ram && !taken.iter().any(|other| other.overlaps(range)) {
                return Ok(start);
            }
            if !self.relocatable {
                break;
            }
            start += self.alignment;
        }
        Err(LinuxError::NoRoom)
    }

    /// Fills in the page of boot parameters.
    pub fn write_parameters(&self, page: &mut [u8; PAGE as usize], parameters: &Parameters<'_>) {
        page.fill(0);
        let header_end = 0x202 + read(self.file, field::JUMP_LENGTH).unwrap_or(0) as usize;
        if let (Some(target), Some(source)) = (
            page.get_mut(HEADER_START..header_end),
            self.file.get(HEADER_START..header_end),
        ) {
            target.copy_from_slice(source);
        }
        let flags = read(page, field::LOAD_FLAGS).unwrap_or(0) | u64::from(LOADED_HIGH);
        let values = [
            (field::LOADER, UNREGISTERED_LOADER.into()),
            (field::LOAD_FLAGS, flags),
            (field::VIDEO_MODE, 0xffff),
            (field::COMMAND_LINE, parameters.command_line),
            (field::COMMAND_LINE_HIGH, parameters.command_line >> 32),
            (field::RAM_DISK, parameters.ram_disk.start),
            (field::RAM_DISK_HIGH, parameters.ram_disk.start >> 32),
            (field::RAM_DISK_SIZE, parameters.ram_disk.size()),
            (field::RAM_DISK_SIZE_HIGH, parameters.ram_disk.size() >> 32),
            (field::ROOT_POINTER, parameters.root_pointer),
            (
                field::MAP_ENTRIES,
                parameters.map.len().min(MAXIMUM_ENTRIES) as u64,
            ),
        ];
        let firmware = parameters.uefi.map(|facts| facts.values());
        values
            .iter()
            .chain(firmware.iter().flatten())
            .for_each(|&(field, value)| write(page, field, value));
        for (index, entry) in parameters.map.iter().take(MAXIMUM_ENTRIES).enumerate() {
            let offset = field::MAP + index * field::MAP_ENTRY_SIZE;
            write(page, Field(offset, 8), entry.range.start);
            write(page, Field(offset + 8, 8), entry.range.size());
            write(page, Field(offset + 16, 4), entry.kind.number().into());
        }
    }
}

fn read(bytes: &[u8], Field(offset, size): Field) -> Option<u64> {
    let bytes = bytes.get(offset..offset + size)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |value, &byte| value << 8 | u64::from(byte)),
    )
}

fn write(bytes: &mut [u8], Field(offset, size): Field, value: u64) {
    if let (Some(place), Some(value)) = (
        bytes.get_mut(offset..offset + size),
        value.to_le_bytes().get(..size),
    ) {
        place.copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn file() -> Vec<u8> {
        let mut file = vec![0; 0x4000];
        file[0x202..0x206].copy_from_slice(MAGIC);
        for (field, value) in [
            (field::SETUP_SECTORS, 3),
            (field::JUMP_LENGTH, 0x6a),
            (field::VERSION, 0x20f),
            (field::LOAD_FLAGS, 1),
            (field::ALIGNMENT, 2 * MIB),
            (field::RELOCATABLE, 1),
            (field::PREFERRED_ADDRESS, 16 * MIB),
            (field::INITIAL_SIZE, 50 * MIB),
        ] {
            write(&mut file, field, value);
        }
        file
    }

    #[test]
    fn the_header_is_understood() {
        let file = file();
        let kernel = Kernel::parse(&file).unwrap();
        assert_eq!(kernel.payload().len(), 0x4000 - 4 * 512);
        let ram = MemoryEntry {
            range: Range {
                start: MIB,
                end: 512 * MIB,
            },
            kind: Kind::Ram,
        };
        assert_eq!(kernel.place(&[ram], &[]), Ok(16 * MIB));
        let taken = Range {
            start: 60 * MIB,
            end: 64 * MIB,
        };
        assert_eq!(kernel.place(&[ram], &[taken]), Ok(64 * MIB));
        let everything = Range {
            start: 0,
            end: 500 * MIB,
        };
        assert_eq!(kernel.place(&[ram], &[everything]), Err(LinuxError::NoRoom));
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(Kernel::parse(&[]).unwrap_err(), LinuxError::NoKernel);
        assert_eq!(
            Kernel::parse(&[0; 0x4000]).unwrap_err(),
            LinuxError::NoKernel
        );
        let mut old = file();
        write(&mut old, field::VERSION, 0x20b);
        assert_eq!(Kernel::parse(&old).unwrap_err(), LinuxError::TooOld);
        assert_eq!(
            Kernel::parse(&file()[..0x800]).unwrap_err(),
            LinuxError::NoKernel
        );
    }

    #[test]
    fn parameters_are_written() {
        let file = file();
        let map = [MemoryEntry {
            range: Range { start: 1, end: 3 },
            kind: Kind::SoftReserved,
        }];
        let parameters = Parameters {
            command_line: 0x2_0000,
            ram_disk: Range {
                start: 0x1_2000_0000,
                end: 0x1_2000_0100,
            },
            root_pointer: 0xf_0000,
            map: &map,
            uefi: Some(FirmwareFacts {
                system_table: 0x1_2345_6780,
                map: 0x3_0000,
                map_size: 80,
                descriptor_size: 40,
            }),
        };
        let mut page = [0xaa; 4096];
        Kernel::parse(&file)
            .unwrap()
            .write_parameters(&mut page, &parameters);
        assert_eq!(read(&page, field::RAM_DISK), Some(0x2000_0000));
        assert_eq!(read(&page, field::RAM_DISK_HIGH), Some(1));
        assert_eq!(read(&page, field::MAP_ENTRIES), Some(1));
        assert_eq!(read(&page, Field(field::MAP, 8)), Some(1));
        assert_eq!(read(&page, Field(field::MAP + 8, 8)), Some(2));
        assert_eq!(read(&page, Field(field::MAP + 16, 4)), Some(0xefff_ffff));
        assert_eq!(read(&page, field::PREFERRED_ADDRESS), Some(16 * MIB));
        assert_eq!(page[0x1c0..0x1c4], *b"EL64");
        assert_eq!(read(&page, field::FIRMWARE_SYSTEM_TABLE), Some(0x2345_6780));
        assert_eq!(read(&page, field::FIRMWARE_SYSTEM_TABLE_HIGH), Some(1));
        assert_eq!(read(&page, field::FIRMWARE_MAP_SIZE), Some(80));
    }
}
