//! AMD's IOMMU, by the *AMD I/O Virtualization Technology (IOMMU) Specification*, 48882, revision 3.
//!
//! Page-table entries are laid out so that one set of tables can serve the processor's nested paging and the IOMMU at
//! once (section 2.2.3): what one of them reads, the other ignores.

use core::mem::offset_of;

/// Offsets of registers, 64 bits each (section 3.4).
pub mod register {
    /// Device table base address, and its size in the low bits.
    pub const DEVICE_TABLE: u64 = 0x0000;
    /// Command buffer base address and length.
    pub const COMMAND_BUFFER: u64 = 0x0008;
    /// Event log base address and length.
    pub const EVENT_LOG: u64 = 0x0010;
    /// Control.
    pub const CONTROL: u64 = 0x0018;
    /// Where a range begins that no translation applies to, and whether there is one.
    pub const EXCLUSION: u64 = 0x0020;
    /// Extended features, read only.
    pub const EXTENDED_FEATURES: u64 = 0x0030;
    /// Offset of the next command that the IOMMU fetches.
    pub const COMMAND_HEAD: u64 = 0x2000;
    /// Offset behind the last command that software has written.
    pub const COMMAND_TAIL: u64 = 0x2008;
    /// Offset of the next event that software reads.
    pub const EVENT_HEAD: u64 = 0x2010;
    /// Offset behind the last event that the IOMMU has written.
    pub const EVENT_TAIL: u64 = 0x2018;
    /// Status.
    pub const STATUS: u64 = 0x2020;
}

/// Bytes of registers, without and with performance counters (sections 3.4 and 3.4.12).
pub const REGISTERS_SIZE: u64 = 16 << 10;
/// See [`REGISTERS_SIZE`].
pub const REGISTERS_SIZE_WITH_COUNTERS: u64 = 512 << 10;

/// Bits of the control register (section 3.4.2).
pub mod control {
    /// The IOMMU translates.
    pub const ENABLE: u64 = 1 << 0;
    /// HyperTransport tunnel translation is on.
    pub const TUNNEL: u64 = 1 << 1;
    /// Events are logged.
    pub const EVENT_LOG: u64 = 1 << 2;
    /// Posted writes that pass are marked so.
    pub const PASS_POSTED_WRITES: u64 = 1 << 8;
    /// So are responses.
    pub const RESPONSE_PASS_POSTED_WRITES: u64 = 1 << 9;
    /// The IOMMU's own reads of tables snoop the processor's caches.
    pub const COHERENT: u64 = 1 << 10;
    /// Its reads are isochronous.
    pub const ISOCHRONOUS: u64 = 1 << 11;
    /// Commands are fetched.
    pub const COMMAND_BUFFER: u64 = 1 << 12;
}

/// Bits of the status register (section 3.4.7).
pub mod status {
    /// The event log was full when an event was to be logged; written as 1 to clear.
    pub const EVENT_OVERFLOW: u64 = 1 << 0;
}

/// Bits of the extended feature register (section 3.4.5).
pub mod feature {
    /// INVALIDATE_IOMMU_ALL is known.
    pub const INVALIDATE_ALL: u64 = 1 << 6;
    /// There are performance counters, and with them more registers.
    pub const COUNTERS: u64 = 1 << 9;
}

/// Flags of an IVHD block, which belong into the control register (section 5.2.2.1, table 96).
pub mod description {
    /// [`super::control::TUNNEL`].
    pub const TUNNEL: u8 = 1 << 0;
    /// [`super::control::PASS_POSTED_WRITES`].
    pub const PASS_POSTED_WRITES: u8 = 1 << 1;
    /// [`super::control::RESPONSE_PASS_POSTED_WRITES`].
    pub const RESPONSE_PASS_POSTED_WRITES: u8 = 1 << 2;
    /// [`super::control::ISOCHRONOUS`].
    pub const ISOCHRONOUS: u8 = 1 << 3;
}

/// Bits that the IOMMU reads of an entry of its page tables (section 2.2.3, tables 15 to 17).
///
/// Bit 0 (present) and bits 51 to 12 (address) stand where the processor has them. The IOMMU ignores bits 8 to 1 and 63 when it
/// does not keep accessed and dirty bits, the processor ignores bits 11 to 9 and 62 to 52 of nested tables.
pub mod entry {
    /// Where the level of the next table stands; 0 for a page of the size that this level maps.
    pub const NEXT_LEVEL_SHIFT: u32 = 9;
    /// Accesses that do not ask for it are coherent with the caches too.
    pub const FORCE_COHERENT: u64 = 1 << 60;
    /// Devices may read.
    pub const READ: u64 = 1 << 61;
    /// Devices may write.
    pub const WRITE: u64 = 1 << 62;
}

/// How many devices there can be: 256 buses of 256 functions.
pub const DEVICES: usize = 1 << 16;

/// An entry of the device table (section 2.2.2.1, table 7): what happens to the accesses of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DeviceEntry {
    /// Bits 63 to 0: translation.
    pub translation: u64,
    /// Bits 127 to 64: domain and translation requests.
    pub domain: u64,
    /// Bits 191 to 128: interrupts.
    pub interrupts: u64,
    /// Bits 255 to 192: attributes of accesses.
    pub attributes: u64,
}

const _: () = assert!(size_of::<DeviceEntry>() == 32);
const _: () = assert!(offset_of!(DeviceEntry, domain) == 8);
const _: () = assert!(offset_of!(DeviceEntry, interrupts) == 16);

impl DeviceEntry {
    const VALID: u64 = 1 << 0;
    const TRANSLATION_VALID: u64 = 1 << 1;
    const MODE_SHIFT: u32 = 9;
    /// Bits 128, 185, 186, and 189 to 188.
    const INTERRUPTS_VALID: u64 = 1 << 0;
    const PASS_EXTERNAL: u64 = 1 << (185 - 128);
    const PASS_NON_MASKABLE: u64 = 1 << (186 - 128);
    const FORWARD_FIXED: u64 = 1 << (188 - 128);
    const LOOK_UP_FIXED: u64 = 2 << (188 - 128);
    /// Bits 132 to 129: the table of interrupts has [`INTERRUPT_ENTRIES`]; its address stands in bits 179 to 134.
    const INTERRUPT_TABLE_SIZE: u64 = 11 << (129 - 128);
    const INTERRUPT_TABLE: u64 = 0x000f_ffff_ffff_ffc0;

    /// Every access is blocked.
    #[must_use]
    pub const fn blocked() -> Self {
        Self {
            translation: Self::VALID | Self::TRANSLATION_VALID,
            domain: 0,
            interrupts: 0,
            attributes: 0,
        }
    }

    /// Accesses go through the tables with this root and so many levels, and what is cached of them is filed under `domain`.
    ///
    /// All other bits are 0: translation requests by the device itself (ATS), page requests, guest tables, port accesses and
    /// system-management messages are refused.
    #[must_use]
    pub const fn translated(root: u64, levels: u8, domain: u16) -> Self {
        let address = root & super::paging::Entry::ADDRESS;
        Self {
            translation: Self::VALID
                | Self::TRANSLATION_VALID
                | (levels as u64) << Self::MODE_SHIFT
                | address
                | entry::READ
                | entry::WRITE,
            domain: domain as u64,
            interrupts: 0,
            attributes: 0,
        }
    }

    /// No interrupt passes (section 2.2.5.1, table 19: IntCtl is 0).
    #[must_use]
    pub const fn without_interrupts(mut self) -> Self {
        self.interrupts = Self::INTERRUPTS_VALID;
        self
    }

    /// Of interrupts, fixed and arbitrated ones are looked up in the table at this address, and all others refused (section 2.2.5.1, table 19).
    #[must_use]
    pub const fn with_table(mut self, table: u64) -> Self {
        self.interrupts = Self::INTERRUPTS_VALID
            | Self::INTERRUPT_TABLE_SIZE
            | table & Self::INTERRUPT_TABLE
            | Self::LOOK_UP_FIXED;
        self
    }

    /// Of interrupts, fixed and arbitrated ones pass as they are, non-maskable ones and those of the old interrupt
    /// controller too. INIT and system-management interrupts are refused (section 2.2.5.1, table 19).
    #[must_use]
    pub const fn without_init(mut self) -> Self {
        self.interrupts = Self::INTERRUPTS_VALID
            | Self::PASS_EXTERNAL
            | Self::PASS_NON_MASKABLE
            | Self::FORWARD_FIXED;
        self
    }
}

/// How many entries a table of interrupts has at most: one for each value of the low eleven bits of a message's data.
pub const INTERRUPT_ENTRIES: usize = 2048;

/// An entry of a table of interrupts, where units have no guest's interrupt controllers switched on (section 2.2.5.2, table 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct InterruptEntry(pub u32);

const _: () = assert!(size_of::<InterruptEntry>() == 4);

impl InterruptEntry {
    /// Nothing is delivered.
    pub const REFUSED: Self = Self(0);
    const VALID: u32 = 1 << 0;
    const DESTINATION_SHIFT: u32 = 8;
    const VECTOR_SHIFT: u32 = 16;

    /// An ordinary interrupt for the core with this APIC identifier.
    #[must_use]
    pub const fn fixed(core: u8, vector: u8) -> Self {
        Self(
            Self::VALID
                | (core as u32) << Self::DESTINATION_SHIFT
                | (vector as u32) << Self::VECTOR_SHIFT,
        )
    }
}

/// A command (section 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Command(pub [u64; 2]);

const _: () = assert!(size_of::<Command>() == 16);

impl Command {
    const OPERATION_SHIFT: u32 = 60;

    /// COMPLETION_WAIT: when all commands before are done, `value` is stored at `address`, a multiple of 8 (section 2.4.1).
    #[must_use]
    pub const fn completion_wait(address: u64, value: u64) -> Self {
        const STORE: u64 = 1 << 0;
        let place = address & 0x000f_ffff_ffff_fff8;
        Self([1 << Self::OPERATION_SHIFT | place | STORE, value])
    }

    /// INVALIDATE_DEVTAB_ENTRY: the device's entry has changed (section 2.4.2).
    #[must_use]
    pub const fn invalidate_device(device: u16) -> Self {
        Self([2 << Self::OPERATION_SHIFT | device as u64, 0])
    }

    /// INVALIDATE_IOMMU_PAGES for all pages of a domain, tables on the way included (section 2.4.3).
    #[must_use]
    pub const fn invalidate_pages(domain: u16) -> Self {
        const EVERYTHING: u64 = 0x7fff_ffff_ffff_f000;
        const SIZE: u64 = 1 << 0;
        const DIRECTORIES: u64 = 1 << 1;
        Self([
            3 << Self::OPERATION_SHIFT | (domain as u64) << 32,
            EVERYTHING | DIRECTORIES | SIZE,
        ])
    }

    /// INVALIDATE_IOMMU_ALL, if [`feature::INVALIDATE_ALL`] says so (section 2.4.8).
    #[must_use]
    pub const fn invalidate_all() -> Self {
        Self([8 << Self::OPERATION_SHIFT, 0])
    }
}

/// An entry of the event log (section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event(pub [u64; 2]);

const _: () = assert!(size_of::<Event>() == 16);

/// What an event says (section 2.5.1, table 42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The slot was not written yet.
    None,
    /// ILLEGAL_DEV_TABLE_ENTRY.
    IllegalDeviceEntry,
    /// IO_PAGE_FAULT: an access, or an interrupt, was blocked.
    PageFault,
    /// DEV_TAB_HARDWARE_ERROR or PAGE_TAB_HARDWARE_ERROR.
    TableError,
    /// ILLEGAL_COMMAND_ERROR or COMMAND_HARDWARE_ERROR: commands are not fetched any more.
    CommandError,
    /// INVALID_DEVICE_REQUEST.
    InvalidRequest,
    /// Another one, by its code.
    Other(u8),
}

impl Event {
    const INTERRUPT: u64 = 1 << 51;
    const WRITE: u64 = 1 << 53;

    /// What it says.
    #[must_use]
    pub const fn kind(self) -> EventKind {
        match (self.0[0] >> 60) as u8 {
            0 => EventKind::None,
            1 => EventKind::IllegalDeviceEntry,
            2 => EventKind::PageFault,
            3 | 4 => EventKind::TableError,
            5 | 6 => EventKind::CommandError,
            8 => EventKind::InvalidRequest,
            code => EventKind::Other(code),
        }
    }

    /// Whose access it was: bus, device and function.
    #[must_use]
    pub const fn device(self) -> u16 {
        self.0[0] as u16
    }

    /// The address.
    #[must_use]
    pub const fn address(self) -> u64 {
        self.0[1]
    }

    /// Whether the access was a write.
    #[must_use]
    pub const fn is_write(self) -> bool {
        self.0[0] & Self::WRITE != 0
    }

    /// Whether it was an interrupt.
    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        self.0[0] & Self::INTERRUPT != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_as_the_manual_draws_them() {
        assert_eq!(
            Command::completion_wait(0x1234_5678, 7).0,
            [0x1000_0000_1234_5679, 7]
        );
        assert_eq!(
            Command::invalidate_pages(1).0,
            [0x3000_0001_0000_0000, 0x7fff_ffff_ffff_f003]
        );
        assert_eq!(Command::invalidate_device(0x10).0[0], 0x2000_0000_0000_0010);
    }

    #[test]
    fn a_translated_entry_names_root_levels_and_domain() {
        let entry = DeviceEntry::translated(0x0012_3000, 4, 1);
        assert_eq!(entry.translation, 0x6000_0000_0012_3803);
        assert_eq!(entry.domain, 1);
        assert_eq!(DeviceEntry::blocked().translation, 3);
        assert_eq!(
            entry.with_table(0x0045_6000).interrupts,
            0x2000_0000_0045_6017
        );
    }

    #[test]
    fn a_page_fault_is_read() {
        let event = Event([0x2020_0001_0000_0028, 0xdead_b000]);
        assert_eq!(event.kind(), EventKind::PageFault);
        assert_eq!((event.device(), event.address()), (0x28, 0xdead_b000));
        assert!(event.is_write() && !event.is_interrupt());
        assert_eq!(Event([0, 0]).kind(), EventKind::None);
    }
}
