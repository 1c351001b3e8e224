//! Long-mode page tables: entries, indices, page-fault error codes, and the control bits that govern the walk.
//!
//! The same format serves a guest's own tables and AMD's nested tables (APM volume 2, sections 5.3, 5.6 and 15.25).

/// Entries in one table.
pub const ENTRIES: usize = 512;

/// Bytes that one entry maps at `level`: 0 for a page table's 4 KiB, 1 for 2 MiB, 2 for 1 GiB, and so on up to 4.
#[inline]
#[must_use]
pub const fn span(level: u8) -> u64 {
    4096 << (9 * level as u32)
}

/// Which entry of a table at `level` translates `address`; always below [`ENTRIES`].
#[inline]
#[must_use]
pub const fn index(address: u64, level: u8) -> usize {
    ((address >> (12 + 9 * level as u32)) & 511) as usize
}

/// One entry of a table at any level (APM volume 2, figures 5-17 to 5-25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(pub u64);

const _: () = assert!(size_of::<Entry>() == 8);

impl Entry {
    /// The entry translates.
    pub const PRESENT: u64 = 1 << 0;
    /// Writes are allowed.
    pub const WRITABLE: u64 = 1 << 1;
    /// User mode is allowed (in nested tables: all guest accesses are user accesses).
    pub const USER: u64 = 1 << 2;
    /// Write through.
    pub const WRITE_THROUGH: u64 = 1 << 3;
    /// Not cached.
    pub const CACHE_DISABLE: u64 = 1 << 4;
    /// The entry was used in a walk.
    pub const ACCESSED: u64 = 1 << 5;
    /// The page was written to.
    pub const DIRTY: u64 = 1 << 6;
    /// Above the last level: a large page, not a table.
    pub const LARGE: u64 = 1 << 7;
    /// Survives a write to CR3.
    pub const GLOBAL: u64 = 1 << 8;
    /// Software's own bits (APM volume 2, section 5.4.1).
    pub const AVAILABLE: u64 = 0x7f << 52 | 7 << 9;
    /// Fetching instructions is not allowed.
    pub const NO_EXECUTE: u64 = 1 << 63;
    /// Where the address stands: bits 51 to 12.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    /// The lowest of the four bits that hold the protection key.
    pub const PROTECTION_KEY_SHIFT: u32 = 59;

    /// Whether all of `bits` are set.
    #[inline]
    #[must_use]
    pub const fn has(self, bits: u64) -> bool {
        self.0 & bits == bits
    }

    /// Whether the entry maps a page if it stands in a table at `level`, rather than naming a table.
    #[inline]
    #[must_use]
    pub const fn is_leaf(self, level: u8) -> bool {
        level == 0 || self.has(Self::LARGE)
    }

    /// The address of the table that it names.
    #[inline]
    #[must_use]
    pub const fn table(self) -> u64 {
        self.0 & Self::ADDRESS
    }

    /// The address of the page that it maps, from a table at `level`: without the low bits, where a large page has
    /// its PAT bit.
    #[inline]
    #[must_use]
    pub const fn page(self, level: u8) -> u64 {
        self.0 & Self::ADDRESS & !(span(level) - 1)
    }

    /// The page's protection key.
    #[inline]
    #[must_use]
    pub const fn protection_key(self) -> u32 {
        (self.0 >> Self::PROTECTION_KEY_SHIFT) as u32 & 15
    }
}

/// The error code of a page fault (APM volume 2, section 8.4.2).
pub mod fault {
    /// The page was present: a right was missing.
    pub const PRESENT: u32 = 1 << 0;
    /// The access was a write.
    pub const WRITE: u32 = 1 << 1;
    /// The access was made in user mode.
    pub const USER: u32 = 1 << 2;
    /// A reserved bit was set in an entry.
    pub const RESERVED: u32 = 1 << 3;
    /// The access was an instruction fetch.
    pub const FETCH: u32 = 1 << 4;
    /// The protection key forbids it.
    pub const PROTECTION_KEY: u32 = 1 << 5;
    /// A check that belongs to SGX forbids it (Intel SDM volume 3, section 4.7).
    pub const SGX: u32 = 1 << 15;
}

/// Bits of CR0 that govern paging.
pub mod cr0 {
    /// Protected mode.
    pub const PROTECTION: u64 = 1 << 0;
    /// The supervisor too is bound by the W bit.
    pub const WRITE_PROTECT: u64 = 1 << 16;
    /// Paging is on.
    pub const PAGING: u64 = 1 << 31;
}

/// Bits of CR4 that govern paging.
pub mod cr4 {
    /// 8-byte entries.
    pub const PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
    /// Five levels.
    pub const FIVE_LEVELS: u64 = 1 << 12;
    /// The supervisor does not execute user pages (SMEP).
    pub const SUPERVISOR_EXECUTION_PREVENTION: u64 = 1 << 20;
    /// The supervisor does not touch user pages (SMAP).
    pub const SUPERVISOR_ACCESS_PREVENTION: u64 = 1 << 21;
    /// Protection keys for user pages are on.
    pub const PROTECTION_KEYS: u64 = 1 << 22;
}

/// Bits of EFER that govern paging.
pub mod efer {
    /// Long mode is active.
    pub const LONG_MODE_ACTIVE: u64 = 1 << 10;
    /// The NX bit has a meaning.
    pub const NO_EXECUTE_ENABLE: u64 = 1 << 11;
}
