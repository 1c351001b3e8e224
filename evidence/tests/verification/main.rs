//! The verifier against evidence that is right, and against every way in which it can be wrong.
//!
//! Each attack has its positive control: the same evidence without it is accepted.

mod bits;
mod boots;
mod composition;
mod enclave;
mod figures;
mod files;
mod hostile;
mod installed;
mod loader;
mod machine;
mod policies;
mod scene;
mod signed;
