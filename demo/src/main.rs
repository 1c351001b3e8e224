//! The demonstration: a key that never leaves its domain, and root that cannot get it.
#![forbid(unsafe_code)]

mod attacks;
mod document;
mod policy;
mod screen;
mod signer;
mod story;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["policy", payloads, pattern] => policy::print(payloads, pattern),
        _ => story::tell(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
