//! Enclaves by the kernel's driver: `/dev/sgx_enclave` (Linux, `arch/x86/include/uapi/asm/sgx.h`).
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc;

use super::image::{HEAP_FLAGS, Image, PAGE};
use super::signature;

const DEVICE: &str = "/dev/sgx_enclave";
const CREATE: u64 = 0x4008_a400;
const ADD_PAGES: u64 = 0xc030_a401;
const INITIALIZE: u64 = 0x4008_a402;
const RESTRICT: u64 = 0xc028_a405;
/// ADD_PAGES measures.
const MEASURE: u64 = 1;

/// An enclave. It ends with the value.
#[derive(Debug)]
pub struct Enclave {
    device: File,
    /// Its first linear address.
    pub base: u64,
    /// Bytes of its address space.
    pub size: u64,
    /// What is kept free for it.
    reserved: Range<u64>,
}

#[repr(C, align(4096))]
struct Aligned([u8; PAGE]);

impl Enclave {
    /// Loads an image and initializes it with its own signature.
    pub fn load(image: &Image) -> Result<Self> {
        let enclave = Self::build(image)?;
        let signed = signature::sign(&image.measurement(), image.attributes);
        enclave.initialize(&signed)?;
        Ok(enclave)
    }

    /// Loads an image.
    pub fn build(image: &Image) -> Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open(DEVICE);
        let device = device.context("the driver's device")?;
        let reserved = reserve(image)?;
        let base = image
            .base
            .unwrap_or(reserved.start.next_multiple_of(image.size));
        let enclave = Self {
            device,
            base,
            size: image.size,
            reserved,
        };
        enclave.create(image)?;
        for (page, number) in image.pages.iter().zip(0..) {
            enclave.add(number, &page.bytes, page.flags, MEASURE)?;
        }
        let heap = image.heap_pages();
        for number in heap.clone() {
            enclave.add(number, &[0; PAGE], HEAP_FLAGS, 0)?;
        }
        for (page, number) in image.pages.iter().zip(0..) {
            enclave.map(number, 1, protection(page.flags))?;
        }
        if image.heap > 0 {
            enclave.map(heap.start, image.heap, protection(HEAP_FLAGS))?;
        }
        Ok(enclave)
    }

    fn create(&self, image: &Image) -> Result<()> {
        let mut secs = Box::new(Aligned([0; PAGE]));
        let mut put = |place: usize, bytes: &[u8]| {
            secs.0[place..place + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &self.size.to_le_bytes());
        put(8, &self.base.to_le_bytes());
        put(16, &image.frame_pages.to_le_bytes());
        put(20, &image.attributes.miscselect.to_le_bytes());
        put(48, &image.attributes.flags.to_le_bytes());
        put(56, &image.attributes.xfrm.to_le_bytes());
        self.command(CREATE, &mut [&raw const *secs as u64])
            .context("the enclave is created")
    }

    fn add(&self, number: u64, bytes: &[u8; PAGE], flags: u64, measured: u64) -> Result<()> {
        let source = Box::new(Aligned(*bytes));
        let mut secinfo = Box::new(Aligned([0; PAGE]));
        secinfo.0[..8].copy_from_slice(&flags.to_le_bytes());
        let mut arguments = [
            &raw const *source as u64,
            number * PAGE as u64,
            PAGE as u64,
            &raw const *secinfo as u64,
            measured,
            0,
        ];
        self.command(ADD_PAGES, &mut arguments)
            .with_context(|| format!("page {number} is added"))
    }

    /// EINIT, with this signature.
    pub fn initialize(&self, signed: &[u8; signature::SIZE]) -> Result<()> {
        let signed = Box::new(*signed);
        self.command(INITIALIZE, &mut [signed.as_ptr() as u64])
            .context("the enclave is initialized")
    }

    /// Maps pages of the enclave, in place of what was mapped there.
    pub fn map(&self, number: u64, count: u64, protection: i32) -> Result<()> {
        let address = self.base + number * PAGE as u64;
        let size = count as usize * PAGE;
        // SAFETY: inside the reservation, which belongs to this enclave.
        let place = unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                size,
                protection,
                libc::MAP_SHARED | libc::MAP_FIXED,
                self.device.as_raw_fd(),
                0,
            )
        };
        ensure!(
            place as u64 == address,
            "page {number} cannot be mapped: {}",
            Errno::last()
        );
        Ok(())
    }

    /// Changes how pages are mapped.
    pub fn protect(&self, number: u64, count: u64, protection: i32) -> Result<()> {
        let address = self.base + number * PAGE as u64;
        // SAFETY: pages of the enclave, to which no reference points.
        let done = unsafe {
            libc::mprotect(
                address as *mut libc::c_void,
                count as usize * PAGE,
                protection,
            )
        };
        Errno::result(done).context("mprotect")?;
        Ok(())
    }

    /// Takes all rights to a page but reading away (EMODPR).
    pub fn restrict_to_reading(&self, number: u64) -> Result<()> {
        const READ: u64 = 1;
        let mut arguments = [number * PAGE as u64, PAGE as u64, READ, 0, 0];
        self.command(RESTRICT, &mut arguments)
            .with_context(|| format!("page {number} is restricted"))
    }

    /// The linear address of a page.
    pub fn page(&self, number: u64) -> u64 {
        self.base + number * PAGE as u64
    }

    fn command(&self, request: u64, words: &mut [u64]) -> Result<()> {
        // SAFETY: the words are the structure of this request, and what they point to lives.
        let done = unsafe { libc::ioctl(self.device.as_raw_fd(), request, words.as_mut_ptr()) };
        Errno::result(done)?;
        ensure!(done == 0, "the driver returns {done}");
        Ok(())
    }
}

impl Drop for Enclave {
    fn drop(&mut self) {
        let Range { start, end } = self.reserved;
        // SAFETY: the reservation is this enclave's, and no reference points into it.
        unsafe { libc::munmap(start as *mut libc::c_void, (end - start) as usize) };
    }
}

/// Addresses that nothing else gets, with room for the image.
fn reserve(image: &Image) -> Result<Range<u64>> {
    let (wanted, size, fixed) = match image.base {
        Some(base) => (base, image.size, libc::MAP_FIXED_NOREPLACE),
        None => (0, 2 * image.size, 0),
    };
    // SAFETY: an anonymous reservation, where nothing is yet.
    let start = unsafe {
        libc::mmap(
            wanted as *mut libc::c_void,
            size as usize,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed,
            -1,
            0,
        )
    };
    ensure!(start != libc::MAP_FAILED, "no addresses for the enclave");
    Ok(start as u64..start as u64 + size)
}

/// How a page with these SECINFO flags is mapped.
fn protection(flags: u64) -> i32 {
    use super::image::secinfo;
    if flags & 0xff00 == secinfo::TCS {
        return libc::PROT_READ | libc::PROT_WRITE;
    }
    let rights = [
        (secinfo::READ, libc::PROT_READ),
        (secinfo::WRITE, libc::PROT_WRITE),
        (secinfo::EXECUTE, libc::PROT_EXEC),
    ];
    rights
        .into_iter()
        .filter(|(right, _)| flags & right != 0)
        .fold(0, |all, (_, right)| all | right)
}
