//! What boots: the initrd, made of segments, and the bundle in which QEMU hands it over, or the disk
//! from which firmware takes it.
//!
//! Linux unpacks concatenated cpio archives one after the other. So the large segments (programs,
//! a kernel's modules) are packed once, and each boot adds a small one that says what to do.

mod application;
mod authenticode;
mod bundle;
mod cpio;
mod disk;
mod loader;
mod maintainer;
mod modules;
mod segments;

pub use application::{application, digest, hexadecimal};
pub use authenticode::authenticode_digest;
pub use bundle::bundle;
pub use disk::{MIB, SECTOR, format_firmware_partition, partition, write as write_disk};
pub use loader::{APPLICATION, Chain};
pub use maintainer::{Maintainer, Release, Signing};
pub use segments::{folder, host_programs, kernel_modules, programs, second_kernel, start, system};
