//! How the stack of a core is laid out: what it may use, and what catches it when that is not enough.
//!
//! From the lowest address up: a page that is not mapped; the stack that the core changes to when a page fault cannot be told on its own one; another
//! page that is not mapped; the stack itself, down to which it grows; the [`StackEnd`](super::StackEnd). All of it is aligned to its size, so
//! that a core is found from either stack.

use core::sync::atomic::{AtomicU64, Ordering};

use super::{STACK_END_SIZE, all};
use crate::address::PAGE_SIZE;
use crate::memory::Range;

/// Bytes of all of it, and its alignment. A boot by PVH uses 41 KiB of its stack; `cargo xtask test attacks/stack-depth` fails where less than a quarter
/// is left, and its console says how much was used.
pub const STACK_SIZE: usize = 128 << 10;

/// Bytes of the stack on which a page fault is told and the machine ended.
const FAULT_STACK_SIZE: u64 = 20 << 10;
const FAULT_STACK: u64 = PAGE_SIZE;
const GUARD: u64 = FAULT_STACK + FAULT_STACK_SIZE;
const STACK: u64 = GUARD + PAGE_SIZE;
const STACK_END: u64 = (STACK_SIZE - STACK_END_SIZE) as u64;

const _: () = assert!(STACK < STACK_END && STACK_SIZE.is_power_of_two());

/// Where the one begins that a boot runs on until its core has its own.
static BOOT_STACK: AtomicU64 = AtomicU64::new(0);

/// Whose stack it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The boot's, before the cores have theirs.
    Boot,
    /// That of the core with this number.
    Core(u32),
}

/// Says where the boot's own stack begins.
pub fn set_boot_stack(base: u64) {
    BOOT_STACK.store(base, Ordering::Relaxed);
}

/// The pages of the stack at `base` that are not mapped.
#[must_use]
pub const fn guards(base: u64) -> [u64; 2] {
    [base, base + GUARD]
}

/// The upper end of the fault stack of the stack at `base`.
#[must_use]
pub const fn fault_stack_end(base: u64) -> u64 {
    base + GUARD
}

/// What the core may use of the stack at `base`.
#[must_use]
pub const fn usable(base: u64) -> Range {
    Range {
        start: base + STACK,
        end: base + STACK_END,
    }
}

/// Where the stack begins that `place` lies in.
#[must_use]
pub const fn base_of(place: u64) -> u64 {
    place & !(STACK_SIZE as u64 - 1)
}

/// How far the stack that `place` lies on may go down, be it a core's own or the one for faults.
#[must_use]
pub const fn lowest(place: u64) -> u64 {
    let base = base_of(place);
    if is_fault_stack(place) {
        base + FAULT_STACK
    } else {
        base + STACK
    }
}

/// Whether `place` lies on a stack for faults.
#[must_use]
pub const fn is_fault_stack(place: u64) -> bool {
    place - base_of(place) <= GUARD
}

/// Every stack that there is, and whose.
pub(super) fn every() -> impl Iterator<Item = (Whose, u64)> {
    let boot = (Whose::Boot, BOOT_STACK.load(Ordering::Relaxed));
    let cores = all()
        .iter()
        .map(|core| (Whose::Core(core.index), core.stack.value()));
    core::iter::once(boot)
        .filter(|(_, base)| *base != 0)
        .chain(cores)
}

/// Whose stack is used up, if that is why `address` faulted.
#[must_use]
pub fn used_up(address: u64) -> Option<Whose> {
    let page = address & !(PAGE_SIZE - 1);
    every().find_map(|(whose, base)| guards(base).contains(&page).then_some(whose))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_on_one_stack() {
        let base = 7 * STACK_SIZE as u64;
        let [lower, upper] = guards(base);
        assert_eq!(upper + PAGE_SIZE, usable(base).start);
        assert_eq!(fault_stack_end(base), upper);
        for place in [usable(base).start, usable(base).end] {
            assert!(!is_fault_stack(place) && base_of(place) == base);
            assert_eq!(lowest(place), usable(base).start);
        }
        // A stack pointer at the very end of the fault stack is on it.
        for place in [upper, upper - 8, lower + PAGE_SIZE] {
            assert!(is_fault_stack(place) && lowest(place) == lower + PAGE_SIZE);
        }
    }

    #[test]
    fn what_is_used_up_is_the_stack_above() {
        set_boot_stack(3 * STACK_SIZE as u64);
        let [lower, upper] = guards(3 * STACK_SIZE as u64);
        assert_eq!(used_up(upper + PAGE_SIZE - 8), Some(Whose::Boot));
        assert_eq!(used_up(lower), Some(Whose::Boot));
        assert_eq!(used_up(upper + PAGE_SIZE), None);
        assert_eq!(used_up(upper - 8), None);
        assert_eq!(used_up(0), None);
    }
}
