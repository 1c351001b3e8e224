//! What the monitor does on a guest's behalf because the hardware does not say enough: walking its page tables and
//! decoding its instructions.
//!
//! Everything here reads what a guest wrote, and assumes nothing of it. [`walk`] is on the path of every call;
//! [`instruction`] and [`fetch`] are needed only when a guest touches what it may not.

pub mod fetch;
pub mod instruction;
pub mod walk;
