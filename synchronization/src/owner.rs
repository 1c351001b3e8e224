//! Which core has a vCPU in its hands.

use crate::atomic::{AtomicU32, Ordering};

/// Which core has a vCPU in its hands: running it, or deciding about it. All zeros is nobody.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Owner(AtomicU32);

impl Owner {
    /// Takes the vCPU for `core` if nobody has it.
    #[inline]
    pub fn take(&self, core: u32) -> bool {
        let mine = core.wrapping_add(1);
        self.0
            .compare_exchange(0, mine, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives it back. Nothing of the vCPU is touched after that.
    #[inline]
    pub fn release(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The core that has it.
    #[must_use]
    pub fn core(&self) -> Option<u32> {
        self.0.load(Ordering::SeqCst).checked_sub(1)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_core_at_a_time() {
        let owner = Owner::default();
        assert!(owner.take(0));
        assert!(!owner.take(1));
        assert_eq!(owner.core(), Some(0));
        owner.release();
        assert!(owner.take(1));
    }
}
