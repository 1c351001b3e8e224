//! From the loader's hand-over to domain 0's first instruction.
//!
//! `story` tells it, whether it begins by PVH, by GRUB's Multiboot2 or by UEFI ([`crate::uefi`]); the submodules are its chapters. What fails here is a panic with a reason: nothing confidential
//! exists yet, and whoever starts the machine is looking.

pub mod bundle;
pub mod configuration;
#[cfg(not(any(test, fuzzing)))]
pub mod entry;
pub mod handover;
pub mod hidden_table;
pub mod linux;
pub mod multiboot;
pub mod options;
#[cfg(not(any(test, fuzzing)))]
mod paging;
#[cfg(not(any(test, fuzzing)))]
mod processor;
pub mod sleep_states;
pub mod start_information;
#[cfg(not(any(test, fuzzing)))]
mod story;
#[cfg(not(any(test, fuzzing)))]
mod task;
#[cfg(not(any(test, fuzzing)))]
mod time;
#[cfg(not(any(test, fuzzing)))]
pub mod trampoline;

#[cfg(not(any(test, fuzzing)))]
pub use story::{after_multiboot, after_pvh, after_uefi, application_main, on_own_stack};

/// Selectors of the descriptor table in `entry`.
pub mod selector {
    /// The 64-bit code segment.
    pub const CODE: u16 = 0x08;
    /// The 32-bit code segment, through which application processors pass.
    pub const CODE_32: u16 = 0x18;
    /// The task state segment.
    pub const TASK: u16 = 0x20;
}
