//! The local APIC, in memory (xAPIC) and as MSRs (x2APIC): Intel SDM volume 3, chapter 11; APM volume 2, chapter 16.

/// Where the registers lie after reset, and where domain 0 must leave them.
pub const DEFAULT_BASE: u64 = 0xfee0_0000;

/// `IA32_APIC_BASE`.
pub mod base {
    /// The MSR.
    pub const MSR: u32 = 0x1b;
    /// This is the bootstrap processor.
    pub const BOOTSTRAP: u64 = 1 << 8;
    /// x2APIC mode.
    pub const EXTENDED: u64 = 1 << 10;
    /// The APIC is on.
    pub const ENABLED: u64 = 1 << 11;
    /// The address field, without the page offset.
    pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
}

/// Offsets of registers in the page; an x2APIC MSR is `0x800 + offset / 16`.
pub mod register {
    /// Local APIC id.
    pub const ID: u64 = 0x20;
    /// Task priority.
    pub const TASK_PRIORITY: u64 = 0x80;
    /// End of interrupt.
    pub const END_OF_INTERRUPT: u64 = 0xb0;
    /// Logical destination (xAPIC: writable).
    pub const LOGICAL_DESTINATION: u64 = 0xd0;
    /// Destination format (xAPIC only).
    pub const DESTINATION_FORMAT: u64 = 0xe0;
    /// Spurious-interrupt vector; bit 8 switches the APIC on in software.
    pub const SPURIOUS: u64 = 0xf0;
    /// First of eight words of vectors in service, 16 bytes apart.
    pub const IN_SERVICE: u64 = 0x100;
    /// First of eight words of vectors that are requested, 16 bytes apart.
    pub const REQUESTED: u64 = 0x200;
    /// Corrected-machine-check local vector.
    pub const LOCAL_MACHINE_CHECK: u64 = 0x2f0;
    /// Interrupt command, low half.
    pub const COMMAND: u64 = 0x300;
    /// Interrupt command, high half: the destination (xAPIC only).
    pub const COMMAND_HIGH: u64 = 0x310;
    /// Timer local vector: the first of six, 16 bytes apart.
    pub const LOCAL_TIMER: u64 = 0x320;
    /// Error local vector: the last of the six.
    pub const LOCAL_ERROR: u64 = 0x370;
    /// Initial count of the timer.
    pub const TIMER_COUNT: u64 = 0x380;
    /// AMD's further local vectors.
    pub const EXTENDED_LOCAL: core::ops::RangeInclusive<u64> = 0x500..=0x530;
    /// Send an interrupt to oneself (x2APIC only).
    pub const SELF: u64 = 0x3f0;
}

/// What may stand in a local vector or an I/O APIC's entry whose other bits are `value`: masked, if it would deliver what
/// takes a core away from whoever runs it.
#[must_use]
pub const fn permitted_vector(value: u32) -> u32 {
    const MASKED: u32 = 1 << 16;
    match Command(value).delivery() {
        Delivery::SystemManagement | Delivery::Init | Delivery::StartUp | Delivery::Reserved => {
            value | MASKED
        }
        Delivery::Fixed | Delivery::LowestPriority | Delivery::NonMaskable | Delivery::External => {
            value
        }
    }
}

/// How an interrupt is delivered: bits 10:8 of the command register and of the local vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// To the vector, at all destinations.
    Fixed,
    /// To the vector, at the destination that runs at the lowest priority.
    LowestPriority,
    /// A system-management interrupt.
    SystemManagement,
    /// A non-maskable interrupt.
    NonMaskable,
    /// Reset to the state that waits for a start-up.
    Init,
    /// Start in real mode at the page that the vector names.
    StartUp,
    /// As from an 8259A.
    External,
    /// Reserved.
    Reserved,
}

/// What bits 19:18 of the command register say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shorthand {
    /// The destination field counts.
    None,
    /// The sender.
    Own,
    /// All, with the sender.
    All,
    /// All but the sender.
    Others,
}

/// A value of the interrupt command register's low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Command(pub u32);

impl Command {
    /// Bit 12: the last one is still on its way (xAPIC only).
    pub const PENDING: u32 = 1 << 12;
    /// An NMI to one physical destination.
    pub const NMI: Self = Self(4 << 8 | 1 << 14);
    /// An INIT to one physical destination.
    pub const INIT: Self = Self(5 << 8 | 1 << 14);

    /// An ordinary interrupt to one physical destination.
    #[must_use]
    pub const fn fixed(vector: u8) -> Self {
        Self(1 << 14 | vector as u32)
    }

    /// A start-up at page `page`.
    #[must_use]
    pub const fn start_up(page: u8) -> Self {
        Self(6 << 8 | 1 << 14 | page as u32)
    }

    /// The vector.
    #[must_use]
    pub const fn vector(self) -> u8 {
        self.0 as u8
    }

    /// How it is delivered.
    #[must_use]
    pub const fn delivery(self) -> Delivery {
        match (self.0 >> 8) & 7 {
            0 => Delivery::Fixed,
            1 => Delivery::LowestPriority,
            2 => Delivery::SystemManagement,
            4 => Delivery::NonMaskable,
            5 => Delivery::Init,
            6 => Delivery::StartUp,
            7 => Delivery::External,
            _ => Delivery::Reserved,
        }
    }

    /// Whether the destination is a logical one.
    #[must_use]
    pub const fn is_logical(self) -> bool {
        self.0 & (1 << 11) != 0
    }

    /// An INIT with level 0: the "de-assert" that no CPU since the Pentium 4 acts on.
    #[must_use]
    pub const fn is_deassert(self) -> bool {
        self.0 & (1 << 14) == 0 && self.0 & (1 << 15) != 0
    }

    /// Whom it goes to instead of the destination field.
    #[must_use]
    pub const fn shorthand(self) -> Shorthand {
        match (self.0 >> 18) & 3 {
            0 => Shorthand::None,
            1 => Shorthand::Own,
            2 => Shorthand::All,
            _ => Shorthand::Others,
        }
    }
}
