//! Set-up: what the distribution has to give, and nothing when it is already there.

mod apt;
mod emulator;
mod folder;
mod kernel;
mod loader;
mod packages;
mod selftests;
mod software;

pub use emulator::{Emulator, fetch as emulator};
pub use kernel::{Flavour, Kernel, fetch as kernel};
pub use loader::BootLoader;
pub use packages::{install, install_missing as packages};
pub use software::Software;
