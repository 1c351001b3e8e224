//! The MADT: which cores exist and where their local APIC is (ACPI 6.5, section 5.2.12).

use super::table::{HEADER_SIZE, Table};
use super::{AcpiError, PhysicalMemory, Tables};

pub(super) const SIGNATURE: &[u8; 4] = b"APIC";

const LOCAL_APIC_ADDRESS: u32 = HEADER_SIZE;
const FIRST_ENTRY: u32 = HEADER_SIZE + 8;

const LOCAL_APIC: u8 = 0;
const IO_APIC: u8 = 1;
const LOCAL_APIC_ADDRESS_OVERRIDE: u8 = 5;
const LOCAL_X2APIC: u8 = 9;

const ENABLED: u32 = 1 << 0;
const ONLINE_CAPABLE: u32 = 1 << 1;

/// A core as the firmware lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// The identifier that interrupts are sent to.
    pub apic_id: u32,
    /// It is there and may be started now.
    pub enabled: bool,
    /// It is not enabled but the firmware may bring it later (hot plug).
    pub online_capable: bool,
}

impl<M: PhysicalMemory> Tables<'_, M> {
    /// Calls `visit` for each core, in the firmware's order, once even if it is listed both as a local APIC and as a
    /// local x2APIC.
    ///
    /// # Errors
    /// If there is no MADT or an entry of it does not parse.
    pub fn cores(&self, mut visit: impl FnMut(Core)) -> Result<(), AcpiError> {
        let mut seen = SmallIdentifiers::default();
        self.for_each_interrupt_entry(|table, offset, kind| {
            let (apic_id, flags) = match kind {
                LOCAL_APIC => {
                    let [apic_id, f0, f1, f2, f3] = table.bytes(self.memory, offset + 3)?;
                    (apic_id.into(), u32::from_le_bytes([f0, f1, f2, f3]))
                }
                LOCAL_X2APIC => (
                    table.double(self.memory, offset + 4)?,
                    table.double(self.memory, offset + 8)?,
                ),
                _ => return Some(()),
            };
            let core = Core {
                apic_id,
                enabled: flags & ENABLED != 0,
                online_capable: flags & ONLINE_CAPABLE != 0,
            };
            // Entries that are neither are padding, often all with the same identifier.
            if (core.enabled || core.online_capable) && seen.insert(apic_id) {
                visit(core);
            }
            Some(())
        })
    }

    /// Calls `visit` with the physical address of each I/O APIC.
    ///
    /// # Errors
    /// If there is no MADT or an entry of it does not parse.
    pub fn io_apics(&self, mut visit: impl FnMut(u64)) -> Result<(), AcpiError> {
        self.for_each_interrupt_entry(|table, offset, kind| {
            if kind == IO_APIC {
                visit(table.double(self.memory, offset + 4)?.into());
            }
            Some(())
        })
    }

    /// The physical address of the local APICs' registers.
    ///
    /// # Errors
    /// If there is no MADT or an entry of it does not parse.
    pub fn local_apic_address(&self) -> Result<u64, AcpiError> {
        let mut address = self
            .interrupts()?
            .double(self.memory, LOCAL_APIC_ADDRESS)
            .map(u64::from);
        self.for_each_interrupt_entry(|table, offset, kind| {
            if kind == LOCAL_APIC_ADDRESS_OVERRIDE {
                address = Some(table.quad(self.memory, offset + 4)?);
            }
            Some(())
        })?;
        address.ok_or(AcpiError::BadLength(*SIGNATURE))
    }

    fn interrupts(&self) -> Result<Table, AcpiError> {
        self.interrupts.ok_or(AcpiError::Missing(*SIGNATURE))
    }

    /// Calls `visit` with the offset and the type of each entry; `None` from it means that the entry ends too early.
    fn for_each_interrupt_entry(
        &self,
        mut visit: impl FnMut(&Table, u32, u8) -> Option<()>,
    ) -> Result<(), AcpiError> {
        let bad = AcpiError::BadLength(*SIGNATURE);
        let table = self.interrupts()?;
        let mut offset = FIRST_ENTRY;
        while offset < table.length() {
            let [kind, length] = table.bytes(self.memory, offset).ok_or(bad)?;
            let shortest = match kind {
                LOCAL_APIC => 8,
                IO_APIC | LOCAL_APIC_ADDRESS_OVERRIDE => 12,
                LOCAL_X2APIC => 16,
                _ => 2,
            };
            if length < shortest {
                return Err(bad);
            }
            visit(&table, offset, kind).ok_or(bad)?;
            offset += u32::from(length);
        }
        Ok(())
    }
}

/// A set of the identifiers below 256, the only ones that both kinds of entry can name.
#[derive(Default)]
struct SmallIdentifiers([u128; 2]);

impl SmallIdentifiers {
    /// Whether `identifier` was not there yet; larger ones never count as there.
    fn insert(&mut self, identifier: u32) -> bool {
        let Some(word) = self.0.get_mut((identifier / 128) as usize) else {
            return true;
        };
        let bit = 1 << (identifier % 128);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }
}
