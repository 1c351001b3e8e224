//! The IVRS: AMD's IOMMUs, and memory that devices use since before any system runs (48882, section 5.2).

use super::table::{HEADER_SIZE, Table};
use super::{AcpiError, PhysicalMemory, Tables};
use crate::memory::Range;

pub(super) const SIGNATURE: &[u8; 4] = b"IVRS";

const FIRST_BLOCK: u32 = HEADER_SIZE + 12;
const BLOCK_HEADER: u32 = 4;

/// An IOMMU, as a block of type IVHD describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IommuUnit {
    /// Physical address of its registers.
    pub base: u64,
    /// Bus, device and function of the function that it shows itself as.
    pub function: u16,
    /// The segment group of all devices behind it.
    pub group: u16,
    /// [`adyton_x86::iommu::description`].
    pub flags: u8,
}

/// One block of the table.
struct Block<'a, M> {
    memory: &'a M,
    table: Table,
    offset: u32,
    length: u32,
    kind: u8,
    flags: u8,
}

impl<M: PhysicalMemory> Tables<'_, M> {
    /// Where the IVRS lies, if there is one.
    #[must_use]
    pub fn iommu_table(&self) -> Option<u64> {
        self.iommus.map(|table| table.address())
    }

    /// Calls `visit` for each description of an IOMMU of AMD's; one may have several.
    ///
    /// # Errors
    /// If the table, or a description in it, ends too early.
    pub fn iommus(&self, mut visit: impl FnMut(IommuUnit)) -> Result<(), AcpiError> {
        self.blocks(|block| {
            if matches!(block.kind, 0x10 | 0x11 | 0x40) {
                visit(IommuUnit {
                    base: block.quad(8)?,
                    function: block.half(4)?,
                    group: block.half(16)?,
                    flags: block.flags,
                });
            }
            Some(())
        })
    }

    /// Calls `visit` for each stretch of memory that devices must go on reaching at its own address (IVMD).
    ///
    /// # Errors
    /// If the table, or a description in it, ends too early.
    pub fn unity_ranges(&self, mut visit: impl FnMut(Range)) -> Result<(), AcpiError> {
        self.blocks(|block| {
            if matches!(block.kind, 0x20..=0x22) {
                let start = block.quad(16)?;
                let end = start.checked_add(block.quad(24)?)?;
                visit(Range { start, end });
            }
            Some(())
        })
    }

    fn blocks(&self, mut visit: impl FnMut(&Block<'_, M>) -> Option<()>) -> Result<(), AcpiError> {
        let Some(table) = self.iommus else {
            return Ok(());
        };
        let bad = AcpiError::BadLength(*SIGNATURE);
        let mut offset = FIRST_BLOCK;
        while offset < table.length() {
            let [kind, flags, low, high] = table.bytes(self.memory, offset).ok_or(bad)?;
            let length = u32::from(u16::from_le_bytes([low, high]));
            if length < BLOCK_HEADER {
                return Err(bad);
            }
            let block = Block {
                memory: self.memory,
                table,
                offset,
                length,
                kind,
                flags,
            };
            visit(&block).ok_or(bad)?;
            offset = offset.checked_add(length).ok_or(bad)?;
        }
        Ok(())
    }
}

impl<M: PhysicalMemory> Block<'_, M> {
    fn bytes<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        let fits = at + N as u32 <= self.length;
        let place = fits.then(|| self.offset.checked_add(at)).flatten()?;
        self.table.bytes(self.memory, place)
    }

    fn half(&self, at: u32) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn quad(&self, at: u32) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }
}
