//! What may be wrong with a machine, one function for each thing, from files of the system alone.

use std::fs;

use super::System;
use super::volume;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Adyton runs; something that it offers does not work, or is weaker.
    Weaker,
    /// Adyton does not run here.
    Prevents,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was seen.
    pub seen: String,
    /// What to do about it, if anything.
    pub advice: &'static str,
}

impl Finding {
    pub(super) fn good(subject: &'static str, seen: impl Into<String>) -> Self {
        Self {
            subject,
            level: Level::Good,
            seen: seen.into(),
            advice: "",
        }
    }

    pub(super) fn weaker(
        subject: &'static str,
        seen: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self {
            level: Level::Weaker,
            advice,
            ..Self::good(subject, seen)
        }
    }

    fn prevents(subject: &'static str, seen: impl Into<String>, advice: &'static str) -> Self {
        Self {
            level: Level::Prevents,
            advice,
            ..Self::good(subject, seen)
        }
    }
}

/// What a processor can do matters only where no monitor runs: below one it hides virtualization, for that is taken.
pub fn processor(system: &System, monitor_runs: bool) -> Finding {
    const SUBJECT: &str = "processor";
    let information = system.text("/proc/cpuinfo").unwrap_or_default();
    let flags = information.lines().find(|line| line.starts_with("flags"));
    let has =
        |flag: &str| flags.is_some_and(|line| line.split_whitespace().any(|word| word == flag));
    if monitor_runs {
        return Finding::good(SUBJECT, "the monitor runs on it");
    }
    if !information.contains("AuthenticAMD") && !has("svm") {
        return Finding::prevents(
            SUBJECT,
            "it is not one with AMD's virtualization (SVM)",
            "Intel's (VMX) is not driven yet: use a machine with an AMD processor",
        );
    }
    if !has("svm") {
        return Finding::prevents(
            SUBJECT,
            "virtualization (SVM) is switched off, or hidden by a hypervisor below",
            "switch it on in the firmware's setup: \"SVM Mode\", \"AMD-V\" or \"Virtualization\"",
        );
    }
    if !has("npt") {
        return Finding::prevents(
            SUBJECT,
            "it has virtualization (SVM) without nested paging",
            "use a processor with nested paging; every one since 2008 has it",
        );
    }
    Finding::good(SUBJECT, "it has virtualization (SVM) with nested paging")
}

/// The IOMMU, by the table that describes it. The monitor hides that table from the system that runs on it.
pub fn iommu(system: &System, protected: Option<bool>) -> Finding {
    const SUBJECT: &str = "IOMMU";
    const SWITCH: &str = "switch it on in the firmware's setup (\"IOMMU\", \"AMD-Vi\"). Without one no domain is confidential, unless \
                          /etc/adyton.toml says without-iommu = \"allow\"";
    match protected {
        Some(true) => return Finding::good(SUBJECT, "the monitor drives it"),
        Some(false) => {
            return Finding::weaker(
                SUBJECT,
                "the monitor has none: devices reach all memory",
                SWITCH,
            );
        }
        None => {}
    }
    let has = |name: &str| system.path("/sys/firmware/acpi/tables").join(name).exists();
    if has("IVRS") {
        Finding::good(SUBJECT, "there is one (IVRS)")
    } else if has("DMAR") {
        Finding::weaker(
            SUBJECT,
            "there is one of Intel's (DMAR), which is not driven",
            SWITCH,
        )
    } else {
        Finding::weaker(SUBJECT, "the firmware describes none", SWITCH)
    }
}

/// How the machine starts, and whether that can be measured.
pub fn firmware(system: &System) -> Finding {
    const SUBJECT: &str = "firmware";
    if !system.path("/sys/firmware/efi").exists() {
        return Finding::weaker(
            SUBJECT,
            "legacy BIOS: GRUB starts the monitor, and nothing measures it",
            "for evidence that convinces others, boot the machine by UEFI",
        );
    }
    match volume::efi_partition(system) {
        Some(place) => Finding::good(
            SUBJECT,
            format!("UEFI, its partition at {}", place.display()),
        ),
        None => Finding::prevents(
            SUBJECT,
            "UEFI, but its system partition is not mounted",
            "mount it at /boot/efi, and add it to /etc/fstab",
        ),
    }
}

/// Secure Boot, by the firmware's variable: four bytes of attributes, then 1 if it is on (UEFI 2.10, section 3.3).
pub fn secure_boot(system: &System) -> Finding {
    const SUBJECT: &str = "Secure Boot";
    const VARIABLE: &str =
        "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
    match fs::read(system.path(VARIABLE))
        .ok()
        .and_then(|bytes| bytes.get(4).copied())
    {
        Some(1) => Finding::prevents(
            SUBJECT,
            "it is on, and the monitor is not signed for it",
            "sign /usr/lib/adyton/adyton.efi with a key that the firmware knows, or switch Secure Boot off: measured boot tells \
             others what runs here, without it",
        ),
        _ => Finding::good(SUBJECT, "it is off"),
    }
}

/// The TPM; the monitor keeps it from the system that runs on it.
pub fn tpm(system: &System, measured: Option<bool>) -> Finding {
    const SUBJECT: &str = "TPM";
    const ADVICE: &str = "switch it on in the firmware's setup (\"TPM\", \"fTPM\", \"Security Device\"); without it nobody far away \
                          can be convinced of what runs here";
    match measured {
        Some(true) => {
            return Finding::good(SUBJECT, "the monitor has it, and this boot was measured");
        }
        Some(false) => return Finding::weaker(SUBJECT, "this boot was not measured", ADVICE),
        None => {}
    }
    let version = system.text("/sys/class/tpm/tpm0/tpm_version_major");
    match version.as_deref().map(str::trim) {
        Some("2") => Finding::good(SUBJECT, "TPM 2.0"),
        Some(_) => Finding::weaker(SUBJECT, "an old one; version 2.0 is needed", ADVICE),
        None => Finding::weaker(SUBJECT, "there is none", ADVICE),
    }
}

/// A disk that only the TPM opens: under the monitor Linux has no TPM.
pub fn disk(system: &System) -> Finding {
    const SUBJECT: &str = "disk encryption";
    const ADVICE: &str = "add a passphrase (systemd-cryptenroll --password), and see that you know it before you reboot: the monitor \
                          keeps the TPM to itself";
    let table = system.text("/etc/crypttab").unwrap_or_default();
    let mut lines = table
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    if lines.any(|line| line.contains("tpm2-device=") || line.contains("keyscript=clevis")) {
        return Finding::prevents(
            SUBJECT,
            "a disk is unlocked by the TPM (/etc/crypttab)",
            ADVICE,
        );
    }
    if system.path("/usr/bin/clevis").exists() {
        return Finding::weaker(
            SUBJECT,
            "clevis is installed, and may unlock a disk by the TPM",
            ADVICE,
        );
    }
    Finding::good(SUBJECT, "no disk needs the TPM")
}

/// Hibernation writes memory that the system can read to the disk, and comes back where no domain is left.
pub fn hibernation(system: &System) -> Finding {
    const SUBJECT: &str = "hibernation";
    let resume = system.text("/proc/cmdline").unwrap_or_default();
    let configured = system
        .text("/etc/initramfs-tools/conf.d/resume")
        .unwrap_or_default();
    let wanted = resume
        .split_whitespace()
        .any(|word| word.starts_with("resume="))
        || configured
            .lines()
            .any(|line| line.starts_with("RESUME=") && line != "RESUME=none");
    if wanted {
        return Finding::weaker(
            SUBJECT,
            "it is set up (resume=); the monitor hides sleep and hibernation, for domains would not survive them",
            "nothing need be done; `systemctl hibernate` and `suspend` will say that they cannot",
        );
    }
    Finding::good(SUBJECT, "it is not set up")
}

/// Virtual machines: their hardware is taken.
pub fn kvm(system: &System) -> Finding {
    const SUBJECT: &str = "virtual machines";
    let modules = system.text("/proc/modules").unwrap_or_default();
    let users = modules.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let is_it = matches!(fields.next(), Some("kvm_amd" | "kvm_intel"));
        fields.nth(1).filter(|_| is_it)?.parse::<u32>().ok()
    });
    match users {
        Some(count) if count > 0 => Finding::weaker(
            SUBJECT,
            "KVM is in use here",
            "KVM does not work below the monitor, which hides virtualization: move these machines elsewhere, or run them emulated",
        ),
        _ => Finding::good(SUBJECT, "KVM is not in use"),
    }
}

/// The kernel must offer soft-reserved memory as a device.
pub fn kernel(system: &System, release: &str) -> Finding {
    const SUBJECT: &str = "kernel";
    const ADVICE: &str = "use the distribution's kernel of Debian 12 or later (linux-image-amd64)";
    let mut numbers = release
        .split(['.', '-'])
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (6, 1) {
        return Finding::prevents(
            SUBJECT,
            format!("{release} is too old; 6.1 is the oldest that was tried"),
            ADVICE,
        );
    }
    let configuration = system
        .text(format!("/boot/config-{release}"))
        .unwrap_or_default();
    let missing = ["CONFIG_DEV_DAX=", "CONFIG_DEV_DAX_HMEM="]
        .iter()
        .find(|name| !configuration.is_empty() && !configuration.contains(**name));
    match missing {
        Some(name) => Finding::prevents(
            SUBJECT,
            format!("{release} was built without {}", name.trim_end_matches('=')),
            ADVICE,
        ),
        None => Finding::good(SUBJECT, release.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &[u8])]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            for (path, bytes) in files {
                let path = folder.path().join(path.trim_start_matches('/'));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
            }
            Self(folder)
        }

        fn system(&self) -> System {
            System::at(self.0.path())
        }
    }

    fn level(files: &[(&str, &[u8])], look: impl Fn(&System) -> Finding) -> Level {
        let finding = look(&Folder::new(files).system());
        // Whoever is told that something is wrong is told what to do.
        assert_eq!(finding.level == Level::Good, finding.advice.is_empty());
        finding.level
    }

    #[test]
    fn processors() {
        let look = |text: &str, runs| {
            level(&[("/proc/cpuinfo", text.as_bytes())], |system| {
                processor(system, runs)
            })
        };
        let amd = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm npt\n";
        assert_eq!(look(amd, false), Level::Good);
        assert_eq!(look(&amd.replace(" npt", ""), false), Level::Prevents);
        assert_eq!(look(&amd.replace(" svm", ""), false), Level::Prevents);
        assert_eq!(look(&amd.replace(" svm", ""), true), Level::Good);
        assert_eq!(
            look("vendor_id : GenuineIntel\nflags : vmx\n", false),
            Level::Prevents
        );
    }

    #[test]
    fn tables_and_firmware() {
        let table = |name: &'static str| level(&[(name, b"")], |system| iommu(system, None));
        assert_eq!(table("/sys/firmware/acpi/tables/IVRS"), Level::Good);
        assert_eq!(table("/sys/firmware/acpi/tables/DMAR"), Level::Weaker);
        assert_eq!(level(&[], |system| iommu(system, Some(true))), Level::Good);
        assert_eq!(
            level(&[], |system| iommu(system, Some(false))),
            Level::Weaker
        );
        assert_eq!(level(&[], firmware), Level::Weaker);
        assert_eq!(
            level(&[("/sys/firmware/efi/x", b"")], firmware),
            Level::Prevents
        );
        let mounted: &[(&str, &[u8])] = &[("/sys/firmware/efi/x", b""), ("/boot/efi/EFI/x", b"")];
        assert_eq!(level(mounted, firmware), Level::Good);
        let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        assert_eq!(
            level(&[(variable, &[6, 0, 0, 0, 1])], secure_boot),
            Level::Prevents
        );
        assert_eq!(
            level(&[(variable, &[6, 0, 0, 0, 0])], secure_boot),
            Level::Good
        );
        let chip = |text: &'static [u8]| {
            level(
                &[("/sys/class/tpm/tpm0/tpm_version_major", text)],
                |system| tpm(system, None),
            )
        };
        assert_eq!((chip(b"2\n"), chip(b"1\n")), (Level::Good, Level::Weaker));
        assert_eq!(level(&[], |system| tpm(system, None)), Level::Weaker);
    }

    #[test]
    fn what_a_system_uses() {
        let crypttab = |text: &'static [u8]| level(&[("/etc/crypttab", text)], disk);
        assert_eq!(
            crypttab(b"root /dev/vda3 none luks,tpm2-device=auto\n"),
            Level::Prevents
        );
        assert_eq!(
            crypttab(b"# tpm2-device=auto\nroot /dev/vda3 none luks\n"),
            Level::Good
        );
        assert_eq!(level(&[("/usr/bin/clevis", b"")], disk), Level::Weaker);
        assert_eq!(
            level(&[("/proc/cmdline", b"ro resume=/dev/vda2")], hibernation),
            Level::Weaker
        );
        assert_eq!(level(&[("/proc/cmdline", b"ro")], hibernation), Level::Good);
        let modules = |text: &'static [u8]| level(&[("/proc/modules", text)], kvm);
        assert_eq!(modules(b"kvm_amd 200704 3 - Live 0x0\n"), Level::Weaker);
        assert_eq!(modules(b"kvm_amd 200704 0 - Live 0x0\n"), Level::Good);
        let built = |text: &'static [u8]| {
            level(&[("/boot/config-6.1.0-1-amd64", text)], |system| {
                kernel(system, "6.1.0-1-amd64")
            })
        };
        assert_eq!(
            built(b"CONFIG_DEV_DAX=m\nCONFIG_DEV_DAX_HMEM=m\n"),
            Level::Good
        );
        assert_eq!(built(b"CONFIG_DEV_DAX=m\n"), Level::Prevents);
        assert_eq!(
            level(&[], |system| kernel(system, "5.10.0-8-amd64")),
            Level::Prevents
        );
    }
}
