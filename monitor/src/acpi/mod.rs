//! What the firmware says about the machine: cores, sleep and reset registers, configuration space, devices present.
//!
//! [`Tables::find`] follows the root pointer (RSDP) to the tables that the monitor uses, checks each one's length and
//! checksum once, and remembers where it lies; the submodules read their fields. Nothing is allocated and nothing is
//! mapped: all bytes come through [`PhysicalMemory`], so that the parsers run on the host against byte arrays.
//!
//! What must hold: firmware tables are trusted for what they *mean* but not to be well-formed. Every read stays
//! inside the length that its table states, and whatever does not parse is an [`AcpiError`].
//!
//! Source of all layouts: the ACPI specification, version 6.5, chapter 5.2.

mod configuration_space;
mod fixed;
mod interrupts;
mod iommu;
mod root;
#[cfg(any(test, fuzzing))]
pub mod sample;
mod sleep;
mod table;

#[cfg(test)]
mod tests;

pub use configuration_space::Segment;
pub use fixed::{Fixed, Register, Reset};
pub use interrupts::Core;
pub use iommu::IommuUnit;
pub use root::find_root_pointer;
pub use sleep::{SleepState, SleepType};

use table::Table;

/// Reads the machine's memory at physical addresses.
pub trait PhysicalMemory {
    /// Fills `buffer` from `address` on; `false` if any byte of it is not readable memory.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;
}

/// A table's four-letter name.
pub type Signature = [u8; 4];

/// Why the firmware's tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcpiError {
    /// Something points at this physical address, which is not readable memory.
    Unreadable(u64),
    /// There is no valid root pointer at this physical address.
    BadRoot(u64),
    /// The bytes of this table do not sum to zero.
    BadChecksum(Signature),
    /// The table, or an entry of it, states a length that cannot be.
    BadLength(Signature),
    /// Something points at a table of another name than this one.
    BadSignature(Signature),
    /// The firmware has no such table.
    Missing(Signature),
}

/// The tables that the monitor uses, each checked.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a, M> {
    memory: &'a M,
    interrupts: Option<Table>,
    fixed: Option<Table>,
    configuration_space: Option<Table>,
    iommus: Option<Table>,
    has_intel_iommu: bool,
    tpm: Option<Table>,
}

impl<'a, M: PhysicalMemory> Tables<'a, M> {
    /// Follows the root pointer at physical address `rsdp`.
    ///
    /// # Errors
    /// If the root, or a table that the monitor reads, is unreadable or malformed. A missing table is an error only
    /// for whoever asks for its contents.
    pub fn find(rsdp: u64, memory: &'a M) -> Result<Self, AcpiError> {
        let mut tables = Self {
            memory,
            interrupts: None,
            fixed: None,
            configuration_space: None,
            iommus: None,
            has_intel_iommu: false,
            tpm: None,
        };
        let root = table::Root::find(rsdp, memory)?;
        root.for_each(memory, |address, signature| tables.note(address, signature))?;
        Ok(tables)
    }

    /// Whether an Intel IOMMU is described (DMAR).
    #[must_use]
    pub fn has_intel_iommu(&self) -> bool {
        self.has_intel_iommu
    }

    /// Physical address of the table that describes a TPM 2.0, if there is one.
    #[must_use]
    pub fn tpm(&self) -> Option<u64> {
        self.tpm.map(|table| table.address())
    }

    fn note(&mut self, address: u64, signature: Signature) -> Result<(), AcpiError> {
        self.has_intel_iommu |= &signature == b"DMAR";
        let place = match &signature {
            interrupts::SIGNATURE => &mut self.interrupts,
            fixed::SIGNATURE => &mut self.fixed,
            iommu::SIGNATURE => &mut self.iommus,
            configuration_space::SIGNATURE => &mut self.configuration_space,
            b"TPM2" => &mut self.tpm,
            _ => return Ok(()),
        };
        // These tables exist once; should firmware list one twice, the first counts, as for Linux.
        if place.is_none() {
            *place = Some(Table::open(address, signature, self.memory)?);
        }
        Ok(())
    }
}
