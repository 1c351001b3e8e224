//! The payload `enclosed`, in an enclave or outside of one: the same bytes at the same addresses, so that the two can be compared.
#![allow(unsafe_code)]

use std::ptr;

use adyton::Image as File;
use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;

use super::code::{self, Entered, Leaf};
use super::driver::Enclave;
use super::image::{Attributes, Image, PAGE, Page, secinfo};
use super::{control, data};
use crate::fixture::payload;

/// What the program and its host agree on.
#[path = "../../../payloads/src/bin/enclosed/agreement.rs"]
pub mod agreement;

use agreement::{BASE, Block, ROOM, call, entry};

/// Bytes of address space.
const SIZE: u64 = 128 << 20;

/// Where the program is.
enum Place {
    /// In an enclave, entered by the vDSO's function.
    Inside {
        _enclave: Enclave,
        tcs: u64,
        function: u64,
    },
    /// In this process, like any other code.
    Outside,
}

#[repr(align(4096))]
struct Room([u8; ROOM]);

/// The program, which does one piece of work after the other.
pub struct Program {
    place: Place,
    block: Box<Block>,
    /// What the block names, which stays where it is.
    room: Box<Room>,
}

impl Program {
    /// In an enclave, with so many bytes of memory of its own.
    ///
    /// # Errors
    /// What reading and loading it meet.
    pub fn inside(memory: u64) -> Result<Self> {
        let file = payload("enclosed")?;
        let mut pages = pages(&File::parse(&file)?)?;
        // A TCS, its two frames, and what FS and GS begin at.
        let tcs = pages.len() as u64;
        pages.push(control(tcs + 1, 0, tcs + 3));
        pages.extend((0..3).map(|_| data(0)));
        let image = Image {
            size: SIZE,
            base: Some(BASE),
            frame_pages: 1,
            attributes: Attributes::PLAIN,
            pages,
            heap: memory / PAGE as u64,
        };
        let enclave = Enclave::load(&image)?;
        let start = enclave.page(image.heap_pages().start);
        let place = Place::Inside {
            tcs: enclave.page(tcs),
            function: code::vdso_function().context("the vDSO's function")?,
            _enclave: enclave,
        };
        Ok(Self::new(place, [start, memory]))
    }

    /// Outside, with as much memory.
    ///
    /// # Errors
    /// What reading and mapping it meet.
    pub fn outside(memory: u64) -> Result<Self> {
        let file = payload("enclosed")?;
        let pages = pages(&File::parse(&file)?)?;
        map()?;
        for (page, address) in pages.iter().zip((BASE..).step_by(PAGE)) {
            // SAFETY: just mapped, and not used yet.
            unsafe { ptr::copy_nonoverlapping(page.bytes.as_ptr(), address as *mut u8, PAGE) };
        }
        // As far from the program as in the enclave.
        let start = BASE + (pages.len() + 4) as u64 * PAGE as u64;
        Ok(Self::new(Place::Outside, [start, memory]))
    }

    fn new(place: Place, memory: [u64; 2]) -> Self {
        let mut room = Box::new(Room([0; ROOM]));
        let block = Block {
            work: 0,
            operands: [0; 3],
            memory,
            room: room.0.as_mut_ptr() as u64,
            asks: 0,
            call: 0,
            arguments: [0; 3],
            result: 0,
        };
        Self {
            place,
            block: Box::new(block),
            room,
        }
    }

    /// Does a piece of work to its end, and answers what it asks for meanwhile.
    ///
    /// # Errors
    /// If the enclave is left by an exception.
    pub fn run(&mut self, work: u64, operands: [u64; 3]) -> Result<u64> {
        (self.block.work, self.block.operands) = (work, operands);
        let block = &raw mut *self.block;
        match &self.place {
            Place::Inside { tcs, function, .. } => {
                let enter =
                    |how| code::enter_by_vdso(*function, *tcs, Leaf::Enter, how, [block as u64, 0]);
                let mut entered = enter(entry::BEGIN);
                while asks(&entered, block)? {
                    answer(block);
                    entered = enter(entry::ANSWERED);
                }
            }
            Place::Outside => {
                // SAFETY: the program's first instruction is the first byte of the copy, and takes these as C functions do.
                unsafe {
                    let begin: extern "C" fn(u64, *mut Block, extern "C" fn(*mut Block)) =
                        std::mem::transmute(BASE as *const u8);
                    begin(entry::PLAIN, block, answer);
                }
            }
        }
        Ok(self.block.result)
    }

    /// Words that the program says it has put at this address.
    ///
    /// # Errors
    /// If the host gave it no memory there.
    pub fn shown(&self, address: u64, count: usize) -> Result<&[u64]> {
        let room = (&raw const *self.room) as u64;
        let [start, size] = self.block.memory;
        let bytes = 8 * count as u64;
        let is_within = |from: u64, size: u64| address >= from && address + bytes <= from + size;
        ensure!(
            address.is_multiple_of(8)
                && match self.place {
                    Place::Inside { .. } => is_within(room, ROOM as u64),
                    Place::Outside => is_within(start, size),
                },
            "the program shows {address:#x}"
        );
        // SAFETY: mapped memory of this value, which the program writes only while it runs.
        Ok(unsafe { std::slice::from_raw_parts(address as *const u64, count) })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.place, Place::Outside) {
            // SAFETY: the mapping is this program's, and nothing refers to it.
            unsafe { libc::munmap(BASE as *mut libc::c_void, SIZE as usize) };
        }
    }
}

/// Whether the enclave was left to ask for something; it may not be left by an exception.
fn asks(entered: &Entered, block: *const Block) -> Result<bool> {
    ensure!(
        (entered.status, entered.run.function) == (0, 4),
        "the program met {entered:?}"
    );
    // SAFETY: the block lives, and the program that shares it is not running.
    Ok(unsafe { (&raw const (*block).asks).read_volatile() } != 0)
}

/// Answers the call that is in the block.
extern "C" fn answer(block: *mut Block) {
    // SAFETY: as in `asks`. What the calls name is the program's own memory, or the room that was given to it.
    unsafe {
        let [descriptor, address, size] = (*block).arguments;
        let (descriptor, address) = (descriptor as i32, address as *mut libc::c_void);
        (*block).result = match (*block).call {
            call::READ => libc::read(descriptor, address, size as usize) as u64,
            call::WRITE => libc::write(descriptor, address, size as usize) as u64,
            _ => 0,
        };
    }
}

/// The pages of the program, all of them.
fn pages(file: &File<'_>) -> Result<Vec<Page>> {
    ensure!(
        file.entry == BASE && file.first() == BASE,
        "it begins at {:#x}",
        file.entry
    );
    let mut pages = Vec::new();
    for segment in &file.segments {
        let rights = [
            (true, secinfo::READ),
            (segment.access.write, secinfo::WRITE),
            (segment.access.execute, secinfo::EXECUTE),
        ];
        let rights = rights.iter().filter(|(has, _)| *has);
        let flags = rights.fold(secinfo::REGULAR, |all, (_, right)| all | right);
        for address in (segment.first()..segment.end()).step_by(PAGE) {
            let number = (address - BASE) as usize / PAGE;
            // Between two segments there may be pages of neither.
            pages.resize_with(number, || data(0));
            let mut bytes = Box::new([0; PAGE]);
            let from = address.saturating_sub(segment.address) as usize;
            let into = segment.address.saturating_sub(address) as usize;
            let contents = segment.contents.get(from..).unwrap_or_default();
            let count = contents.len().min(PAGE - into);
            bytes[into..into + count].copy_from_slice(&contents[..count]);
            pages.push(Page { bytes, flags });
        }
    }
    Ok(pages)
}

/// Maps the program's addresses, for everything.
fn map() -> Result<()> {
    // SAFETY: new memory, where nothing is yet.
    let place = unsafe {
        libc::mmap(
            BASE as *mut libc::c_void,
            SIZE as usize,
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    ensure!(
        place as u64 == BASE,
        "the program's addresses are in use: {}",
        Errno::last()
    );
    Ok(())
}
