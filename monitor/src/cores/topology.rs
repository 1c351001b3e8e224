//! Which numbers of APICs are threads of one core.

use crate::instructions::CpuidResult;

/// How many numbers of APICs are one core's, a power of two, by what this CPUID says: leaf 0Bh, or AMD's 8000_001Eh.
pub fn threads(cpuid: impl Fn(u32, u32) -> CpuidResult) -> u64 {
    const TOPOLOGY: u32 = 0xb;
    const IDENTIFIERS: u32 = 0x8000_001e;
    const EXTENSIONS: u32 = 1 << 22;
    if cpuid(0, 0).eax >= TOPOLOGY {
        let level = cpuid(TOPOLOGY, 0);
        let is_thread_level = level.ecx >> 8 & 0xff == 1;
        if level.ebx & 0xffff != 0 && is_thread_level {
            return 1 << (level.eax & 0x1f);
        }
    }
    let has_identifiers =
        cpuid(0x8000_0000, 0).eax >= IDENTIFIERS && cpuid(0x8000_0001, 0).ecx & EXTENSIONS != 0;
    if has_identifiers {
        let threads = u64::from(cpuid(IDENTIFIERS, 0).ebx >> 8 & 0xff) + 1;
        return threads.next_power_of_two();
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What some CPUID says of its topology: the greatest leaf, leaf 0Bh, and threads by 8000_001Eh (0: no such leaf).
    fn of(greatest: u32, level: [u32; 3], identifiers: u32) -> u64 {
        threads(|leaf, _| {
            let [eax, ebx, ecx] = match leaf {
                0 => [greatest, 0, 0],
                0xb => level,
                0x8000_0000 => [0x8000_001f, 0, 0],
                0x8000_0001 => [0, 0, u32::from(identifiers > 0) << 22],
                0x8000_001e => [0, identifiers.wrapping_sub(1) << 8, 0],
                _ => [0; 3],
            };
            CpuidResult {
                eax,
                ebx,
                ecx,
                edx: 0,
            }
        })
    }

    #[test]
    fn threads_of_a_core() {
        assert_eq!(of(0xd, [1, 2, 0x100], 2), 2);
        assert_eq!(of(0xd, [0, 1, 0x100], 1), 1, "QEMU without -smp threads");
        assert_eq!(of(0xd, [0, 0, 0], 2), 2, "leaf 0Bh is empty");
        assert_eq!(of(7, [9, 9, 0x100], 2), 2, "there is no leaf 0Bh");
        assert_eq!(
            of(0xd, [4, 16, 0x200], 3),
            4,
            "it does not begin with threads"
        );
        assert_eq!(of(7, [0; 3], 0), 1, "nothing is said");
    }
}
