//! Checks what the machine says of its boot: see [`adyton_guest_tests::measured`].

use adyton_guest_tests::measured;
use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["quote"] => measured::quote(),
        ["applications", count] => measured::applications(count.parse()?),
        ["refusals"] => measured::refusals(),
        ["write", folder, nonce] => measured::write(folder, nonce),
        ["anchors"] => measured::anchors(),
        ["time"] => measured::time(),
        ["slices"] => measured::slices(),
        ["domains"] => measured::domains(),
        ["unmeasured"] => measured::unmeasured(),
        _ => bail!(
            "measured-boot quote | applications N | refusals | domains | write FOLDER NONCE | anchors | time | slices | unmeasured"
        ),
    }
}
