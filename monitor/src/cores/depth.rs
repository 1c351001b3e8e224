//! How deep the stacks have been used: a stack is made of zeros, and what it was used for is found on it.
//!
//! Only in the monitor under test. Where a stack is wiped, what was found is noted before.

use core::sync::atomic::{AtomicU64, Ordering};

use super::stack::{self, Whose};

static BOOT: AtomicU64 = AtomicU64::new(0);
static CORES: AtomicU64 = AtomicU64::new(0);

/// Notes how deep each stack has been used by now.
pub fn note() {
    for (whose, base) in stack::every() {
        let noted = match whose {
            Whose::Boot => &BOOT,
            Whose::Core(_) => &CORES,
        };
        noted.fetch_max(depth(base), Ordering::Relaxed);
    }
}

/// Bytes of the boot's stack that were used, of a core's at most, and how many each has.
#[must_use]
pub fn deepest() -> [u64; 3] {
    note();
    let noted = [&BOOT, &CORES].map(|noted| noted.load(Ordering::Relaxed));
    [noted[0], noted[1], stack::usable(0).size()]
}

fn depth(base: u64) -> u64 {
    let usable = stack::usable(base);
    let is_used = |place: &u64| {
        // SAFETY: it lies on a stack, which is mapped; whatever another core writes there meanwhile is a number.
        unsafe { (*place as *const u64).read_volatile() != 0 }
    };
    let deepest = (usable.start..usable.end).step_by(8).find(is_used);
    deepest.map_or(0, |place| usable.end - place)
}
