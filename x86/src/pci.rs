//! PCI configuration space, by the *PCI Local Bus Specification* 3.0 (chapter 6), the *PCI-to-PCI Bridge Architecture Specification* 1.2
//! and the *PCI Express Base Specification* 5.0.

/// The number that a function which is not there shows as its vendor (section 6.2.1).
pub const ABSENT: u32 = 0xffff_ffff;

/// Offsets of registers (section 6.1).
pub mod register {
    /// Vendor, and device in the upper half.
    pub const IDENTITY: u16 = 0x00;
    /// Command, and status in the upper half.
    pub const COMMAND: u16 = 0x04;
    /// Revision, and class in the upper three bytes.
    pub const CLASS: u16 = 0x08;
    /// Cache line, latency, and in bits 23 to 16 the kind of header.
    pub const HEADER: u16 = 0x0c;
    /// The first base address.
    pub const BASE_ADDRESS: u16 = 0x10;
    /// Of a bridge: the bus that it is on, the one behind it, and the last one behind that, 8 bits each (bridges, section 3.2.5.3).
    pub const BRIDGE_BUSES: u16 = 0x18;
    /// Of a bridge: where the memory behind it begins and ends, 16 bits each (bridges, section 3.2.5.8).
    pub const BRIDGE_MEMORY: u16 = 0x20;
    /// Of a bridge: the same of prefetchable memory, and the upper halves in the next two registers (section 3.2.5.9).
    pub const BRIDGE_PREFETCHABLE: u16 = 0x24;
    /// Address of the expansion ROM.
    pub const ROM: u16 = 0x30;
    /// Where the list of capabilities begins.
    pub const CAPABILITIES: u16 = 0x34;
    /// What stands between the base addresses and the interrupt line: nothing that decodes addresses.
    pub const INTERRUPT_LINE: u16 = 0x3c;
    /// Of a bridge: bridge control, 16 bits.
    pub const BRIDGE_CONTROL: u16 = 0x3e;
    /// The first register that the header does not define.
    pub const FIRST_OWN: u16 = 0x40;
    /// The first register of extended configuration space.
    pub const EXTENDED: u16 = 0x100;
}

/// Bits of the command register (section 6.2.2).
pub mod command {
    /// Answers at its ports.
    pub const PORTS: u16 = 1 << 0;
    /// Answers at its memory addresses.
    pub const MEMORY: u16 = 1 << 1;
    /// Accesses memory by itself, and sends interrupts as messages.
    pub const MASTER: u16 = 1 << 2;
    /// Reports parity errors.
    pub const PARITY: u16 = 1 << 6;
    /// Reports errors to the system.
    pub const SYSTEM_ERROR: u16 = 1 << 8;
    /// Does not use its interrupt pin.
    pub const NO_PIN: u16 = 1 << 10;
}

/// Bit of the status register, as it stands in the upper half: there is a list of capabilities.
pub const HAS_CAPABILITIES: u32 = 1 << (16 + 4);

/// Kinds of header, without the bit that says that there are more functions (section 6.1).
pub mod header {
    /// A function.
    pub const ORDINARY: u8 = 0;
    /// A bridge to another bus.
    pub const BRIDGE: u8 = 1;
    /// The device has more functions than this.
    pub const MORE_FUNCTIONS: u8 = 0x80;
}

/// Base class and sub-class of a host bridge (appendix D).
pub const HOST_BRIDGE: u16 = 0x0600;
/// The base class of all bridges.
pub const BRIDGES: u8 = 0x06;

/// Bits of a base address (section 6.2.5.1).
pub mod base_address {
    /// Ports, not memory.
    pub const PORTS: u32 = 1 << 0;
    /// Bits 2 and 1 say how long the address is.
    pub const TYPE: u32 = 3 << 1;
    /// 64 bits: the upper half stands in the next register.
    pub const LONG: u32 = 2 << 1;
    /// Bits of the address, of memory.
    pub const ADDRESS: u32 = !0xf;
    /// Bit of the ROM's address: it answers.
    pub const ROM_ENABLE: u32 = 1;
}

/// Capabilities, by number, and their registers.
pub mod capability {
    /// Message-signalled interrupts (section 6.8.1).
    pub const MESSAGES: u8 = 0x05;
    /// PCI Express (section 7.5.3).
    pub const EXPRESS: u8 = 0x10;
    /// Message-signalled interrupts with a table (section 6.8.2).
    pub const MESSAGE_TABLE: u8 = 0x11;
    /// Advanced features of functions that are not Express (the ECN *Advanced Capabilities for Conventional PCI*).
    pub const ADVANCED: u8 = 0x13;

    /// Bit of the message control register, of either kind: messages are sent. For [`MESSAGES`] bit 0, for [`MESSAGE_TABLE`] bit 15.
    pub const MESSAGES_ENABLE: u16 = 1 << 0;
    /// See [`MESSAGES_ENABLE`].
    pub const MESSAGE_TABLE_ENABLE: u16 = 1 << 15;
    /// Of [`MESSAGES`]: addresses are of 64 bits.
    pub const MESSAGES_LONG: u16 = 1 << 7;
    /// Of [`MESSAGES`]: there are mask bits.
    pub const MESSAGES_MASK: u16 = 1 << 8;

    /// Of [`EXPRESS`]: offset of what the port is, in bits 7 to 4.
    pub const EXPRESS_KIND: u16 = 2;
    /// See [`EXPRESS_KIND`]: the root complex's port to a link.
    pub const ROOT_PORT: u16 = 4;
    /// Of [`EXPRESS`]: offset of the device's capabilities, whose bit 28 says that the function can be reset.
    pub const DEVICE_CAPABILITIES: u16 = 4;
    /// See [`DEVICE_CAPABILITIES`].
    pub const FUNCTION_RESET: u32 = 1 << 28;
    /// Of [`EXPRESS`]: offset of the device's control, whose bit 15 resets the function, and status in the upper half.
    pub const DEVICE_CONTROL: u16 = 8;
    /// See [`DEVICE_CONTROL`].
    pub const RESET: u16 = 1 << 15;
    /// Bit of the device's status, as it stands in the upper half: accesses of its own are not answered yet.
    pub const PENDING: u32 = 1 << (16 + 5);

    /// Of [`ADVANCED`]: byte that says whether the function can be reset (bit 1), byte whose bit 0 does it.
    pub const ADVANCED_FEATURES: u16 = 3;
    /// See [`ADVANCED_FEATURES`].
    pub const ADVANCED_RESET: u32 = 1 << 1;
    /// See [`ADVANCED_FEATURES`].
    pub const ADVANCED_CONTROL: u16 = 4;
}

/// Capabilities in extended configuration space, by number (PCI Express, section 7.6.3), and their registers.
pub mod extended {
    /// Access control services (section 7.7.8).
    pub const ACCESS_CONTROL: u16 = 0x0d;
    /// Single-root virtualization (section 9.3.3).
    pub const VIRTUAL_FUNCTIONS: u16 = 0x10;
    /// A base address of which the size can be changed (section 7.8.6).
    pub const SIZES: u16 = 0x15;
    /// The same of virtual functions (section 7.8.7).
    pub const VIRTUAL_SIZES: u16 = 0x24;

    /// Of [`ACCESS_CONTROL`]: offset of what there is, 16 bits, and of what is on.
    pub const SERVICES: u16 = 4;
    /// See [`SERVICES`].
    pub const SERVICES_ON: u16 = 6;
    /// Requests are looked at whether they bear a number of a bus behind the port.
    pub const SOURCE_VALIDATION: u16 = 1 << 0;
    /// Requests to other devices go by the root complex.
    pub const REQUEST_REDIRECT: u16 = 1 << 2;
    /// Their answers too.
    pub const COMPLETION_REDIRECT: u16 = 1 << 3;
    /// What comes redirected is passed on upwards.
    pub const UPSTREAM_FORWARDING: u16 = 1 << 4;

    /// Of [`VIRTUAL_FUNCTIONS`]: offset of the control register, whose bit 0 says that there are such functions.
    pub const VIRTUAL_CONTROL: u16 = 8;
    /// See [`VIRTUAL_CONTROL`].
    pub const VIRTUAL_ENABLE: u16 = 1 << 0;
}
