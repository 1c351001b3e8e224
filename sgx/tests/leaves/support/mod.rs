//! What the tests share: a machine made of vectors, and ways to build enclaves on it.

pub mod enclave;
pub mod keys;
pub mod machine;
pub mod refusal;
pub mod signer;
pub mod world;
