//! What each core remembers of leaves.

use core::cell::UnsafeCell;

use adyton_sgx::{Progress, Thread};

use super::RECORDS;
use super::spaces::{Released, Taken};
use super::trails::Trails;
use crate::address::PAGE_SIZE;
use crate::cores::Core;
use crate::once::Once;

static STATES: Once<&'static [OfCore]> = Once::new();

struct OfCore(UnsafeCell<State>);

// SAFETY: `here` hands each one out to its own core only.
unsafe impl Sync for OfCore {}

/// One core's.
#[derive(Default)]
pub(super) struct State {
    /// How far an instruction of several slices is.
    pub(super) progress: Progress,
    /// Walks of the program that enters.
    pub(super) trails: Trails,
    /// While it is in enclave mode, and its space with it.
    pub(super) thread: Option<Thread>,
    pub(super) space: Option<Taken>,
    /// The space that it had last.
    pub(super) last: Option<Released>,
}

/// Makes the states.
///
/// # Panics
/// If the enclaves' reserve is too small.
pub(super) fn create(cores: usize) {
    let pages = ((cores * size_of::<OfCore>()) as u64).div_ceil(PAGE_SIZE);
    let array = RECORDS
        .allocate_contiguous(pages, PAGE_SIZE)
        .expect("the enclaves' reserve is too small for the cores")
        .value() as *mut OfCore;
    for index in 0..cores {
        // SAFETY: the array has room for `cores` states and belongs to nobody else.
        unsafe { array.add(index).write(OfCore(UnsafeCell::default())) };
    }
    // SAFETY: all elements were just written; they are never moved or freed.
    STATES.set(unsafe { core::slice::from_raw_parts(array, cores) });
}

/// Zeroes a core's: the key of a page that is on its way out or in is part of it.
///
/// # Safety
/// It is a place for a state that nobody uses any more.
unsafe fn erase(state: *mut State) {
    // SAFETY: as the caller warrants.
    unsafe { core::ptr::write_bytes(state, 0, 1) };
}

/// Zeroes what all cores remember.
///
/// # Safety
/// The machine ends: no other core runs, and this one goes back to no leaf.
pub(super) unsafe fn forget() {
    for state in STATES.try_get().copied().unwrap_or(&[]) {
        // SAFETY: as the caller warrants.
        unsafe { erase(state.0.get()) };
    }
}

/// Runs `action` on the state of `core`, which is the one that runs this.
#[inline]
pub(super) fn here<T>(core: &Core, action: impl FnOnce(&mut State) -> T) -> Option<T> {
    let state = STATES.try_get()?.get(core.index as usize)?;
    // SAFETY: only its own core comes here, and no action asks for the state again.
    Some(action(unsafe { &mut *state.0.get() }))
}

#[cfg(test)]
mod tests {
    use core::mem::MaybeUninit;

    use super::*;

    #[test]
    fn nothing_of_a_state_is_left() {
        let mut place = Box::new(MaybeUninit::<State>::uninit());
        let state = place.as_mut_ptr();
        // SAFETY: the box has room for a state; it is written whole, and then seen as bytes.
        let left = unsafe {
            core::ptr::write_bytes(state, 0xa5, 1);
            erase(state);
            core::slice::from_raw_parts(state.cast::<u8>(), size_of::<State>())
        };
        assert!(left.iter().all(|byte| *byte == 0));
    }
}
