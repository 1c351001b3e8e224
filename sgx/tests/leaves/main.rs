//! Every leaf on a machine made of vectors: what succeeds, every error code, every fault, and what an operating system may try.

mod accept;
mod again;
mod build;
mod enter;
mod evict;
mod genuine;
mod init;
mod key;
mod look;
mod modify;
mod oracle;
mod random;
mod report;
mod resume;
mod slices;
mod support;
mod track;
