//! Leaf 12h: which enclaves there can be, and where their memory lies (Intel SDM volume 3D, section 37.7).

use core::arch::x86_64::CpuidResult;

use adyton_sgx::Capabilities;

use super::ZERO;
use crate::memory::Range;

/// The leaf.
pub(super) const ENCLAVES: u32 = 0x12;

/// The first subleaf that describes a section.
const FIRST_SECTION: u32 = 2;
/// A section's EAX: there is one. ECX: it is confidential and its integrity is protected.
const SECTION: u32 = 1;

/// The answer for an EPC in these sections and enclaves that may have these states in their XCR0.
pub(super) fn leaf(subleaf: u32, sections: &[Range], states: u64) -> CpuidResult {
    match subleaf.checked_sub(FIRST_SECTION) {
        Some(number) => sections.get(number as usize).map_or(ZERO, section),
        None => {
            let capabilities = Capabilities {
                xfrm: states,
                ..Capabilities::BASIC
            };
            let [eax, ebx, ecx, edx] = capabilities.leaf(subleaf);
            CpuidResult { eax, ebx, ecx, edx }
        }
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
        assert_eq!(words(0), [0x843, 1, 0, 0x241f]);
        assert_eq!(words(1), [0x4b6, 0, 7, 0]);
    }
}
