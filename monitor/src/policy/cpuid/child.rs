//! The view of a domain other than domain 0: a plain 64-bit processor with one core.

use core::arch::x86_64::CpuidResult;

use adyton_x86::cpuid::{
    ADDRESS_SIZES, EXTENDED, EXTENDED_FEATURES, EXTENDED_STATE, FEATURES, POWER_MANAGEMENT,
    STRUCTURED_FEATURES, TOPOLOGY, VENDOR, address_sizes_ebx, extended_ecx, extended_edx,
    features_ecx, features_edx, power_management, structured_ebx, structured_ecx, structured_edx,
};

use super::{Context, ZERO, discovery, extended_state, with_live_bits};

const FEATURES_ECX: u32 = features_ecx::SSE3
    | features_ecx::PCLMULQDQ
    | features_ecx::SSSE3
    | features_ecx::CMPXCHG16B
    | features_ecx::SSE4_1
    | features_ecx::SSE4_2
    | features_ecx::MOVBE
    | features_ecx::POPCNT
    | features_ecx::AES
    | features_ecx::XSAVE
    | features_ecx::RDRAND
    | FEATURES_ECX_AVX;
const FEATURES_ECX_AVX: u32 = features_ecx::FMA | features_ecx::AVX | features_ecx::F16C;

/// What leaf 8000_0001 repeats on AMD processors.
const FEATURES_EDX_BOTH: u32 = features_edx::FPU
    | features_edx::DE
    | features_edx::PSE
    | features_edx::TSC
    | features_edx::MSR
    | features_edx::PAE
    | features_edx::CMPXCHG8B
    | features_edx::PGE
    | features_edx::CMOV
    | features_edx::PAT
    | features_edx::PSE36
    | features_edx::MMX
    | features_edx::FXSR;
const FEATURES_EDX: u32 = FEATURES_EDX_BOTH
    | features_edx::SYSENTER
    | features_edx::CLFLUSH
    | features_edx::SSE
    | features_edx::SSE2;

const STRUCTURED_EBX: u32 = structured_ebx::FSGSBASE
    | structured_ebx::BMI1
    | structured_ebx::SMEP
    | structured_ebx::BMI2
    | structured_ebx::ERMS
    | structured_ebx::RDSEED
    | structured_ebx::ADX
    | structured_ebx::SMAP
    | structured_ebx::CLFLUSHOPT
    | structured_ebx::CLWB
    | structured_ebx::SHA
    | structured_ebx::AVX2;
const STRUCTURED_ECX: u32 = structured_ecx::UMIP
    | structured_ecx::GFNI
    | structured_ecx::MOVDIRI
    | structured_ecx::MOVDIR64B
    | STRUCTURED_ECX_AVX;
const STRUCTURED_ECX_AVX: u32 = structured_ecx::VAES | structured_ecx::VPCLMULQDQ;
const STRUCTURED_EDX: u32 = structured_edx::FSRM | structured_edx::SERIALIZE;

const EXTENDED_ECX: u32 = extended_ecx::LAHF_SAHF
    | extended_ecx::ABM
    | extended_ecx::SSE4A
    | extended_ecx::MISALIGNED_SSE
    | extended_ecx::PREFETCHW;
const EXTENDED_EDX: u32 = FEATURES_EDX_BOTH
    | extended_edx::SYSCALL
    | extended_edx::NX
    | extended_edx::MMX_EXTENSIONS
    | extended_edx::GIGABYTE_PAGES
    | extended_edx::LONG_MODE;

/// XCR0: the AVX state.
const AVX_STATE: u64 = 1 << 2;
/// Leaf 1, EBX: the size of a cache line, in units of 8 bytes.
const CACHE_LINE: u32 = 0xff00;
/// Leaf 1, EBX: one logical processor.
const ONE_PROCESSOR: u32 = 1 << 16;
/// Leaf 8000_0008, EAX: linear addresses of 48 bits, since five levels are not offered.
const LINEAR_BITS: u32 = 48 << 8;
const PHYSICAL_BITS: u32 = 0xff;

/// The answer that a child domain gets. `raw` asks this core's hardware for leaf and subleaf.
pub fn child(
    leaf: u32,
    subleaf: u32,
    raw: impl Fn(u32, u32) -> CpuidResult,
    context: &Context,
) -> CpuidResult {
    let allowed = extended_state::available(&raw) & context.allowed_xcr0;
    let has_avx = allowed & AVX_STATE != 0;
    let unless_avx = |bits: u32| if has_avx { 0 } else { bits };
    let hardware = raw(leaf, subleaf);
    match leaf {
        VENDOR => CpuidResult {
            eax: EXTENDED_STATE,
            ..hardware
        },
        FEATURES => CpuidResult {
            eax: hardware.eax,
            ebx: hardware.ebx & CACHE_LINE | ONE_PROCESSOR,
            ecx: with_live_bits(
                hardware.ecx & FEATURES_ECX & !unless_avx(FEATURES_ECX_AVX),
                context,
            ),
            edx: hardware.edx & FEATURES_EDX,
        },
        STRUCTURED_FEATURES if subleaf == 0 => CpuidResult {
            eax: 0,
            ebx: hardware.ebx & STRUCTURED_EBX & !unless_avx(structured_ebx::AVX2),
            ecx: hardware.ecx & STRUCTURED_ECX & !unless_avx(STRUCTURED_ECX_AVX),
            edx: hardware.edx & STRUCTURED_EDX,
        },
        TOPOLOGY => topology(subleaf),
        EXTENDED_STATE => {
            let instructions = extended_state::COMPACTING;
            extended_state::leaf(subleaf, &raw, allowed, context.xcr0, instructions)
        }
        EXTENDED => CpuidResult {
            eax: ADDRESS_SIZES,
            ..hardware
        },
        EXTENDED_FEATURES => CpuidResult {
            eax: hardware.eax,
            ebx: 0,
            ecx: hardware.ecx & EXTENDED_ECX,
            edx: hardware.edx & EXTENDED_EDX,
        },
        // The processor's name and its caches.
        0x8000_0002..=0x8000_0006 => hardware,
        POWER_MANAGEMENT => CpuidResult {
            edx: hardware.edx & power_management::EDX_INVARIANT_TSC,
            ..ZERO
        },
        ADDRESS_SIZES => CpuidResult {
            eax: hardware.eax & PHYSICAL_BITS | LINEAR_BITS,
            ebx: hardware.ebx & address_sizes_ebx::CLZERO,
            ..ZERO
        },
        _ => discovery(leaf, context).unwrap_or(ZERO),
    }
}

/// One core with one thread.
fn topology(level: u32) -> CpuidResult {
    let (processors, kind) = match level {
        0 => (1, 1),
        1 => (1, 2),
        _ => (0, 0),
    };
    CpuidResult {
        eax: 0,
        ebx: processors,
        ecx: kind << 8 | level & 0xff,
        edx: 0,
    }
}
