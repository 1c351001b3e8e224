//! What GRUB hands over where there is no UEFI: the Multiboot2 information (Multiboot2 specification 2.0, section 3.6).
//!
//! Its modules are domain 0's kernel and then, where there is one, its initial RAM disk; nothing measures any of it. The header
//! that asks for it stands in [`super::entry`].

use arrayvec::ArrayVec;

use super::bundle::Bundle;
use super::handover::{COMMAND_LINE_SIZE, Handover};
use crate::acpi;
use crate::memory::{Kind, MAXIMUM_ENTRIES, MemoryEntry, Range};
use crate::physical;

/// Bytes before the first tag: total size and a reserved word.
const HEAD: usize = 8;
/// Bytes before a tag's contents: type and size.
const TAG_HEAD: usize = 8;
const TAG_ALIGNMENT: usize = 8;

/// Types of tags (section 3.6).
mod tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const MODULE: u32 = 3;
    pub const MEMORY_MAP: u32 = 6;
}

/// Why the information cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultibootError {
    /// A tag or one of its entries reaches beyond its end.
    Short,
    /// More entries of the memory map than can be held.
    LongMap,
    /// No module: domain 0 has no kernel.
    NoKernel,
    /// More modules than kernel and initial RAM disk.
    Modules,
    /// The command line is longer than the boot protocol allows.
    LongCommandLine,
}

/// What the tags say.
#[derive(Debug, Default)]
struct Information {
    memory: ArrayVec<MemoryEntry, MAXIMUM_ENTRIES>,
    modules: ArrayVec<Range, 2>,
    command_line: ArrayVec<u8, COMMAND_LINE_SIZE>,
}

impl Information {
    /// Reads all tags.
    fn parse(bytes: &[u8]) -> Result<Self, MultibootError> {
        let mut information = Self::default();
        let mut rest = bytes.get(HEAD..).ok_or(MultibootError::Short)?;
        loop {
            let (kind, size) = (word(rest, 0)?, word(rest, 4)? as usize);
            let contents = rest.get(TAG_HEAD..size).ok_or(MultibootError::Short)?;
            match kind {
                tag::END => return Ok(information),
                tag::COMMAND_LINE => information.set_command_line(contents)?,
                tag::MODULE => information.add_module(contents)?,
                tag::MEMORY_MAP => information.add_map(contents)?,
                _ => {}
            }
            let next = size.next_multiple_of(TAG_ALIGNMENT);
            rest = rest.get(next..).ok_or(MultibootError::Short)?;
        }
    }

    fn set_command_line(&mut self, contents: &[u8]) -> Result<(), MultibootError> {
        let text = contents.split(|&byte| byte == 0).next().unwrap_or_default();
        // One byte is the terminator's.
        if text.len() >= COMMAND_LINE_SIZE {
            return Err(MultibootError::LongCommandLine);
        }
        let copied = self.command_line.try_extend_from_slice(text);
        copied.map_err(|_| MultibootError::LongCommandLine)
    }

    fn add_module(&mut self, contents: &[u8]) -> Result<(), MultibootError> {
        let range = Range {
            start: word(contents, 0)?.into(),
            end: word(contents, 4)?.into(),
        };
        let added = self.modules.try_push(range);
        added.map_err(|_| MultibootError::Modules)
    }

    fn add_map(&mut self, contents: &[u8]) -> Result<(), MultibootError> {
        const ENTRY: usize = 24;
        let entry_size = word(contents, 0)? as usize;
        if entry_size < ENTRY {
            return Err(MultibootError::Short);
        }
        let entries = contents.get(8..).ok_or(MultibootError::Short)?;
        for entry in entries.chunks_exact(entry_size) {
            let double =
                |at| Ok(u64::from(word(entry, at)?) | u64::from(word(entry, at + 4)?) << 32);
            let start = double(0)?;
            let end = start.saturating_add(double(8)?);
            let entry = MemoryEntry {
                range: Range { start, end },
                kind: Kind::from_number(word(entry, 16)?),
            };
            let added = self.memory.try_push(entry);
            added.map_err(|_| MultibootError::LongMap)?;
        }
        Ok(())
    }

    fn into_handover(self, root_pointer: u64) -> Result<Handover, MultibootError> {
        let kernel = *self.modules.first().ok_or(MultibootError::NoKernel)?;
        Ok(Handover {
            memory: self.memory,
            held: ArrayVec::new(),
            bundle: Bundle {
                kernel,
                ram_disk: self.modules.get(1).copied().unwrap_or_default(),
            },
            command_line: self.command_line,
            root_pointer,
            uefi: None,
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, MultibootError> {
    let bytes = bytes.get(at..at + 4).ok_or(MultibootError::Short)?;
    let bytes = bytes.try_into().map_err(|_| MultibootError::Short)?;
    Ok(u32::from_le_bytes(bytes))
}

/// Copies the information at `address`.
///
/// # Panics
/// If it cannot be used, or there is no ACPI.
///
/// # Safety
/// `address` must be what the loader handed over, and nothing may have overwritten it yet.
#[must_use]
pub unsafe fn read(address: u64) -> Handover {
    let at = |size: u64| Range {
        start: address,
        end: address + size,
    };
    // SAFETY: the loader put it there; its first word is its size.
    let head = unsafe { physical::bytes(at(HEAD as u64)) };
    let size = word(head, 0).unwrap_or_default();
    // SAFETY: as above.
    let bytes = unsafe { physical::bytes(at(size.into())) };
    // The loader's own copy of the ACPI root pointer lies where domain 0 may put something else.
    let root_pointer = acpi::find_root_pointer(&physical::Memory)
        .unwrap_or_else(|| panic!("the firmware has no ACPI root pointer"));
    Information::parse(bytes)
        .and_then(|information| information.into_handover(root_pointer))
        .unwrap_or_else(|reason| panic!("the Multiboot2 information cannot be used: {reason:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u32, contents: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((8 + contents.len() as u32).to_le_bytes());
        bytes.extend(contents);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn information(tags: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        tags.iter().for_each(|tag| bytes.extend(tag));
        bytes.extend(tag(tag::END, &[]));
        let size = bytes.len() as u32;
        bytes[..4].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn map() -> Vec<u8> {
        let entries = [
            24, 0, 0x10_0000, 0, 0x700_0000, 0, 1, 0, 0, 1, 0x1000, 0, 2, 0,
        ];
        tag(tag::MEMORY_MAP, &words(&entries))
    }

    fn module(start: u32, end: u32) -> Vec<u8> {
        let mut contents = words(&[start, end]);
        contents.extend(b"name\0");
        tag(tag::MODULE, &contents)
    }

    #[test]
    fn tags_are_read() {
        let bytes = information(&[
            tag(tag::COMMAND_LINE, b"quiet adyton.pool=1G\0"),
            tag(21, &[1, 2, 3]),
            map(),
            module(0x100, 0x200),
            module(0x1000, 0x3000),
        ]);
        let handover = Information::parse(&bytes)
            .unwrap()
            .into_handover(7)
            .unwrap();
        assert_eq!(&handover.command_line[..], b"quiet adyton.pool=1G");
        assert_eq!(handover.bundle.kernel.size(), 0x100);
        assert_eq!(handover.bundle.ram_disk.start, 0x1000);
        assert_eq!(handover.root_pointer, 7);
        assert_eq!(handover.memory.len(), 2);
        assert_eq!(handover.memory[0].range.end, 0x710_0000);
        assert_eq!(handover.memory[1].range.start, 1 << 32);
        assert_eq!(handover.memory[1].kind, Kind::Reserved);
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        let parse = |tags: &[Vec<u8>]| {
            Information::parse(&information(tags))?
                .into_handover(0)
                .map(|_| ())
        };
        assert_eq!(parse(&[map()]), Err(MultibootError::NoKernel));
        let three = [module(0, 1), module(1, 2), module(2, 3)];
        assert_eq!(parse(&three), Err(MultibootError::Modules));
        let long = tag(tag::COMMAND_LINE, &[b'a'; COMMAND_LINE_SIZE]);
        assert_eq!(parse(&[long]), Err(MultibootError::LongCommandLine));
        let entries = [24, 0, 0, 0, 1, 0, 1, 0];
        let many: Vec<_> = (0..=MAXIMUM_ENTRIES)
            .map(|_| tag(tag::MEMORY_MAP, &words(&entries)))
            .collect();
        assert_eq!(parse(&many), Err(MultibootError::LongMap));
        let tiny = tag(tag::MEMORY_MAP, &words(&[0, 0, 0, 0]));
        assert_eq!(parse(&[tiny]), Err(MultibootError::Short));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = information(&[map(), module(0x100, 0x200)]);
        for end in 0..bytes.len() {
            assert!(Information::parse(&bytes[..end]).is_err(), "{end}");
        }
    }
}
