//! The monitor as a UEFI application: its ELF segments behind a PE32+ header.
//!
//! The monitor is linked to one address and has no relocations, and the header says so: the firmware
//! then loads it there or not at all. The image base lies [`HEADER_SPACE`] below the first segment,
//! where the header goes. Layout: Microsoft's PE format; UEFI 2.10 section 2.1.1.

use anyhow::{Context, Result, ensure};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSymbol, elf};
use sha2::{Digest, Sha256};

/// From the image base to the first segment: bases are multiples of 64 KiB.
const HEADER_SPACE: u64 = 0x1_0000;
const FILE_ALIGNMENT: usize = 0x200;
const SECTION_ALIGNMENT: u32 = 0x1000;
const OPTIONAL_HEADER_SIZE: u16 = 240;
const SECTION_HEADER_SIZE: usize = 40;

/// Where the application begins, and what ends with its last page.
const ENTRY: &str = "uefi_entry";
const END: &str = "image_end";

/// A segment as a section.
struct Section {
    name: &'static [u8; 8],
    flags: u32,
    /// Relative to the image base.
    address: u32,
    memory: u32,
    bytes: Vec<u8>,
}

impl Section {
    fn raw_size(&self) -> usize {
        self.bytes.len().next_multiple_of(FILE_ALIGNMENT)
    }
}

/// Makes the application of the monitor's ELF file.
pub fn application(elf: &[u8]) -> Result<Vec<u8>> {
    let file = ElfFile64::<LittleEndian>::parse(elf)?;
    let symbol = |name: &str| {
        let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
        let found = found.with_context(|| format!("the monitor has no symbol {name}"))?;
        Ok::<u64, anyhow::Error>(found.address())
    };
    let first = file
        .elf_program_headers()
        .iter()
        .filter(|header| header.p_type(LittleEndian) == elf::PT_LOAD)
        .map(|header| header.p_vaddr(LittleEndian))
        .min()
        .context("the monitor has no segments")?;
    let base = first - HEADER_SPACE;
    let mut sections = Vec::new();
    for header in file.elf_program_headers() {
        if header.p_type(LittleEndian) != elf::PT_LOAD {
            continue;
        }
        let bytes = header
            .data(LittleEndian, elf)
            .ok()
            .context("a segment lies outside the file")?;
        let (name, flags) = kind(header.p_flags(LittleEndian));
        sections.push(Section {
            name,
            flags,
            address: relative(header.p_vaddr(LittleEndian), base)?,
            memory: u32::try_from(header.p_memsz(LittleEndian))?,
            bytes: bytes.to_vec(),
        });
    }
    ensure!(
        file.elf_header().e_machine(LittleEndian) == elf::EM_X86_64,
        "the monitor is for another processor"
    );
    let end = relative(symbol(END)?, base)?;
    if let Some(last) = sections.last_mut() {
        // The firmware allocates whole what the monitor takes for its own.
        last.memory = end - last.address;
    }
    Ok(lay_out(
        base,
        relative(symbol(ENTRY)?, base)?,
        end,
        &sections,
    ))
}

/// SHA-256 in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Lower-case digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn relative(address: u64, base: u64) -> Result<u32> {
    let distance = address
        .checked_sub(base)
        .context("a segment below the first")?;
    Ok(u32::try_from(distance)?)
}

/// A section's name and characteristics.
fn kind(flags: elf::ProgramFlags) -> (&'static [u8; 8], u32) {
    const CODE: u32 = 0x20;
    const DATA: u32 = 0x40;
    const EXECUTE: u32 = 0x2000_0000;
    const READ: u32 = 0x4000_0000;
    const WRITE: u32 = 0x8000_0000;
    if flags.contains(elf::PF_X) {
        (b".text\0\0\0", CODE | EXECUTE | READ)
    } else if flags.contains(elf::PF_W) {
        (b".data\0\0\0", DATA | READ | WRITE)
    } else {
        (b".rodata\0", DATA | READ)
    }
}

/// Little-endian fields, one after the other.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn words(&mut self, values: &[u16]) {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
    }

    fn doubles(&mut self, values: &[u32]) {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
    }

    fn quads(&mut self, values: &[u64]) {
        values
            .iter()
            .for_each(|value| self.0.extend(value.to_le_bytes()));
    }
}

const DOS_HEADER_SIZE: usize = 64;
const OPTIONAL_HEADER: usize = DOS_HEADER_SIZE + 24;

fn lay_out(base: u64, entry: u32, end: u32, sections: &[Section]) -> Vec<u8> {
    let headers =
        OPTIONAL_HEADER + usize::from(OPTIONAL_HEADER_SIZE) + sections.len() * SECTION_HEADER_SIZE;
    let headers = headers.next_multiple_of(FILE_ALIGNMENT);
    let mut fields = Fields::default();
    fields.0.extend(b"MZ");
    fields.0.resize(DOS_HEADER_SIZE - 4, 0);
    fields.doubles(&[DOS_HEADER_SIZE as u32]);
    file_header(&mut fields, sections.len());
    optional_header(&mut fields, base, [entry, end, headers as u32], sections);
    let mut place = headers;
    for section in sections {
        fields.0.extend(section.name);
        fields.doubles(&[section.memory, section.address]);
        fields.doubles(&[
            section.raw_size() as u32,
            place as u32,
            0,
            0,
            0,
            section.flags,
        ]);
        place += section.raw_size();
    }
    let mut image = fields.0;
    image.resize(headers, 0);
    for section in sections {
        let end = image.len() + section.raw_size();
        image.extend(&section.bytes);
        image.resize(end, 0);
    }
    image
}

fn file_header(fields: &mut Fields, sections: usize) {
    const X86_64: u16 = 0x8664;
    // No relocations, executable, large addresses.
    const CHARACTERISTICS: u16 = 0x0001 | 0x0002 | 0x0020;
    fields.0.extend(b"PE\0\0");
    fields.words(&[X86_64, sections as u16]);
    fields.doubles(&[0, 0, 0]);
    fields.words(&[OPTIONAL_HEADER_SIZE, CHARACTERISTICS]);
}

fn optional_header(
    fields: &mut Fields,
    base: u64,
    [entry, end, headers]: [u32; 3],
    sections: &[Section],
) {
    const PE32_PLUS: u16 = 0x20b;
    const EFI_APPLICATION: u16 = 10;
    const NX_COMPATIBLE: u16 = 0x100;
    const DIRECTORIES: u32 = 16;
    let code = sections
        .first()
        .map_or((0, 0), |text| (text.raw_size() as u32, text.address));
    let data: usize = sections.iter().skip(1).map(Section::raw_size).sum();
    fields.words(&[PE32_PLUS, 0]);
    fields.doubles(&[code.0, data as u32, 0, entry, code.1]);
    fields.quads(&[base]);
    fields.doubles(&[SECTION_ALIGNMENT, FILE_ALIGNMENT as u32, 0, 0, 0, 0]);
    fields.doubles(&[end, headers, 0]);
    fields.words(&[EFI_APPLICATION, NX_COMPATIBLE]);
    fields.quads(&[0, 0, 0, 0]);
    fields.doubles(&[0, DIRECTORIES]);
    fields.quads(&[0; DIRECTORIES as usize]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::read::pe::PeFile64;
    use object::{ObjectSection, SectionKind};

    #[test]
    fn the_header_says_what_the_sections_hold() {
        let section = |name, flags, address, memory, byte, size| Section {
            name,
            flags,
            address,
            memory,
            bytes: vec![byte; size],
        };
        let (text, text_flags) = kind(elf::PF_X | elf::PF_R);
        let (data, data_flags) = kind(elf::PF_W | elf::PF_R);
        let sections = [
            section(text, text_flags, 0x1_0000, 700, 1, 700),
            section(data, data_flags, 0x1_1000, 0x1f_f000, 2, 5),
        ];
        let image = lay_out(0x7ff_0000, 0x1_0077, 0x21_0000, &sections);
        let file = PeFile64::parse(&*image).unwrap();
        assert_eq!(file.relative_address_base(), 0x7ff_0000);
        assert_eq!(file.entry(), 0x800_0077);
        let found: Vec<_> = file.sections().collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].address(), found[0].size()), (0x800_0000, 700));
        assert_eq!(found[0].kind(), SectionKind::Text);
        assert_eq!(&found[0].data().unwrap()[..700], &[1; 700]);
        assert_eq!(found[1].size(), 0x1f_f000);
        assert_eq!(&found[1].data().unwrap()[..5], &[2; 5]);
    }
}
