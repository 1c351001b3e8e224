//! Domain 0's view: the hardware, without what the monitor keeps for itself.

use core::arch::x86_64::CpuidResult;

use adyton_x86::cpuid::{
    ADDRESS_SIZES, EXTENDED_FEATURES, EXTENDED_FEATURES_2, EXTENDED_STATE, FEATURES, POWER,
    POWER_MANAGEMENT, STRUCTURED_FEATURES, SVM, address_sizes_ebx, extended_2_eax, extended_ecx,
    features_ecx, features_edx, power_management, structured_1_eax, structured_1_edx,
    structured_ebx, structured_ecx, structured_edx,
};

use super::enclaves::{self, ENCLAVES};
use super::{Context, ZERO, discovery, extended_state, is_hypervisor_leaf, with_live_bits};

/// Virtualization and SMX belong to the monitor; debug stores and performance capabilities to nobody.
const FEATURES_ECX: u32 = features_ecx::DTES64
    | features_ecx::DS_CPL
    | features_ecx::VMX
    | features_ecx::SMX
    | features_ecx::PDCM;

/// Traces, resource control, and enclaves of the hardware's own.
const STRUCTURED_EBX: u32 =
    structured_ebx::SGX | structured_ebx::PQM | structured_ebx::PQE | structured_ebx::PT;

/// Features whose registers are denied, or that encrypt or address memory behind the monitor's back.
const STRUCTURED_ECX: u32 = structured_ecx::SHSTK
    | structured_ecx::TME
    | structured_ecx::KEY_LOCKER
    | structured_ecx::ENQCMD
    | structured_ecx::SGX_LC
    | structured_ecx::PKS;
const STRUCTURED_EDX: u32 = structured_edx::UINTR
    | structured_edx::PCONFIG
    | structured_edx::ARCH_LBR
    | structured_edx::CET_IBT
    | structured_edx::CORE_CAPABILITIES;
const STRUCTURED_1_EAX: u32 = structured_1_eax::FRED
    | structured_1_eax::LKGS
    | structured_1_eax::WRMSRNS
    | structured_1_eax::NMI_SOURCE
    | structured_1_eax::HRESET
    | structured_1_eax::LAM
    | structured_1_eax::MSRLIST;
const STRUCTURED_1_EDX: u32 = structured_1_edx::USER_MSR | structured_1_edx::CET_SSS;

/// Virtualization, and whatever counts or samples.
const EXTENDED_ECX: u32 = extended_ecx::SVM
    | extended_ecx::IBS
    | extended_ecx::SKINIT
    | extended_ecx::WATCHDOG
    | extended_ecx::LWP
    | extended_ecx::NODE_ID
    | extended_ecx::PERF_CORE
    | extended_ecx::PERF_NB
    | extended_ecx::BREAKPOINT_MASK
    | extended_ecx::PERF_L2I;

const POWER_EBX: u32 = power_management::EBX_SUCCOR | power_management::EBX_SCALABLE_MCA;
const POWER_EDX: u32 = power_management::EDX_CORE_BOOST
    | power_management::EDX_FEEDBACK
    | power_management::EDX_POWER_REPORTING
    | power_management::EDX_RAPL;

/// INVLPGB would flush other domains' address spaces by number.
const ADDRESS_EBX: u32 = address_sizes_ebx::INVLPGB
    | address_sizes_ebx::BANDWIDTH
    | address_sizes_ebx::PPIN
    | address_sizes_ebx::CPPC;

const EXTENDED_2_EAX: u32 = extended_2_eax::UPPER_ADDRESS_IGNORE
    | extended_2_eax::AUTOMATIC_IBRS
    | extended_2_eax::CPUID_USER_DISABLE;

/// Says which leaf is the highest.
const HIGHEST: u32 = 0;

/// Leaf 6, EAX: turbo, and a timer that goes on in sleep; not HWP or thermal interrupts.
const POWER_EAX_SHOWN: u32 = 0b110;
/// Leaf 6, ECX: APERF and MPERF.
const POWER_ECX_SHOWN: u32 = 1 << 0;

/// The answer that domain 0 gets. `raw` asks this core's hardware for leaf and subleaf.
pub fn domain0(
    leaf: u32,
    subleaf: u32,
    raw: impl Fn(u32, u32) -> CpuidResult,
    context: &Context,
) -> CpuidResult {
    if is_hypervisor_leaf(leaf) {
        return discovery(leaf, context).unwrap_or_else(|| underlying(leaf, subleaf, &raw));
    }
    let mut shown = raw(leaf, subleaf);
    match leaf {
        HIGHEST | ENCLAVES if !context.epc.is_empty() => {
            if leaf == ENCLAVES {
                return enclaves::leaf(subleaf, context.epc, context.allowed_xcr0);
            }
            shown.eax = shown.eax.max(ENCLAVES);
        }
        FEATURES => {
            shown.ecx = with_live_bits(shown.ecx & !FEATURES_ECX, context);
            shown.edx &= !features_edx::DS;
        }
        POWER => {
            shown = CpuidResult {
                eax: shown.eax & POWER_EAX_SHOWN,
                ecx: shown.ecx & POWER_ECX_SHOWN,
                ..ZERO
            };
        }
        STRUCTURED_FEATURES => {
            structured(subleaf, &mut shown);
            if subleaf == 0 && !context.epc.is_empty() {
                shown.ebx |= structured_ebx::SGX;
                shown.ecx |= structured_ecx::SGX_LC;
            }
        }
        EXTENDED_STATE => {
            let available = extended_state::available(&raw);
            let instructions = extended_state::SUPERVISOR_FORM;
            return extended_state::leaf(subleaf, &raw, available, context.xcr0, instructions);
        }
        EXTENDED_FEATURES => shown.ecx &= !EXTENDED_ECX,
        POWER_MANAGEMENT => {
            shown.ebx &= !POWER_EBX;
            shown.edx &= !POWER_EDX;
        }
        ADDRESS_SIZES => shown.ebx &= !ADDRESS_EBX,
        EXTENDED_FEATURES_2 => shown.eax &= !EXTENDED_2_EAX,
        _ if is_hidden(leaf) => shown = ZERO,
        // Hardware repeats its highest leaf for what lies above it.
        ..ENCLAVES if leaf > raw(HIGHEST, 0).eax => shown = ZERO,
        _ => {}
    }
    shown
}

/// Leaves that describe only what is hidden: counters, resource control, SGX, traces, keys; SVM, sampling, memory
/// encryption.
fn is_hidden(leaf: u32) -> bool {
    matches!(
        leaf,
        0xa | 0xf
            | 0x10
            | 0x12
            | 0x14
            | 0x19
            | 0x1b
            | 0x1c
            | 0x20
            | 0x23
            | SVM
            | 0x8000_001b
            | 0x8000_001c
            | 0x8000_001f
            | 0x8000_0020
            | 0x8000_0022
            | 0x8000_0023
    )
}

fn structured(subleaf: u32, shown: &mut CpuidResult) {
    match subleaf {
        0 => {
            shown.ebx &= !STRUCTURED_EBX;
            shown.ecx &= !STRUCTURED_ECX;
            shown.edx &= !STRUCTURED_EDX;
        }
        1 => {
            shown.eax &= !STRUCTURED_1_EAX;
            shown.edx &= !STRUCTURED_1_EDX;
        }
        _ => {}
    }
}

/// What a hypervisor below the monitor says, if it is one that domain 0 can deal with.
///
/// KVM's name stays, for Linux takes it as a warrant that x2APIC works without interrupt remapping. But none of its
/// features does: they are given *physical* addresses to write to, which would lead past the nested tables.
/// Other hypervisors' features are like that and are hidden whole; the plain emulator has none.
fn underlying(leaf: u32, subleaf: u32, raw: &impl Fn(u32, u32) -> CpuidResult) -> CpuidResult {
    if raw(FEATURES, 0).ecx & features_ecx::HYPERVISOR == 0 {
        return ZERO;
    }
    let first = leaf & !0xff;
    let name = raw(first, 0);
    let is_known = is_named(&name, b"KVMKVMKVM\0\0\0") || is_named(&name, b"TCGTCGTCGTCG");
    // KVM may give the highest leaf as zero, meaning the next.
    let last = name.eax.clamp(first + 1, first | 0xff);
    if !is_known || leaf > last {
        ZERO
    } else if leaf == first {
        name
    } else if leaf == first + 1 {
        ZERO
    } else {
        raw(leaf, subleaf)
    }
}

fn is_named(answer: &CpuidResult, name: &[u8; 12]) -> bool {
    let (ebx, rest) = name.split_at(4);
    let (ecx, edx) = rest.split_at(4);
    answer.ebx.to_le_bytes() == *ebx
        && answer.ecx.to_le_bytes() == *ecx
        && answer.edx.to_le_bytes() == *edx
}
