//! A spin lock for short stretches, which serves in the order of asking.
//!
//! The monitor runs with interrupts held, so a holder is never preempted, and who asks waits for one stretch of each other core at
//! most. (Without an order, one core that asks again and again could keep another waiting with interrupts held for as long as
//! it likes; and as a core in the monitor is waited for by others, two that wait for each other might never end.) A
//! holder must not wait for another core in any other way than by spinning: what takes longer is done in slices, and
//! the call is executed again.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use crate::atomic::{AtomicU32, Ordering, constant, spin_loop};

/// A value that one core at a time may touch.
pub struct Lock<T> {
    /// The number that the next who asks is given.
    next: AtomicU32,
    /// The number that is served: whoever has it holds the lock.
    served: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a `Guard`, of which there is at most one.
unsafe impl<T: Send> Sync for Lock<T> {}

/// The right to touch the value; ends when dropped.
pub struct Guard<'a, T>(&'a Lock<T>);

impl<T> Lock<T> {
    constant! {
        /// A free lock.
        #[must_use]
        pub const fn new(value: T) -> Self {
            Self {
                next: AtomicU32::new(0),
                served: AtomicU32::new(0),
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        while self.served.load(Ordering::Acquire) != number {
            spin_loop();
        }
        Guard(self)
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let number = self.served.load(Ordering::Acquire);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let free = self
            .next
            .compare_exchange(number, number.wrapping_add(1), success, failure);
        // Not `then_some`: a guard that is made and dropped would free what another core holds.
        free.is_ok().then(|| Guard(self))
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // Only the holder writes it.
        let number = self.0.served.load(Ordering::Relaxed);
        self.0
            .served
            .store(number.wrapping_add(1), Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_try_that_fails_leaves_the_lock_with_its_holder() {
        let lock = Lock::new(0);
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        assert!(lock.try_lock().is_none(), "the first try has not freed it");
        drop(guard);
        assert!(lock.try_lock().is_some());
    }

    #[test]
    fn one_at_a_time() {
        let lock = Lock::new(0_u64);
        std::thread::scope(|scope| {
            // Few: a thread that the system has stopped holds up all behind it.
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let mut value = lock.lock();
                        let seen = core::hint::black_box(*value);
                        *value = seen + 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), 200);
    }
}
