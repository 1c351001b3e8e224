//! What the boot goes on with, however the monitor was started.

use arrayvec::ArrayVec;

use super::bundle::Bundle;
use crate::memory::{MAXIMUM_ENTRIES, MemoryEntry, Range};
use crate::uefi::memory_map::MOST_HELD;

/// Longest command line, the limit of the Linux boot protocol on x86.
pub const COMMAND_LINE_SIZE: usize = 2048;

/// Facts of the machine and its loader, copied out of memory that domain 0 will own.
#[derive(Debug)]
pub struct Handover {
    /// The firmware's memory map.
    pub memory: ArrayVec<MemoryEntry, MAXIMUM_ENTRIES>,
    /// RAM that is domain 0's, but nothing is put there before it runs.
    pub held: ArrayVec<Range, MOST_HELD>,
    /// Where domain 0's kernel and initial RAM disk lie.
    pub bundle: Bundle,
    /// The command line, for domain 0 and the monitor.
    pub command_line: ArrayVec<u8, COMMAND_LINE_SIZE>,
    /// Physical address of the ACPI root pointer.
    pub root_pointer: u64,
    /// What a start by UEFI leaves besides; without it, nothing has measured the monitor.
    pub uefi: Option<Uefi>,
}

/// What a start by UEFI leaves.
#[derive(Clone, Copy, Debug)]
pub struct Uefi {
    /// Physical address of the firmware's system table.
    pub system_table: u64,
    /// The configuration file's contents.
    pub configuration: Range,
    /// The maintainer's approvals; empty if there are none.
    pub approvals: Range,
    /// Bytes of the memory map, see [`crate::uefi::map_bytes`].
    pub map_size: usize,
    /// Bytes of one of its descriptors.
    pub descriptor_size: usize,
}
