//! The atomic types of this crate: the processor's, or under `cfg(loom)` those of the model checker.

#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub use core::hint::spin_loop;
#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

#[cfg(loom)]
pub use model::{AtomicU8, AtomicU32, AtomicU64, Memory, Ordering, spin_loop, with};

/// A constructor that is `const`, except that the model checker's atomic types have none.
macro_rules! constant {
    ($(#[$attribute:meta])* pub const fn $($rest:tt)*) => {
        #[cfg(not(loom))]
        $(#[$attribute])*
        pub const fn $($rest)*
        #[cfg(loom)]
        $(#[$attribute])*
        pub fn $($rest)*
    };
}
pub(crate) use constant;
