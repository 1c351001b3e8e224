//! Leaf 12h: which enclaves there can be, and where their memory lies (Intel SDM volume 3D, section 37.7).

use core::arch::x86_64::CpuidResult;

use super::ZERO;
use crate::memory::Range;

/// The leaf.
pub(super) const ENCLAVES: u32 = 0x12;

/// SGX1, SGX2, ETRACKC with its fellows, EDECCSSA.
const LEAVES: u32 = 1 | 1 << 1 | 1 << 6 | 1 << 11;
/// MISCSELECT: EXINFO.
const MISCELLANEOUS: u32 = 1;
/// The largest enclave, as a power of two: 2 GiB outside 64-bit mode, and what 47 bits of user addresses leave room for.
const LARGEST: u32 = 36 << 8 | 31;
/// ATTRIBUTES: DEBUG, MODE64BIT, PROVISIONKEY, EINITTOKENKEY, KSS, AEXNOTIFY.
const ATTRIBUTES: u32 = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 10;
/// The first subleaf that describes a section.
const FIRST_SECTION: u32 = 2;
/// A section's EAX: there is one. ECX: it is confidential and its integrity is protected.
const SECTION: u32 = 1;

/// The answer for an EPC in these sections and enclaves that may have these states in their XCR0.
pub(super) fn leaf(subleaf: u32, sections: &[Range], states: u64) -> CpuidResult {
    match subleaf {
        0 => CpuidResult {
            eax: LEAVES,
            ebx: MISCELLANEOUS,
            ecx: 0,
            edx: LARGEST,
        },
        1 => CpuidResult {
            eax: ATTRIBUTES,
            ebx: 0,
            ecx: states as u32,
            edx: (states >> 32) as u32,
        },
        _ => sections
            .get((subleaf - FIRST_SECTION) as usize)
            .map_or(ZERO, section),
    }
}

fn section(section: &Range) -> CpuidResult {
    let halves = |value: u64| (value as u32 & !0xfff | SECTION, (value >> 32) as u32);
    let ((eax, ebx), (ecx, edx)) = (halves(section.start), halves(section.size()));
    CpuidResult { eax, ebx, ecx, edx }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_described() {
        let sections = [
            Range {
                start: 0x6000_0000,
                end: 0x6200_0000,
            },
            Range {
                start: 0x1_0000_0000,
                end: 0x2_8000_0000,
            },
        ];
        let words = |subleaf| {
            let CpuidResult { eax, ebx, ecx, edx } = leaf(subleaf, &sections, 7);
            [eax, ebx, ecx, edx]
        };
        assert_eq!(words(2), [0x6000_0001, 0, 0x0200_0001, 0]);
        assert_eq!(words(3), [1, 1, 0x8000_0001, 1]);
        assert_eq!(words(4), [0; 4]);
        assert_eq!(words(u32::MAX), [0; 4]);
        assert_eq!(words(1)[2..], [7, 0]);
    }
}
