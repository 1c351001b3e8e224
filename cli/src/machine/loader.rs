//! Whether the boot loader says what it does, without which nobody accepts evidence of a machine that it starts.

use super::System;
use super::findings::Finding;

/// The GRUB that Debian signs, which has the module `tpm` inside; `grub-install` prefers it where it is there.
const SIGNED: &str = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed";
const FIRMWARE: &str = "/sys/firmware/efi";

/// Looks which GRUB there is.
pub fn measures(system: &System) -> Finding {
    const SUBJECT: &str = "boot loader";
    if !system.path(FIRMWARE).exists() {
        return Finding::good(SUBJECT, "nothing that it could measure, by legacy BIOS");
    }
    if system.path(SIGNED).exists() {
        return Finding::good(SUBJECT, "a GRUB that measures what it does");
    }
    Finding::weaker(
        SUBJECT,
        "no GRUB that measures what it does",
        "for evidence that convinces others: apt install shim-signed grub-efi-amd64-signed, then grub-install; or have the \
         firmware start \\EFI\\adyton\\adyton.efi itself",
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::findings::Level;
    use super::*;

    #[test]
    fn a_grub_that_measures() {
        let folder = tempfile::tempdir().unwrap();
        let system = System::at(folder.path());
        let level = || measures(&system).level;
        assert_eq!(level(), Level::Good);
        fs::create_dir_all(system.path(FIRMWARE)).unwrap();
        assert_eq!(level(), Level::Weaker);
        fs::create_dir_all(system.path(SIGNED).parent().unwrap()).unwrap();
        fs::write(system.path(SIGNED), "").unwrap();
        assert_eq!(level(), Level::Good);
    }
}
