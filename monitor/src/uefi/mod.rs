//! The monitor as a UEFI application: from the firmware's call to a machine that is the monitor's alone.
//!
//! The firmware has measured this image into PCR 4 before its first instruction (design note 005). Here it loads what it will
//! boot, takes along the event log and the memory map, ends the boot services, and goes on at [`crate::boot::run`] with
//! page tables and a stack of its own, as after a start by PVH. Nothing is measured here: that happens later, by the monitor's own driver.
//!
//! What must hold: until ExitBootServices has succeeded, every failure goes back to the firmware with the machine as it was, but
//! for memory that the firmware frees with the application. Interrupts are on inside the firmware only ([`firmware`]).

#[cfg(not(any(test, fuzzing)))]
mod firmware;
pub mod memory_map;
#[cfg(not(any(test, fuzzing)))]
mod overwrite;
#[cfg(not(any(test, fuzzing)))]
mod start;
#[cfg(not(any(test, fuzzing)))]
mod tables;

#[cfg(not(any(test, fuzzing)))]
pub use start::{handover, map_bytes, uefi_main};
