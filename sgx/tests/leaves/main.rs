//! Every leaf on a machine made of vectors: what succeeds, every error code, every fault, and what an operating system may try.

mod build;
mod enter;
mod evict;
mod identity;
mod init;
mod look;
mod modify;
mod oracle;
mod random;
mod report;
mod resume;
mod support;
