//! What somebody far away wants of the demonstration, computed from the payloads' files without a monitor.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::screen::hexadecimal;
use crate::signer;

/// Prints the policy for `adyton verify`. The files of the payloads lie in `payloads`.
pub fn print(payloads: &str, pattern: &str) -> Result<()> {
    let read = |name: &str| {
        let path = Path::new(payloads).join(name);
        fs::read(&path).with_context(|| path.display().to_string())
    };
    let (file, parser) = (read("signer")?, read("parser")?);
    let signer = adyton::measurement(&signer::program(&file, &parser, pattern)?)?;
    let sandbox = adyton::measurement(&signer::sandbox(&parser)?)?;
    print!("{}", text(&hexadecimal(&signer), &hexadecimal(&sandbox)));
    Ok(())
}

fn text(signer: &str, parser: &str) -> String {
    format!(
        r#"version = 1
name = "a signer and its parser"
subject = "signer"
security-version = 1
depth = 2

[[domain]]
name = "signer"
measurement = ["{signer}"]
may = ["create", "carve", "share", "grant", "accept", "attest"]
still = ["create", "carve", "share", "grant", "accept"]

[[domain]]
name = "parser"
kind = "sandbox"
measurement = ["{parser}"]

[[memory]]                        # its windows
between = ["signer", "domain-0"]
rights = ["rw-", "rwx"]
most = "17M"

[[memory]]                        # the document, and a console
between = ["signer", "parser"]
rights = ["rwx", "rw-"]
most = "20M"

[[command]]
from = "domain-0"
to = "signer"

[[command]]
from = "signer"
to = "parser"

[[derivation]]
from = "domain-0"
to = "signer"

[[derivation]]
from = "signer"
to = "parser"
"#
    )
}
