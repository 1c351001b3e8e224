//! Every leaf on a machine made of vectors: what succeeds, every error code, every fault, and what an operating system may try.

mod build;
mod oracle;
mod support;
