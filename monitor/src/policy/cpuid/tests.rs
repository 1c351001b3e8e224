use core::arch::x86_64::__cpuid_count;

use adyton_x86::cpuid::*;
use proptest::prelude::*;

use super::*;

const CONTEXT: Context = Context {
    cr4: CR4_OSXSAVE,
    xcr0: 7,
    allowed_xcr0: 7,
    call: CallInstruction::Vmmcall,
    epc: &[],
};

/// Hardware that has every feature, under an emulator, with XSAVE states as EPYC has them.
fn everything(leaf: u32, subleaf: u32) -> CpuidResult {
    let all = CpuidResult {
        eax: !0,
        ebx: !0,
        ecx: !0,
        edx: !0,
    };
    let words = |eax, ebx, ecx, edx| CpuidResult { eax, ebx, ecx, edx };
    match (leaf, subleaf) {
        (EXTENDED_STATE, 0) => words(0x207, 0xa88, 0xa88, 0),
        (EXTENDED_STATE, 1) => words(0xf, 0x358, 0x1800, 0),
        (EXTENDED_STATE, 2) => words(0x100, 0x240, 0, 0),
        (EXTENDED_STATE, 9) => words(8, 0xa80, 0, 0),
        (EXTENDED_STATE, 11) => words(16, 0, 1, 0),
        (EXTENDED_STATE, _) => ZERO,
        (HYPERVISOR, _) => named(HYPERVISOR + 1, b"KVMKVMKVM\0\0\0"),
        _ => all,
    }
}

fn named(eax: u32, name: &[u8; 12]) -> CpuidResult {
    let word = |at: usize| u32::from_le_bytes(name[at..at + 4].try_into().unwrap());
    CpuidResult {
        eax,
        ebx: word(0),
        ecx: word(4),
        edx: word(8),
    }
}

fn zero(leaf: u32, subleaf: u32) -> CpuidResult {
    domain0(leaf, subleaf, everything, &CONTEXT)
}

fn one(leaf: u32, subleaf: u32) -> CpuidResult {
    child(leaf, subleaf, everything, &CONTEXT)
}

#[test]
fn virtualization_is_hidden() {
    for view in [zero, one] {
        assert_eq!(view(EXTENDED_FEATURES, 0).ecx & extended_ecx::SVM, 0);
        assert_eq!(view(FEATURES, 0).ecx & features_ecx::VMX, 0);
        assert_eq!(view(SVM, 0), ZERO);
        assert_eq!(view(0x8000_001f, 0), ZERO);
    }
}

#[test]
fn the_monitor_is_found() {
    for view in [zero, one] {
        assert_ne!(view(FEATURES, 0).ecx & features_ecx::HYPERVISOR, 0);
        assert_eq!(view(0x4000_4100, 0), named(0x4000_4101, b"AdytonMonitr"));
        let version = view(0x4000_4101, 0);
        assert_eq!((version.eax, version.ebx), (adyton_abi::VERSION, 0));
        assert_eq!(view(0x4000_4102, 0), ZERO);
    }
}

#[test]
fn the_hypervisor_below_keeps_its_name_but_not_its_features() {
    assert_eq!(zero(HYPERVISOR, 0), everything(HYPERVISOR, 0));
    assert_eq!(zero(HYPERVISOR + 1, 0), ZERO);
    assert_eq!(zero(HYPERVISOR + 2, 0), ZERO);
    assert_eq!(zero(HYPERVISOR + 0x100, 0), ZERO);
    assert_eq!(one(HYPERVISOR, 0), ZERO);
    let bare = |leaf, subleaf| match leaf {
        FEATURES => ZERO,
        _ => everything(leaf, subleaf),
    };
    assert_eq!(domain0(HYPERVISOR, 0, bare, &CONTEXT), ZERO);
}

#[test]
fn osxsave_follows_cr4() {
    for cr4 in [0, CR4_OSXSAVE] {
        let context = Context { cr4, ..CONTEXT };
        for shown in [
            domain0(1, 0, everything, &context),
            child(1, 0, everything, &context),
        ] {
            assert_eq!(shown.ecx & features_ecx::OSXSAVE != 0, cr4 != 0);
        }
    }
}

#[test]
fn sizes_follow_the_domains_own_xcr0() {
    let sizes = |xcr0| {
        let context = Context { xcr0, ..CONTEXT };
        let shown = domain0(EXTENDED_STATE, 0, everything, &context);
        let compacted = domain0(EXTENDED_STATE, 1, everything, &context);
        assert_eq!((shown.eax, shown.ecx, compacted.ecx), (0x207, 0xa88, 0));
        (shown.ebx, compacted.ebx)
    };
    assert_eq!(sizes(1), (0x240, 0x240));
    assert_eq!(sizes(7), (0x340, 0x340));
    assert_eq!(sizes(0x207), (0xa88, 0x348));
    let shown = one(EXTENDED_STATE, 0);
    assert_eq!((shown.eax, shown.ebx, shown.ecx), (7, 0x340, 0x340));
    assert_eq!(one(EXTENDED_STATE, 1).eax, 7);
    assert_eq!(one(EXTENDED_STATE, 9), ZERO);
    assert_eq!(zero(EXTENDED_STATE, 11), ZERO);
}

#[test]
fn a_child_sees_only_what_is_switched() {
    let features = one(FEATURES, 0);
    assert_eq!(
        features.ecx
            & (features_ecx::X2APIC
                | features_ecx::MONITOR
                | features_ecx::PCID
                | features_ecx::TSC_DEADLINE),
        0
    );
    assert_eq!(features.edx & (features_edx::APIC | features_edx::MTRR), 0);
    assert_eq!(features.ebx, 0x1_ff00);
    assert_eq!(one(EXTENDED_FEATURES, 0).edx & extended_edx::RDTSCP, 0);
    assert_eq!(one(STRUCTURED_FEATURES, 0).ecx & structured_ecx::RDPID, 0);
    assert_eq!(one(0xa, 0), ZERO);
    assert_eq!(one(VENDOR, 0).eax, EXTENDED_STATE);
    assert_eq!(one(EXTENDED, 0).eax, ADDRESS_SIZES);
}

#[test]
fn avx_goes_with_its_state() {
    let context = Context {
        allowed_xcr0: 3,
        xcr0: 3,
        ..CONTEXT
    };
    let shown = child(FEATURES, 0, everything, &context);
    assert_eq!(shown.ecx & (features_ecx::AVX | features_ecx::FMA), 0);
    let shown = child(STRUCTURED_FEATURES, 0, everything, &context);
    assert_eq!(shown.ebx & structured_ebx::AVX2, 0);
    assert_eq!(child(EXTENDED_STATE, 0, everything, &context).eax, 3);
}

/// The hardware that the tests run on, as it is.
fn hardware(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

#[test]
fn nothing_is_invented() {
    for (leaf, bits) in [
        (FEATURES, features_ecx::HYPERVISOR | features_ecx::OSXSAVE),
        (STRUCTURED_FEATURES, 0),
        (EXTENDED_FEATURES, 0),
    ] {
        let real = hardware(leaf, 0);
        for shown in [
            domain0(leaf, 0, hardware, &CONTEXT),
            child(leaf, 0, hardware, &CONTEXT),
        ] {
            assert_eq!(shown.ecx & !real.ecx & !bits, 0);
            assert_eq!(shown.edx & !real.edx, 0);
        }
    }
}

proptest! {
    #[test]
    fn any_leaf_is_answered(leaf: u32, subleaf: u32, cr4: u64, xcr0: u64, allowed_xcr0: u64, words: [u32; 4]) {
        let context = Context { cr4, xcr0, allowed_xcr0, call: CallInstruction::Vmcall, epc: &[] };
        let raw = |_, _| CpuidResult { eax: words[0], ebx: words[1], ecx: words[2], edx: words[3] };
        for leaf in [leaf, leaf & 0x8000_003f, leaf & 0x4000_03ff, EXTENDED_STATE] {
            domain0(leaf, subleaf % 70, raw, &context);
            child(leaf, subleaf % 70, raw, &context);
        }
    }
}

#[test]
fn enclaves_are_shown_where_they_are_offered() {
    let epc: &'static [Range] = &[Range {
        start: 0x1000_0000,
        end: 0x1200_0000,
    }];
    let offered = |leaf, subleaf| domain0(leaf, subleaf, everything, &Context { epc, ..CONTEXT });
    let features = offered(STRUCTURED_FEATURES, 0);
    assert_ne!(features.ebx & structured_ebx::SGX, 0);
    assert_ne!(features.ecx & structured_ecx::SGX_LC, 0);
    assert_eq!(offered(0x12, 2).eax, 0x1000_0001);
    let hidden = zero(STRUCTURED_FEATURES, 0);
    assert_eq!(hidden.ebx & structured_ebx::SGX, 0);
    assert_eq!(zero(0x12, 0), ZERO);
}

#[test]
fn the_leaf_of_enclaves_is_within_the_highest() {
    let old = |leaf, subleaf| match leaf {
        0 => CpuidResult { eax: 0xd, ..ZERO },
        _ => everything(leaf, subleaf),
    };
    let epc: &'static [Range] = &[Range { start: 0, end: 1 }];
    let context = Context { epc, ..CONTEXT };
    assert_eq!(domain0(0, 0, old, &context).eax, 0x12);
    assert_eq!(domain0(0, 0, old, &CONTEXT).eax, 0xd);
    // What lies between does not exist.
    assert_eq!(domain0(0x11, 0, old, &context), ZERO);
    assert_ne!(domain0(0xb, 0, old, &context), ZERO);
}
