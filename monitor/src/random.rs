//! Random words from the processor.

use core::arch::x86_64::_rdrand64_step;

use crate::instructions::cpuid;

/// How often RDRAND is asked: Intel SDM volume 1, section 7.3.17.1.
const ATTEMPTS: u32 = 10;
const RDRAND: u32 = 1 << 30;

/// A random word, or `None` if the processor has no working source.
#[must_use]
pub fn word() -> Option<u64> {
    if cpuid(1, 0).ecx & RDRAND == 0 {
        return None;
    }
    (0..ATTEMPTS).find_map(|_| attempt())
}

fn attempt() -> Option<u64> {
    #[target_feature(enable = "rdrand")]
    fn read() -> Option<u64> {
        let mut value = 0;
        // All ones is what some processors give for ever after they were suspended.
        (_rdrand64_step(&mut value) == 1 && value != u64::MAX).then_some(value)
    }
    // SAFETY: `word` has seen that the processor has RDRAND.
    unsafe { read() }
}
