//! Checks what domains find again after a reboot: see [`adyton_guest_tests::kept`].
#![forbid(unsafe_code)]

use adyton_guest_tests::{kept, signed};
use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["keys"] => kept::keys(),
        ["signers"] => kept::signers(),
        ["signed"] => signed::by_command(),
        ["counters"] => kept::counters(),
        ["none"] => kept::none(),
        ["slices"] => kept::slices(),
        _ => bail!("kept-secrets keys | signers | signed | counters | none | slices"),
    }
}
