//! Loom's atomic types, with a total order of the sequentially consistent accesses.
//!
//! Loom takes such an access for an acquiring or releasing one, and knows a total order only of fences. So each is given
//! a fence, in one of the two ways in which processors implement them: before the access (as on POWER; the weakest that
//! the language allows) or behind each store and exchange (as on x86). A model is tried with both. The other memories are
//! broken on purpose: they show that the models notice.

use std::cell::Cell;

use loom::sync::atomic as checked;
pub use loom::{hint::spin_loop, sync::atomic::Ordering};

/// How orderings are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// A fence before each sequentially consistent access.
    FenceBefore,
    /// A fence behind each sequentially consistent store and exchange.
    FenceBehind,
    /// Broken: sequential consistency is no more than acquiring and releasing.
    NoTotalOrder,
    /// Broken: nothing is released.
    NoRelease,
}

thread_local! {
    // Loom runs all threads of a model in one of the system's.
    static MEMORY: Cell<Memory> = const { Cell::new(Memory::FenceBefore) };
}

/// Runs `action` with such a memory.
pub fn with(memory: Memory, action: impl FnOnce()) {
    MEMORY.set(memory);
    action();
}

fn before(order: Ordering) {
    if order == Ordering::SeqCst && MEMORY.get() == Memory::FenceBefore {
        checked::fence(Ordering::SeqCst);
    }
}

fn behind(order: Ordering) {
    if order == Ordering::SeqCst && MEMORY.get() == Memory::FenceBehind {
        checked::fence(Ordering::SeqCst);
    }
}

fn of_load(order: Ordering) -> Ordering {
    match order {
        Ordering::SeqCst => Ordering::Acquire,
        other => other,
    }
}

fn of_store(order: Ordering) -> Ordering {
    match order {
        Ordering::SeqCst | Ordering::Release if MEMORY.get() == Memory::NoRelease => {
            Ordering::Relaxed
        }
        Ordering::SeqCst => Ordering::Release,
        other => other,
    }
}

fn of_exchange(order: Ordering) -> Ordering {
    match order {
        Ordering::SeqCst => Ordering::AcqRel,
        other => other,
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// See `core::sync::atomic`.
        #[derive(Debug, Default)]
        pub struct $name(checked::$name);

        impl $name {
            /// See `core::sync::atomic`, as all below.
            pub fn new(value: $value) -> Self {
                Self(checked::$name::new(value))
            }

            /// Reads.
            pub fn load(&self, order: Ordering) -> $value {
                before(order);
                self.0.load(of_load(order))
            }

            /// Writes.
            pub fn store(&self, value: $value, order: Ordering) {
                before(order);
                self.0.store(value, of_store(order));
                behind(order);
            }

            /// Writes, and says what was there.
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                before(order);
                let old = self.0.swap(value, of_exchange(order));
                behind(order);
                old
            }

            /// Writes if `old` is there.
            ///
            /// # Errors
            /// What is there instead.
            pub fn compare_exchange(
                &self,
                old: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                before(success);
                let (done, not) = (of_exchange(success), of_load(failure));
                let result = self.0.compare_exchange(old, new, done, not);
                behind(success);
                result
            }

            /// Sets bits, and says what was there.
            pub fn fetch_or(&self, bits: $value, order: Ordering) -> $value {
                before(order);
                let old = self.0.fetch_or(bits, of_exchange(order));
                behind(order);
                old
            }

            /// Keeps bits, and says what was there.
            pub fn fetch_and(&self, bits: $value, order: Ordering) -> $value {
                before(order);
                let old = self.0.fetch_and(bits, of_exchange(order));
                behind(order);
                old
            }

            /// Adds, and says what was there.
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                before(order);
                let old = self.0.fetch_add(value, of_exchange(order));
                behind(order);
                old
            }
        }
    };
}

atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
