//! Checks evidence of a machine whose boot was measured: see [`adyton_guest_tests::evidence`].

use adyton_guest_tests::evidence::{loader, whole};
use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["chain"] => whole::chain(),
        ["forgeries"] => whole::forgeries(),
        ["bit-flips"] => whole::bit_flips(),
        ["evil-first"] => whole::evil_first(),
        ["known-loader"] => loader::known(),
        ["changed-loader"] => loader::changed(),
        ["slices"] => whole::slices(),
        _ => bail!(
            "evidence chain | forgeries | bit-flips | evil-first | known-loader | changed-loader | slices"
        ),
    }
}
