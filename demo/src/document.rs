//! The untrusted document: a tar archive of this system's own programs and modules, and what other tools say about
//! it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The archive that is parsed.
pub const ARCHIVE: &str = "/tmp/document.tar";
const CONTENTS: &[&str] = &[
    "bin/adyton",
    "bin/adyton-demo",
    "bin/adyton-guest-tests",
    "lib/modules",
    "payloads",
];

fn shell(command: &str) -> Result<String> {
    let output = Command::new("/bin/sh").arg("-c").arg(command).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{command}: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Makes the archive with busybox's `tar`.
pub fn make() -> Result<Vec<u8>> {
    let there = CONTENTS
        .iter()
        .filter(|path| fs::exists(format!("/{path}")).unwrap_or(false));
    let contents: Vec<&str> = there.copied().collect();
    shell(&format!("cd / && tar -cf {ARCHIVE} {}", contents.join(" ")))?;
    fs::read(ARCHIVE).context("the document")
}

/// An archive whose first file stands for a document that takes its parser over.
pub fn make_hostile() -> Result<Vec<u8>> {
    shell("cd /tmp && echo take over > EXPLOIT && tar -cf hostile.tar EXPLOIT")?;
    fs::read("/tmp/hostile.tar").context("the hostile document")
}

/// The digest of the listing, by busybox's `tar` and `sha256sum` alone.
pub fn independent_digest() -> Result<String> {
    let unpack = "rm -rf /tmp/unpacked && mkdir /tmp/unpacked && cd /tmp/unpacked";
    let list = format!("tar -xf {ARCHIVE} && tar -tf {ARCHIVE} | grep -v '/$' | xargs sha256sum");
    let digest = shell(&format!("{unpack} && {list} | sha256sum"))?;
    Ok(digest
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// Has OpenSSL check an Ed25519 signature.
pub fn openssl_accepts(key: &[u8; 32], text: &[u8], signature: &[u8; 64]) -> Result<bool> {
    // RFC 8410: SubjectPublicKeyInfo of an Ed25519 key.
    let mut public = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    public.extend_from_slice(key);
    fs::write("/tmp/public.der", public)?;
    fs::write("/tmp/text", text)?;
    fs::write("/tmp/signature", signature)?;
    let files = "-inkey /tmp/public.der -keyform DER -in /tmp/text -sigfile /tmp/signature";
    let verify = format!("openssl pkeyutl -verify -pubin -rawin {files}");
    let output = Command::new("/bin/sh").arg("-c").arg(&verify).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        said.contains("Signature Verif"),
        "openssl: {said}{complaint}"
    );
    Ok(output.status.success() && said.contains("Verified Successfully"))
}
