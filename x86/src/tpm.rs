//! A TPM 2.0 behind memory-mapped registers: TCG PC Client Platform TPM Profile (PTP) 1.05, chapter 6.

/// Where the registers of locality 0 lie.
pub const BASE: u64 = 0xfed4_0000;
/// Behind the last page through which a TPM is commanded: five localities, and the page in which firmware keeps what an
/// operating system asks it to do with the TPM at the next start (QEMU's physical presence interface).
pub const END: u64 = 0xfed4_6000;

/// Which interface it has, common to all (section 6.4.2.9).
pub mod identity {
    /// Offset; 32 bits.
    pub const REGISTER: u64 = 0x30;
    /// The field that says which.
    pub const KIND: u32 = 0xf;
    /// The older register interface.
    pub const TIS: u32 = 0;
    /// Command response buffer.
    pub const CRB: u32 = 1;
    /// The register interface of version 1.3, which has no such field.
    pub const OLD_TIS: u32 = 0xf;
}

/// The command response buffer (section 6.5.3).
pub mod crb {
    /// State of the locality.
    pub const LOCALITY_STATE: u64 = 0x00;
    /// The locality is in use.
    pub const ASSIGNED: u32 = 1 << 1;
    /// Asks for the locality.
    pub const LOCALITY_CONTROL: u64 = 0x08;
    /// The wish to use it.
    pub const REQUEST_ACCESS: u32 = 1 << 0;
    /// Asks for a state.
    pub const REQUEST: u64 = 0x40;
    /// The wish to be ready; reads back as zero when it is fulfilled.
    pub const READY: u32 = 1 << 0;
    /// The wish to be idle.
    pub const IDLE: u32 = 1 << 1;
    /// State of the TPM.
    pub const STATUS: u64 = 0x44;
    /// It has failed.
    pub const FATAL: u32 = 1 << 0;
    /// It is idle.
    pub const IS_IDLE: u32 = 1 << 1;
    /// Starts the command; reads back as zero when it is done.
    pub const START: u64 = 0x4c;
    /// Size of the command buffer.
    pub const COMMAND_SIZE: u64 = 0x58;
    /// Address of the command buffer, low half.
    pub const COMMAND_LOW: u64 = 0x5c;
    /// Address of the command buffer, high half.
    pub const COMMAND_HIGH: u64 = 0x60;
    /// Address of the response buffer, low half.
    pub const RESPONSE_LOW: u64 = 0x68;
    /// Address of the response buffer, high half.
    pub const RESPONSE_HIGH: u64 = 0x6c;
}

/// The register interface (section 6.5.2).
pub mod tis {
    /// Who uses the locality; 8 bits.
    pub const ACCESS: u64 = 0x00;
    /// The wish to use it.
    pub const REQUEST_USE: u8 = 1 << 1;
    /// It is in use.
    pub const ACTIVE: u8 = 1 << 5;
    /// The register is valid.
    pub const ACCESS_VALID: u8 = 1 << 7;
    /// State of the TPM; 32 bits.
    pub const STATUS: u64 = 0x18;
    /// Another byte of the command is expected.
    pub const EXPECT: u32 = 1 << 3;
    /// There are bytes of a response.
    pub const DATA: u32 = 1 << 4;
    /// Executes the command.
    pub const GO: u32 = 1 << 5;
    /// Ready for a command; written: become so, whatever you do.
    pub const READY: u32 = 1 << 6;
    /// `EXPECT` and `DATA` are valid.
    pub const VALID: u32 = 1 << 7;
    /// How many bytes may be moved at once: the field's place.
    pub const BURST_SHIFT: u32 = 8;
    /// Its width.
    pub const BURST_MASK: u32 = 0xffff;
    /// The bytes of commands and responses; 8 bits.
    pub const DATA_FIFO: u64 = 0x24;
}
