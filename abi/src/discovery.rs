//! How a program finds the monitor: CPUID.
//!
//! Leaf [`LEAF`] returns the highest leaf in EAX and [`SIGNATURE`] in EBX, ECX, EDX (first byte in
//! EBX's lowest). Leaf `LEAF + 1` returns the interface version in EAX, and in EBX the instruction
//! that calls: 0 VMMCALL, 1 VMCALL.

/// The first leaf.
pub const LEAF: u32 = 0x4000_4100;

/// Twelve bytes in EBX, ECX, EDX.
pub const SIGNATURE: [u8; 12] = *b"AdytonMonitr";
