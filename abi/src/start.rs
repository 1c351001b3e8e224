//! The start page: what a domain finds at its start, by convention between the SDK and the
//! runtime. The monitor knows nothing of it.
//!
//! The SDK's loader builds it into the domain's measured memory; RDI holds its address (virtual
//! and guest-physical are the same in the page tables that the loader builds) at the first
//! instruction. vCPU n starts with n added to that address, which is how it knows its number.

/// [`StartPage::magic`].
pub const START_MAGIC: u64 = 0x3174_7261_7453_4441;

/// A range of guest-physical memory; `size` 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Range {
    /// Guest-physical address of the first byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// Most shared windows that a start page describes.
pub const WINDOWS: usize = 8;

/// The start page's layout; the rest of the page is reserved.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StartPage {
    /// [`START_MAGIC`].
    pub magic: u64,
    /// [`crate::VERSION`].
    pub version: u64,
    /// Free private memory behind image and stacks, for the payload's heap.
    pub heap: Range,
    /// The domain's own pool.
    pub pool: Range,
    /// Pages of monitor memory that the domain has for itself and its pool.
    pub quota: u64,
    /// vCPUs of the domain.
    pub vcpus: u64,
    /// Memory shared with the owner, by index: 0 is the console (stdin and stdout), the others are
    /// the builder's and the payload's own agreement.
    pub windows: [Range; WINDOWS],
    /// The argument vector: NUL-terminated strings one after another (guest-physical).
    pub arguments: Range,
}

const _: () = assert!(core::mem::size_of::<StartPage>() <= crate::PAGE_SIZE as usize);
