//! The MCFG: where PCI configuration space is mapped (PCI Firmware Specification 3.3, section 4.1.2).

use super::table::HEADER_SIZE;
use super::{AcpiError, PhysicalMemory, Tables};

pub(super) const SIGNATURE: &[u8; 4] = b"MCFG";

const FIRST_ENTRY: u32 = HEADER_SIZE + 8;
const ENTRY_SIZE: u32 = 16;

/// A range of buses whose configuration space is mapped: 1 MiB for each bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The physical address that belongs to bus 0 (also if the range starts at a later bus).
    pub base: u64,
    /// The segment group.
    pub group: u16,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus.
    pub last_bus: u8,
}

impl<M: PhysicalMemory> Tables<'_, M> {
    /// Calls `visit` for each mapped range of configuration space; for none if the machine has no MCFG.
    ///
    /// # Errors
    /// If the table ends inside an entry.
    pub fn configuration_space(&self, mut visit: impl FnMut(Segment)) -> Result<(), AcpiError> {
        let Some(table) = self.configuration_space else {
            return Ok(());
        };
        let mut offset = FIRST_ENTRY;
        while offset < table.length() {
            let bad = AcpiError::BadLength(*SIGNATURE);
            let base = table.quad(self.memory, offset).ok_or(bad)?;
            let [g0, g1, first_bus, last_bus, _, _, _, _] =
                table.bytes(self.memory, offset + 8).ok_or(bad)?;
            visit(Segment {
                base,
                group: u16::from_le_bytes([g0, g1]),
                first_bus,
                last_bus,
            });
            offset += ENTRY_SIZE;
        }
        Ok(())
    }
}
