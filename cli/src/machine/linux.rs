//! What a machine boots: its newest kernel, and the command line.

use std::cmp::Ordering;
use std::fs;
use std::process::Command;

use super::System;
use super::configuration::Configuration;
use crate::failure::Failure;

/// A kernel of the distribution's that has its initial RAM disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` prints it.
    pub release: String,
}

impl Kernel {
    /// The newest.
    ///
    /// # Errors
    /// If there is none.
    pub fn newest(system: &System) -> Result<Self, Failure> {
        let folder = system.path("/boot");
        let entries = fs::read_dir(&folder).map_err(Failure::file(&folder))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let releases = names.filter_map(|name| {
            let release = name.to_str()?.strip_prefix("vmlinuz-")?.to_owned();
            let kernel = Self { release };
            system.path(kernel.initrd()).exists().then_some(kernel)
        });
        let newest = releases.max_by(|left, right| compare(&left.release, &right.release));
        newest.ok_or_else(|| Failure::unusable(&folder, "no kernel in it has an initial RAM disk"))
    }

    /// The kernel's file.
    pub fn image(&self) -> String {
        format!("/boot/vmlinuz-{}", self.release)
    }

    /// The initial RAM disk's file.
    pub fn initrd(&self) -> String {
        format!("/boot/initrd.img-{}", self.release)
    }
}

/// Versions, numbers in them as numbers: 6.1.0-9 comes before 6.1.0-10.
fn compare(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    loop {
        match text(&mut left).cmp(text(&mut right)) {
            Ordering::Equal => {}
            different => return different,
        }
        match number(&mut left).cmp(&number(&mut right)) {
            Ordering::Equal if left.is_empty() && right.is_empty() => return Ordering::Equal,
            Ordering::Equal => {}
            different => return different,
        }
    }
}

fn text<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|letter: char| letter.is_ascii_digit());
    let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = tail;
    head
}

fn number(rest: &mut &str) -> u128 {
    let end = rest.find(|letter: char| !letter.is_ascii_digit());
    let (head, tail) = rest.split_at(end.unwrap_or(rest.len()));
    *rest = tail;
    // Longer numbers than these are no versions.
    head.parse().unwrap_or(0)
}

/// Domain 0's command line, with the monitor's words: what the operator says, else what GRUB would say.
///
/// # Errors
/// If GRUB's settings cannot be read.
pub fn command_line(system: &System, configuration: &Configuration) -> Result<String, Failure> {
    let mut words = match &configuration.linux.command_line {
        Some(line) => split(line),
        None => {
            let mut words = root_words(system);
            words.extend(split(&grub_words(system)?));
            words
        }
    };
    words.retain(|word| !word.starts_with("adyton."));
    words.extend(configuration.words());
    Ok(words.join(" "))
}

fn split(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// How the system that runs found its root; for one in a folder, what its table of file systems says.
fn root_words(system: &System) -> Vec<String> {
    let line = match system.is_running() {
        true => system.text("/proc/cmdline").unwrap_or_default(),
        false => String::new(),
    };
    let is_root = |word: &&str| {
        ["root=", "rootfstype=", "rootflags="]
            .iter()
            .any(|name| word.starts_with(name))
            || *word == "ro"
            || *word == "rw"
    };
    let found: Vec<_> = line
        .split_whitespace()
        .filter(is_root)
        .map(str::to_owned)
        .collect();
    if found.iter().any(|word| word.starts_with("root=")) {
        return found;
    }
    let table = system.text("/etc/fstab").unwrap_or_default();
    let root = table.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next().filter(|device| !device.starts_with('#'))?;
        (fields.next() == Some("/")).then(|| format!("root={device}"))
    });
    root.into_iter().chain(["ro".to_owned()]).collect()
}

/// What `/etc/default/grub` says; it is a shell script.
fn grub_words(system: &System) -> Result<String, Failure> {
    const SCRIPT: &str = "\
        [ ! -e \"$0/etc/default/grub\" ] || . \"$0/etc/default/grub\"\n\
        for file in \"$0\"/etc/default/grub.d/*.cfg; do [ ! -e \"$file\" ] || . \"$file\"; done\n\
        printf %s \"$GRUB_CMDLINE_LINUX $GRUB_CMDLINE_LINUX_DEFAULT\"";
    let root = system.path("/");
    let root = root.to_string_lossy();
    let output = Command::new("sh")
        .args(["-c", SCRIPT, root.trim_end_matches('/')])
        .output()
        .map_err(Failure::file("sh"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::unusable(
            &system.path("/etc/default/grub"),
            String::from_utf8_lossy(&output.stderr).trim(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_versions_are_numbers() {
        let mut releases = vec![
            "6.1.0-10-amd64",
            "6.12.3-1-amd64",
            "6.1.0-9-amd64",
            "6.1.0-10-cloud-amd64",
        ];
        releases.sort_by(|left, right| compare(left, right));
        assert_eq!(
            releases,
            [
                "6.1.0-9-amd64",
                "6.1.0-10-amd64",
                "6.1.0-10-cloud-amd64",
                "6.12.3-1-amd64"
            ]
        );
        assert_eq!(compare("6.1", "6.1"), Ordering::Equal);
        assert_eq!(compare("6.1", "6.1.0"), Ordering::Less);
    }

    #[test]
    fn a_system_in_a_folder_is_described_by_its_own_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write(
            "etc/fstab",
            "# a line\nUUID=12 / ext4 defaults 0 1\nUUID=13 /boot/efi vfat\n",
        );
        write(
            "etc/default/grub",
            "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet $GRUB_CMDLINE_LINUX\"\n",
        );
        write(
            "etc/default/grub.d/a.cfg",
            "GRUB_CMDLINE_LINUX='console=ttyS0 adyton.pool=7'\n",
        );
        write("boot/vmlinuz-6.1.0-9-amd64", "");
        write("boot/vmlinuz-6.1.0-10-amd64", "");
        write("boot/initrd.img-6.1.0-9-amd64", "");
        let system = System::at(folder.path());
        let line = command_line(&system, &Configuration::default()).unwrap();
        assert_eq!(
            line,
            "root=UUID=12 ro console=ttyS0 quiet dax_hmem.region_idle=1"
        );
        assert_eq!(Kernel::newest(&system).unwrap().release, "6.1.0-9-amd64");
        write("boot/initrd.img-6.1.0-10-amd64", "");
        assert_eq!(Kernel::newest(&system).unwrap().release, "6.1.0-10-amd64");
    }
}
