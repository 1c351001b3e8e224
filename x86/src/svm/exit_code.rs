//! Why a guest exited: APM volume 2, appendix C.

/// The EXITCODE field. Open: hardware may report codes without a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct ExitCode(pub u64);

macro_rules! codes {
    ($($(#[$documentation:meta])* $name:ident = $value:expr;)*) => {
        impl ExitCode { $($(#[$documentation])* pub const $name: Self = Self($value);)* }
    };
}

codes! {
    /// Exception 0; exception n is n further on.
    EXCEPTION_FIRST = 0x40;
    /// Exception 31.
    EXCEPTION_LAST = 0x5f;
    /// Physical interrupt.
    INTERRUPT = 0x60;
    /// Physical NMI.
    NMI = 0x61;
    /// Physical INIT.
    INIT = 0x63;
    /// Virtual interrupt window.
    VIRTUAL_INTERRUPT = 0x64;
    /// RDTSC.
    RDTSC = 0x6e;
    /// RDPMC.
    RDPMC = 0x6f;
    /// CPUID.
    CPUID = 0x72;
    /// RSM.
    RSM = 0x73;
    /// IRET.
    IRET = 0x74;
    /// INVD.
    INVD = 0x76;
    /// HLT.
    HALT = 0x78;
    /// INVLPGA.
    INVLPGA = 0x7a;
    /// Port I/O; EXITINFO1 says which, EXITINFO2 is the next RIP.
    IO = 0x7b;
    /// RDMSR (EXITINFO1 = 0) or WRMSR (1).
    MSR = 0x7c;
    /// Shutdown.
    SHUTDOWN = 0x7f;
    /// VMRUN.
    VMRUN = 0x80;
    /// VMMCALL.
    VMMCALL = 0x81;
    /// SKINIT; what lies between [`Self::VMRUN`] and this are the other SVM instructions.
    SKINIT = 0x86;
    /// RDTSCP.
    RDTSCP = 0x87;
    /// WBINVD.
    WBINVD = 0x89;
    /// MONITOR.
    MONITOR = 0x8a;
    /// MWAIT.
    MWAIT = 0x8b;
    /// XSETBV.
    XSETBV = 0x8d;
    /// Nested page fault; EXITINFO1 is the error code, EXITINFO2 the guest-physical address.
    NESTED_FAULT = 0x400;
}

impl ExitCode {
    /// Whether the guest state was refused at entry. The manual defines -1 in 64 bits; QEMU writes 32.
    #[must_use]
    pub const fn is_invalid(self) -> bool {
        self.0 as u32 == u32::MAX
    }
}

/// Bits of EXITINFO1 at a nested page fault (APM volume 2, section 15.25.6).
pub mod nested_fault {
    /// The page was present: its rights forbade the access.
    pub const PRESENT: u64 = 1 << 0;
    /// A write.
    pub const WRITE: u64 = 1 << 1;
    /// By the guest's user mode.
    pub const USER: u64 = 1 << 2;
    /// An instruction fetch.
    pub const FETCH: u64 = 1 << 4;
    /// While the guest's own page tables were walked.
    pub const TABLE_WALK: u64 = 1 << 33;
}

/// Bits of EXITINFO1 at a port access (APM volume 2, figure 15-2).
pub mod io {
    /// IN, not OUT.
    pub const IN: u64 = 1 << 0;
    /// INS or OUTS.
    pub const STRING: u64 = 1 << 2;
    /// A REP prefix.
    pub const REPEAT: u64 = 1 << 3;

    /// Bytes of one access.
    #[must_use]
    pub const fn size(information: u64) -> u8 {
        ((information >> 4) & 7) as u8
    }

    /// The port.
    #[must_use]
    pub const fn port(information: u64) -> u16 {
        (information >> 16) as u16
    }
}
