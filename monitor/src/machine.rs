//! What was found out about the machine while booting, for everybody to read.

use arrayvec::ArrayVec;

use crate::acpi::{Fixed, IommuUnit, Segment, SleepType};
use crate::instructions::time_stamp;
use crate::iommu::MOST_UNITS;
use crate::memory::{Layout, Range};
use crate::once::Once;

/// The most I/O APICs that a machine may have: one could otherwise stay unwatched.
pub const MOST_IO_APICS: usize = 64;
/// The most stretches of configuration space, and of memory that devices use before any system runs.
pub const MOST_RANGES: usize = 64;

/// The machine.
#[derive(Debug)]
pub struct Machine {
    /// Who has which memory.
    pub layout: Layout,
    /// The firmware's fixed registers, if it describes any.
    pub fixed: Option<Fixed>,
    /// How to switch off.
    pub power_off: Option<SleepType>,
    /// Physical addresses of the I/O APICs.
    pub io_apics: ArrayVec<u64, MOST_IO_APICS>,
    /// The IOMMUs.
    pub iommus: ArrayVec<IommuUnit, MOST_UNITS>,
    /// Memory that some devices have used since before any system ran, and go on to.
    pub unity: ArrayVec<Range, MOST_RANGES>,
    /// Where configuration space is mapped.
    pub segments: ArrayVec<Segment, MOST_RANGES>,
    /// Whether domains may be confidential although devices reach all memory.
    pub allows_unprotected: bool,
    /// Bits of a physical address.
    pub physical_bits: u32,
    /// The CPU has pages of 1 GiB, in nested tables too.
    pub gigabyte_pages: bool,
    /// Numbers of APICs that one core's threads can have, a power of two: a core's begin at a multiple of it.
    pub threads: u64,
    /// The CPU has instructions for SHA-256.
    pub sha_extensions: bool,
    /// The time-stamp counter's ticks in a second, as measured; 0 if there was nothing to measure it by.
    pub ticks_per_second: u64,
    /// Ticks for which a core may leave a request unanswered.
    pub patience: u64,
}

static MACHINE: Once<Machine> = Once::new();

/// Publishes the findings.
pub fn set(machine: Machine) -> &'static Machine {
    MACHINE.set(machine)
}

/// The findings.
///
/// # Panics
/// Before they are published: the boot sequence is wrong.
#[must_use]
pub fn get() -> &'static Machine {
    MACHINE.get()
}

/// The findings, if they are published: for code that a panic may reach at any time.
#[must_use]
pub fn try_get() -> Option<&'static Machine> {
    MACHINE.try_get()
}

/// Whether what began at this time stamp lasts longer than so many seconds. Only once the machine [is set](set).
#[must_use]
pub fn lasts(since: u64, seconds: u64) -> bool {
    time_stamp().saturating_sub(since) > seconds * get().ticks_per_second
}
