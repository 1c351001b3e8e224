//! A writer of cpio archives in the "newc" format.
//!
//! Format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Names have no leading
//! slash, numbers are eight hexadecimal digits, headers and contents are padded to four bytes. Times
//! and owners are zero so that equal contents make equal archives.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const SYMBOLIC_LINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory and those above it, once.
    pub fn directory(&mut self, path: &str) {
        if path.is_empty() || !self.directories.insert(path.to_owned()) {
            return;
        }
        self.parents(path);
        self.entry(path, DIRECTORY, &[], (0, 0));
    }

    /// Adds a file with these permissions.
    pub fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        self.parents(path);
        self.entry(path, REGULAR | permissions, contents, (0, 0));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, SYMBOLIC_LINK, target.as_bytes(), (0, 0));
    }

    /// Adds a character device.
    pub fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE, &[], (major, minor));
    }

    /// The archive, padded so that another may follow.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, contents: &[u8], device: (u32, u32)) {
        self.entries += 1;
        let length = |size: usize| u32::try_from(size).expect("a file below 4 GiB");
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            length(contents.len()),
            0,
            0,
            device.0,
            device.1,
            length(path.len() + 1),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    #[test]
    fn parents_come_first_and_once() {
        let mut archive = Archive::default();
        archive.file("a/b/c", 0o644, b"x");
        archive.file("a/b/d", 0o644, b"y");
        let text = String::from_utf8(archive.finish()).unwrap();
        let places: Vec<usize> = ["a\0", "a/b\0", "a/b/c\0", "a/b/d\0"]
            .iter()
            .map(|name| text.find(name).unwrap())
            .collect();
        assert!(places.is_sorted());
        assert_eq!(text.matches("070701").count(), 5);
    }

    #[test]
    fn everything_is_aligned() {
        let mut archive = Archive::default();
        archive.file("name", 0o644, b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 512, 0);
        // 110 bytes of header and a five-byte name end at 116, eight bytes of padded contents follow.
        assert_eq!(&bytes[116..124], b"12345\0\0\0");
        assert_eq!(&bytes[124..130], b"070701");
    }
}
