//! What an entry of a nested table looks like, for each vendor.

use adyton_x86::iommu::entry as device;
use adyton_x86::paging::{Entry as Bits, span};

use super::Rights;
use crate::address::HostPhysical;

/// The vendor's encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// AMD nested paging: the format of long-mode page tables (APM volume 2, section 15.25), with the bits that the IOMMU
    /// reads in places that the processor ignores (48882, section 2.2.3), so that devices go through the very same tables.
    Npt,
}

/// The meaning of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Empty,
    Table(HostPhysical),
    Leaf(HostPhysical, Rights),
}

/// The bits of an entry that maps nothing.
pub(super) const EMPTY: u64 = 0;

impl Format {
    /// What the hardware can grant of `rights`, never more; `None` if that is nothing.
    pub(super) fn grantable(self, rights: Rights) -> Option<Rights> {
        match self {
            // A present entry can be read, so that nothing can be granted without reading.
            Self::Npt => rights.contains(Rights::READ).then_some(rights),
        }
    }

    /// A page at `base` out of a table at `level`, with grantable `rights`.
    ///
    /// Accessed and dirty are set from the start: so the hardware never writes to an entry behind the monitor's
    /// back, and equal mappings are equal words. The memory type is write-back, which leaves the guest's own type and
    /// the MTRRs to decide (section 15.25.8).
    #[inline]
    pub(super) fn leaf(self, level: u8, base: HostPhysical, rights: Rights) -> u64 {
        match self {
            Self::Npt => {
                let mut bits = Bits::PRESENT | Bits::USER | Bits::ACCESSED | Bits::DIRTY;
                if level > 0 {
                    bits |= Bits::LARGE;
                }
                if rights.contains(Rights::WRITE) {
                    bits |= Bits::WRITABLE;
                }
                if !rights.contains(Rights::EXECUTE) {
                    bits |= Bits::NO_EXECUTE;
                }
                if rights.contains(Rights::DEVICE) {
                    // Present tables always grant reading.
                    bits |= device::READ | device::FORCE_COHERENT;
                    if rights.contains(Rights::WRITE) {
                        bits |= device::WRITE;
                    }
                }
                bits | (base.0 & Bits::ADDRESS)
            }
        }
    }

    /// A pointer to the next table, out of one at `level`, above 0; the rights are the leaves' matter.
    #[inline]
    pub(super) fn table(self, level: u8, table: HostPhysical) -> u64 {
        match self {
            Self::Npt => {
                let all = Bits::PRESENT | Bits::WRITABLE | Bits::USER | Bits::ACCESSED;
                // The IOMMU counts levels from 1.
                let next = u64::from(level) << device::NEXT_LEVEL_SHIFT;
                all | next | device::READ | device::WRITE | (table.0 & Bits::ADDRESS)
            }
        }
    }

    #[inline]
    pub(super) fn decode(self, level: u8, word: u64) -> Entry {
        match self {
            Self::Npt => {
                let entry = Bits(word);
                if !entry.has(Bits::PRESENT) {
                    Entry::Empty
                } else if entry.is_leaf(level) {
                    let writable = Rights::WRITE.only_if(entry.has(Bits::WRITABLE));
                    let executable = Rights::EXECUTE.only_if(!entry.has(Bits::NO_EXECUTE));
                    let devices = Rights::DEVICE.only_if(entry.has(device::READ));
                    let rights = Rights::READ.union(writable).union(executable);
                    let rights = rights.union(devices);
                    Entry::Leaf(HostPhysical(entry.page(level)), rights)
                } else {
                    Entry::Table(HostPhysical(entry.table()))
                }
            }
        }
    }

    /// The same translation one level down: what entry `index` of a table at `level` must say.
    #[inline]
    pub(super) fn part(self, level: u8, whole: HostPhysical, rights: Rights, index: usize) -> u64 {
        let offset = (index as u64).wrapping_mul(span(level));
        self.leaf(level, HostPhysical(whole.0.wrapping_add(offset)), rights)
    }
}
