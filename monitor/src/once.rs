//! A cell that is written once while the machine boots and only read from then on.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, Ordering};

const EMPTY: u8 = 0;
const WRITING: u8 = 1;
const FULL: u8 = 2;

/// The cell. `get` is one load and a test.
pub struct Once<T> {
    state: AtomicU8,
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one core, before `FULL` is published, and only read after it.
unsafe impl<T: Send + Sync> Sync for Once<T> {}

impl<T> Once<T> {
    /// An empty cell.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: AtomicU8::new(EMPTY),
            value: UnsafeCell::new(None),
        }
    }

    /// Fills the cell.
    ///
    /// # Panics
    /// If it was filled before: the boot sequence is wrong.
    pub fn set(&self, value: T) -> &T {
        let claimed =
            self.state
                .compare_exchange(EMPTY, WRITING, Ordering::Acquire, Ordering::Relaxed);
        assert!(claimed.is_ok(), "a boot-time value is set twice");
        // SAFETY: only the core that moved the state to `WRITING` comes here, and nobody reads before `FULL`.
        unsafe { *self.value.get() = Some(value) };
        self.state.store(FULL, Ordering::Release);
        self.get()
    }

    /// The value.
    ///
    /// # Panics
    /// If the cell is empty: the boot sequence is wrong.
    #[inline]
    pub fn get(&self) -> &T {
        self.try_get()
            .expect("a boot-time value is used before it is set")
    }

    /// The value, if it is set.
    #[inline]
    pub fn try_get(&self) -> Option<&T> {
        if self.state.load(Ordering::Acquire) != FULL {
            return None;
        }
        // SAFETY: after `FULL` there is a value, which is never written again.
        Some(unsafe { (*self.value.get()).as_ref().unwrap_unchecked() })
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}
