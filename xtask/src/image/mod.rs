//! What boots: the initrd, made of segments, and the bundle in which QEMU hands it over.
//!
//! Linux unpacks concatenated cpio archives one after the other. So the large segments (programs,
//! a kernel's modules) are packed once, and each boot adds a small one that says what to do.

mod bundle;
mod cpio;
mod modules;
mod segments;

pub use bundle::bundle;
pub use segments::{host_programs, kernel_modules, start, system};
