//! What a domain may know and do of the processor: its view of CPUID and of the model-specific registers.
//!
//! Domain 0 sees the machine as it is, without what the monitor keeps for itself; any other domain sees only what the
//! monitor switches for it. Both policies are data with a reason beside each entry; `docs/msr.md` is printed from
//! the same tables, and a test keeps it so.

pub mod cpuid;
pub mod msr;
