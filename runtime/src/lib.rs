//! What runs inside a domain under a payload.
//!
//! [`entry!`] names the payload's main function, which gets its [`Domain`]: arguments, windows that it shares
//! with its owner, its pool. [`print!`](crate::print) writes to the console, `alloc` works when the owner gave a heap, an
//! exception that nobody handles and a panic end the payload and tell the owner so.
//!
//! What must hold: windows are the only memory that others can write; nothing read there is trusted, and no Rust
//! reference ever points into them.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod call;
pub mod console;
mod descriptor;
pub mod device;
mod domain;
pub mod exception;
#[cfg(not(test))]
mod freestanding;
mod heap;
mod memory;
mod start;

pub use adyton_abi as abi;
pub use adyton_compose as compose;
pub use call::{Inside, call_parent, random};
pub use domain::Domain;

/// Names the function that runs when the domain is entered first: on every vCPU, each with its own
/// [`Domain`] handle. Its result is the payload's exit status.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn adyton_payload_main(domain: &mut $crate::Domain) -> u64 {
            $main(domain)
        }
    };
}
