//! The demonstration: a key that never leaves its domain, and root that cannot get it.
#![forbid(unsafe_code)]

mod attacks;
mod document;
mod screen;
mod signer;
mod story;

use std::process::ExitCode;

fn main() -> ExitCode {
    match story::tell() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
