//! The mapping of a pool, and access to the memory in it.
#![allow(unsafe_code)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adyton_compose::environment::{Environment, Request, Response};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::Error;
use crate::call::{Instruction, discover};

/// A shared mapping, unmapped with its last user.
#[derive(Debug)]
struct Mapping {
    base: Option<NonNull<libc::c_void>>,
    size: usize,
}

// SAFETY: the mapping is only reached through raw copies and atomics, from any thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        if let Some(base) = self.base {
            // SAFETY: this mapping is ours, and nobody has its address any more.
            let _unmapped = unsafe { munmap(base, self.size) };
        }
    }
}

/// This process, as the place where calls are made and pool memory is mapped.
#[derive(Clone, Debug)]
pub struct Linux {
    instruction: Instruction,
    mapping: Arc<Mapping>,
}

impl Linux {
    /// A place to make calls from that need no memory.
    ///
    /// # Errors
    /// [`Error::NoMonitor`].
    pub fn without_memory() -> Result<Self, Error> {
        let mapping = Arc::new(Mapping {
            base: None,
            size: 0,
        });
        Ok(Self {
            instruction: discover()?,
            mapping,
        })
    }

    /// Maps `size` bytes of `device`.
    pub(crate) fn map(device: &File, size: u64) -> Result<Self, Error> {
        let instruction = discover()?;
        let size = size as usize;
        let length = NonZeroUsize::new(size).ok_or(Error::Empty)?;
        let rights = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the kernel chooses touches nothing that exists.
        let base = unsafe { mmap(None, length, rights, MapFlags::MAP_SHARED, device, 0) }
            .map_err(|errno| Error::io("mapping the pool", errno))?;
        Ok(Self {
            instruction,
            mapping: Arc::new(Mapping {
                base: Some(base),
                size,
            }),
        })
    }

    /// Virtual address of the first byte.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.mapping.base.map_or(0, |base| base.as_ptr() as u64)
    }

    /// Bytes mapped.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.mapping.size as u64
    }

    /// Has the kernel enter every page into this process's page tables, without touching any, so that the
    /// monitor finds them all mapped.
    pub(crate) fn populate(&self) {
        if let Some(base) = self.mapping.base {
            // SAFETY: populating changes no memory. A refusal (an older kernel) only means that less is listed.
            unsafe { libc::madvise(base.as_ptr(), self.mapping.size, libc::MADV_POPULATE_WRITE) };
        }
    }

    fn pointer(&self, address: u64, size: u64) -> *mut u8 {
        let offset = address.wrapping_sub(self.base());
        let inside = offset <= self.size() && size <= self.size() - offset;
        assert!(inside, "access to {address:#x} outside the pool");
        address as *mut u8
    }

    fn word(&self, address: u64) -> &AtomicU64 {
        let pointer = self.pointer(address, 8);
        assert!(
            address.is_multiple_of(8),
            "word at {address:#x} is not aligned"
        );
        // SAFETY: mapped for as long as `self`, aligned, and an atomic may be changed by others.
        unsafe { AtomicU64::from_ptr(pointer.cast()) }
    }
}

impl Environment for Linux {
    #[inline(always)]
    fn call(&self, request: &Request) -> Response {
        self.instruction.execute(request)
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let to = self.pointer(address, bytes.len() as u64);
        // SAFETY: checked range; `bytes` lies elsewhere, since no reference points into the pool.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }

    fn read(&self, address: u64, bytes: &mut [u8]) {
        let from = self.pointer(address, bytes.len() as u64);
        // SAFETY: as in `write`.
        unsafe { from.copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) }
    }

    fn zero(&self, address: u64, size: u64) {
        let to = self.pointer(address, size);
        // SAFETY: checked range.
        unsafe { to.write_bytes(0, size as usize) }
    }

    fn load(&self, address: u64) -> u64 {
        self.word(address).load(Ordering::Acquire)
    }

    fn store(&self, address: u64, word: u64) {
        self.word(address).store(word, Ordering::Release);
    }

    /// # Panics
    /// When the kernel has no random bytes to give, which no running system reports.
    fn entropy(&self) -> u64 {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
        u64::from_le_bytes(bytes).max(1)
    }

    fn pause(&self) {
        std::thread::sleep(Duration::from_micros(50));
    }

    fn process(&self) -> u64 {
        std::process::id().into()
    }
}
