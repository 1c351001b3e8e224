//! CPUID: leaves and the feature bits that anybody here asks for or hides (APM volume 3, appendix E; Intel SDM volume 2A).

/// Vendor and highest basic leaf.
pub const VENDOR: u32 = 0;
/// Family, APIC id, features.
pub const FEATURES: u32 = 1;
/// Power and frequency.
pub const POWER: u32 = 6;
/// More features.
pub const STRUCTURED_FEATURES: u32 = 7;
/// Topology.
pub const TOPOLOGY: u32 = 0xb;
/// The extended state that XSAVE saves.
pub const EXTENDED_STATE: u32 = 0xd;
/// The first leaf that a hypervisor answers.
pub const HYPERVISOR: u32 = 0x4000_0000;
/// The last leaf that is a hypervisor's.
pub const HYPERVISOR_LAST: u32 = 0x4fff_ffff;
/// Highest extended leaf.
pub const EXTENDED: u32 = 0x8000_0000;
/// Extended features.
pub const EXTENDED_FEATURES: u32 = 0x8000_0001;
/// Reliability and power.
pub const POWER_MANAGEMENT: u32 = 0x8000_0007;
/// Address widths and more features.
pub const ADDRESS_SIZES: u32 = 0x8000_0008;
/// What SVM can do.
pub const SVM: u32 = 0x8000_000a;
/// Still more features.
pub const EXTENDED_FEATURES_2: u32 = 0x8000_0021;

macro_rules! bits {
    ($($(#[$documentation:meta])* $name:ident = $bit:literal),* $(,)?) => {
        $($(#[$documentation])* pub const $name: u32 = 1 << $bit;)*
    };
}

/// Leaf 1, ECX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod features_ecx {
    bits! {
        SSE3 = 0, PCLMULQDQ = 1, DTES64 = 2, MONITOR = 3, DS_CPL = 4, VMX = 5, SMX = 6, SSSE3 = 9, FMA = 12, CMPXCHG16B = 13,
        PDCM = 15, PCID = 17, SSE4_1 = 19, SSE4_2 = 20, X2APIC = 21, MOVBE = 22, POPCNT = 23, TSC_DEADLINE = 24, AES = 25,
        XSAVE = 26, OSXSAVE = 27, AVX = 28, F16C = 29, RDRAND = 30, HYPERVISOR = 31,
    }
}

/// Leaf 1, EDX; the bits that leaf 8000_0001 repeats included.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod features_edx {
    bits! {
        FPU = 0, DE = 2, PSE = 3, TSC = 4, MSR = 5, PAE = 6, CMPXCHG8B = 8, APIC = 9, SYSENTER = 11, MTRR = 12, PGE = 13,
        CMOV = 15, PAT = 16, PSE36 = 17, CLFLUSH = 19, DS = 21, MMX = 23, FXSR = 24, SSE = 25, SSE2 = 26,
    }
}

/// Leaf 7.0, EBX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod structured_ebx {
    bits! {
        FSGSBASE = 0, SGX = 2, BMI1 = 3, AVX2 = 5, SMEP = 7, BMI2 = 8, ERMS = 9, PQM = 12, PQE = 15, RDSEED = 18, ADX = 19,
        SMAP = 20, CLFLUSHOPT = 23, CLWB = 24, PT = 25, SHA = 29,
    }
}

/// Leaf 7.0, ECX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod structured_ecx {
    bits! {
        UMIP = 2, SHSTK = 7, GFNI = 8, VAES = 9, VPCLMULQDQ = 10, TME = 13, RDPID = 22, KEY_LOCKER = 23, MOVDIRI = 27,
        MOVDIR64B = 28, ENQCMD = 29, SGX_LC = 30, PKS = 31,
    }
}

/// Leaf 7.0, EDX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod structured_edx {
    bits! {
        FSRM = 4, UINTR = 5, SERIALIZE = 14, PCONFIG = 18, ARCH_LBR = 19, CET_IBT = 20, CORE_CAPABILITIES = 30,
    }
}

/// Leaf 7.1, EAX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod structured_1_eax {
    bits! {
        FRED = 17, LKGS = 18, WRMSRNS = 19, NMI_SOURCE = 20, HRESET = 22, LAM = 26, MSRLIST = 27,
    }
}

/// Leaf 7.1, EDX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod structured_1_edx {
    bits! {
        USER_MSR = 15, CET_SSS = 18,
    }
}

/// Leaf 8000_0001, ECX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod extended_ecx {
    bits! {
        LAHF_SAHF = 0, SVM = 2, ABM = 5, SSE4A = 6, MISALIGNED_SSE = 7, PREFETCHW = 8, IBS = 10, SKINIT = 12, WATCHDOG = 13,
        LWP = 15, NODE_ID = 19, PERF_CORE = 23, PERF_NB = 24, BREAKPOINT_MASK = 26, PERF_L2I = 28,
    }
}

/// Leaf 8000_0001, EDX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod extended_edx {
    bits! {
        SYSCALL = 11, NX = 20, MMX_EXTENSIONS = 22, GIGABYTE_PAGES = 26, RDTSCP = 27, LONG_MODE = 29,
    }
}

/// Leaf 8000_0007, EBX and EDX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod power_management {
    bits! {
        EBX_SUCCOR = 1, EBX_SCALABLE_MCA = 3, EDX_INVARIANT_TSC = 8, EDX_CORE_BOOST = 9, EDX_FEEDBACK = 11,
        EDX_POWER_REPORTING = 12, EDX_RAPL = 14,
    }
}

/// Leaf 8000_0008, EBX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod address_sizes_ebx {
    bits! {
        CLZERO = 0, INVLPGB = 3, BANDWIDTH = 6, PPIN = 23, CPPC = 27,
    }
}

/// Leaf 8000_0021, EAX.
#[allow(missing_docs, reason = "the manuals' own names")]
pub mod extended_2_eax {
    bits! {
        UPPER_ADDRESS_IGNORE = 7, AUTOMATIC_IBRS = 8, CPUID_USER_DISABLE = 17,
    }
}
