//! Why a guest exited, in words that no vendor owns.

/// The reason, with what the hardware says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The calling instruction (VMMCALL).
    Call,
    /// CPUID.
    Cpuid,
    /// RDMSR; the register is in RCX.
    ReadMsr,
    /// WRMSR; the register is in RCX.
    WriteMsr,
    /// A port access.
    Io(Io),
    /// The nested tables do not allow an access.
    NestedFault(NestedFault),
    /// An intercepted exception, not delivered.
    Exception {
        /// Its vector.
        vector: u8,
        /// Its error code; meaningful for vectors that have one.
        error: u32,
    },
    /// A physical interrupt, still pending.
    Interrupt,
    /// A physical NMI, still latched.
    Nmi,
    /// A physical INIT.
    Init,
    /// HLT.
    Halt,
    /// IRET, not executed yet.
    InterruptReturn,
    /// INVD.
    InvalidateCaches,
    /// XSETBV.
    SetExtendedControl,
    /// RDTSC or RDTSCP.
    TimeStamp,
    /// RDPMC.
    PerformanceCounter,
    /// MONITOR or MWAIT.
    MonitorWait,
    /// An instruction of the virtualization extension itself.
    Virtualization,
    /// The guest has shut itself down, as by a triple fault.
    Shutdown,
    /// The guest state is one that the hardware does not enter.
    Invalid,
    /// Something else, by the vendor's number.
    Other(u64),
}

/// A port access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// The port.
    pub port: u16,
    /// Bytes of one access: 1, 2 or 4.
    pub size: u8,
    /// IN, not OUT.
    pub input: bool,
    /// INS or OUTS.
    pub string: bool,
    /// With a REP prefix.
    pub repeat: bool,
    /// Where the next instruction is.
    pub next_rip: u64,
}

/// An access that the nested tables do not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NestedFault {
    /// The guest-physical address.
    pub address: u64,
    /// It was a write.
    pub write: bool,
    /// It was an instruction fetch.
    pub execute: bool,
    /// Something is mapped there: a right was missing.
    pub present: bool,
    /// The CPU was walking the guest's page tables.
    pub table_walk: bool,
}
