//! Reading a payload: a static ELF file for x86-64, linked at fixed addresses.

use alloc::vec::Vec;

use adyton_abi::PAGE_SIZE;
use object::LittleEndian;
use object::elf::{EM_X86_64, ET_EXEC, FileHeader64, PF_W, PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::tables::Access;

/// Why a file is no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not ELF, or cut off.
    #[error("the file is not a whole ELF file")]
    NotElf,
    /// For another machine, or position-independent.
    #[error("the file is not a static x86-64 program linked at fixed addresses")]
    WrongKind,
    /// Segments that overlap a page, wrap around, or hold less than the file gives.
    #[error("the segments of the file contradict each other")]
    Segments,
}

/// A part of the image.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'data> {
    /// First address; need not be page-aligned.
    pub address: u64,
    /// Bytes in memory; those that `contents` does not reach are zero.
    pub size: u64,
    /// Bytes from the file.
    pub contents: &'data [u8],
    /// Rights.
    pub access: Access,
}

impl Segment<'_> {
    /// First page of the segment.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.address / PAGE_SIZE * PAGE_SIZE
    }

    /// End of its last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        (self.address + self.size).next_multiple_of(PAGE_SIZE)
    }
}

/// A payload: at least one segment, in rising order, none sharing a page.
#[derive(Clone, Debug)]
pub struct Image<'data> {
    /// Address of the first instruction.
    pub entry: u64,
    /// The segments.
    pub segments: Vec<Segment<'data>>,
}

/// Highest address that an image may reach: far below what 48 bits can say.
const HIGHEST: u64 = 1 << 40;

impl<'data> Image<'data> {
    /// Reads an ELF file.
    ///
    /// # Errors
    /// Says what the file is not.
    pub fn parse(file: &'data [u8]) -> Result<Self, ImageError> {
        let header = FileHeader64::<LittleEndian>::parse(file).map_err(|_| ImageError::NotElf)?;
        let endian = header.endian().map_err(|_| ImageError::WrongKind)?;
        if header.e_machine(endian) != EM_X86_64 || header.e_type(endian) != ET_EXEC {
            return Err(ImageError::WrongKind);
        }
        let programs = header
            .program_headers(endian, file)
            .map_err(|_| ImageError::NotElf)?;
        let mut segments = Vec::new();
        for program in programs {
            if program.p_type(endian) == PT_LOAD && program.p_memsz(endian) != 0 {
                let contents = program
                    .data(endian, file)
                    .map_err(|()| ImageError::NotElf)?;
                let flags = program.p_flags(endian);
                let access = Access {
                    write: flags & PF_W == PF_W,
                    execute: flags & PF_X == PF_X,
                };
                let address = program.p_vaddr(endian);
                segments.push(Segment {
                    address,
                    size: program.p_memsz(endian),
                    contents,
                    access,
                });
            }
        }
        check(&segments)?;
        Ok(Self {
            entry: header.e_entry(endian),
            segments,
        })
    }

    /// First page of the image.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.segments.first().map_or(0, Segment::first)
    }

    /// End of its last page.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.last().map_or(0, Segment::end)
    }
}

fn check(segments: &[Segment<'_>]) -> Result<(), ImageError> {
    let mut free = PAGE_SIZE;
    for segment in segments {
        let end = segment
            .address
            .checked_add(segment.size)
            .ok_or(ImageError::Segments)?;
        let cut = segment.contents.len() as u64 > segment.size;
        if cut || end > HIGHEST || segment.first() < free {
            return Err(ImageError::Segments);
        }
        free = segment.end();
    }
    if segments.is_empty() {
        Err(ImageError::Segments)
    } else {
        Ok(())
    }
}
