//! Installs the distribution's packages that are missing.
//!
//! A package counts as present when the file it is needed for is there, so that systems which got
//! the tool in another way are left alone.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};

use crate::progress;

/// A file that some command opens, and the Debian package that brings it.
const NEEDED: &[(&str, &str)] = &[
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/bin/busybox", "busybox-static"),
    ("/usr/bin/openssl", "openssl"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/bin/swtpm", "swtpm"),
    ("/usr/bin/swtpm_setup", "swtpm-tools"),
    ("/usr/bin/tpm2_checkquote", "tpm2-tools"),
    ("/sbin/sfdisk", "fdisk"),
    ("/usr/bin/mformat", "mtools"),
    ("/usr/bin/g++", "g++"),
    ("/usr/include/openssl/evp.h", "libssl-dev"),
    (
        "/usr/lib/x86_64-linux-gnu/libtss2-tcti-swtpm.so.0",
        "libtss2-tcti-swtpm0",
    ),
];

/// Installs what every command needs, if we may, else fails with the line to type.
pub fn install_missing() -> Result<()> {
    install(NEEDED)
}

/// Installs those packages whose file is missing, if we may, else fails with the line to type.
pub fn install(needed: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(file, _)| !is_present(Path::new(file)))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(prefix) = privilege() else {
        bail!(
            "packages are missing; please type:\n\n    sudo apt-get install -y --no-install-recommends {}\n",
            missing.join(" ")
        );
    };
    progress::step(&format!("installing {}", missing.join(", ")), || {
        install_packages(prefix, &missing)
    })
}

/// A dynamically linked busybox would not run in an initrd without libraries.
fn is_present(file: &Path) -> bool {
    if file.ends_with("busybox") {
        return std::fs::read(file).is_ok_and(|image| !has_interpreter(&image));
    }
    file.exists()
}

fn has_interpreter(image: &[u8]) -> bool {
    const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so";
    image
        .get(..4096)
        .is_some_and(|head| head.windows(LOADER.len()).any(|window| window == LOADER))
}

/// The words in front of a command that run it as root, when there are any.
fn privilege() -> Option<&'static [&'static str]> {
    let succeeds = |program: &str, arguments: &[&str]| {
        Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if succeeds("sh", &["-c", "test $(id -u) = 0"]) {
        Some(&[])
    } else if succeeds("sudo", &["-n", "true"]) {
        Some(&["sudo", "-n"])
    } else {
        None
    }
}

fn install_packages(prefix: &[&str], packages: &[&str]) -> Result<()> {
    // Package lists are absent on a fresh image, and stale ones name files that are gone.
    let attempt = |update: bool| -> Result<bool> {
        if update {
            apt_get(prefix, &["update", "-qq"])?;
        }
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend_from_slice(packages);
        apt_get(prefix, &arguments)
    };
    ensure!(
        attempt(false)? || attempt(true)?,
        "apt-get could not install {}",
        packages.join(" ")
    );
    Ok(())
}

fn apt_get(prefix: &[&str], arguments: &[&str]) -> Result<bool> {
    let mut words = prefix.to_vec();
    words.extend_from_slice(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    words.extend_from_slice(arguments);
    let status = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    Ok(status.success())
}
