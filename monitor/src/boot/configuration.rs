//! What the monitor loads when the firmware starts it: a small text file beside it.
//!
//! ```text
//! # anything behind a number sign at the beginning of a line
//! kernel = /adyton/kernel
//! initrd = /adyton/initrd
//! command-line = console=ttyS0 root=/dev/vda2
//! ```
//!
//! Each key at most once; `kernel` must be there. An unknown key is refused: a file that means something to a later monitor
//! must not mean less to this one. The monitor's own words are on the command line, see [`super::options`].

use super::handover::COMMAND_LINE_SIZE;

/// Where it lies on the volume that the monitor came from.
pub const PATH: &str = "/adyton/configuration";

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration<'a> {
    /// Path of domain 0's kernel.
    pub kernel: &'a str,
    /// Path of its initial RAM disk.
    pub initrd: Option<&'a str>,
    /// Its command line.
    pub command_line: &'a str,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationError {
    /// It is no UTF-8 text.
    NoText,
    /// A line, by its number, is no assignment, has an unknown key, or one that was there before.
    Line(usize),
    /// The command line is longer than the boot protocol allows.
    TooLong,
    /// It names no kernel.
    NoKernel,
}

impl<'a> Configuration<'a> {
    /// Reads the file's contents.
    ///
    /// # Errors
    /// If anything in it is not understood.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ConfigurationError> {
        let text = core::str::from_utf8(bytes).map_err(|_| ConfigurationError::NoText)?;
        let (mut kernel, mut initrd, mut command_line) = (None, None, None);
        for (index, line) in text.lines().enumerate() {
            let wrong = ConfigurationError::Line(index + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(wrong)?;
            let place = match key.trim() {
                "kernel" => &mut kernel,
                "initrd" => &mut initrd,
                "command-line" => &mut command_line,
                _ => return Err(wrong),
            };
            if place.replace(value.trim()).is_some() {
                return Err(wrong);
            }
        }
        let command_line = command_line.unwrap_or("");
        if command_line.len() >= COMMAND_LINE_SIZE {
            return Err(ConfigurationError::TooLong);
        }
        Ok(Self {
            kernel: kernel.ok_or(ConfigurationError::NoKernel)?,
            initrd,
            command_line,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let text =
            b"# a comment\n\n kernel = /a/b\r\ncommand-line = console=ttyS0 x=y\ninitrd=/c\n";
        let expected = Configuration {
            kernel: "/a/b",
            initrd: Some("/c"),
            command_line: "console=ttyS0 x=y",
        };
        assert_eq!(Configuration::parse(text), Ok(expected));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let error = |text: &[u8]| Configuration::parse(text).unwrap_err();
        assert_eq!(error(b"initrd = /c\n"), ConfigurationError::NoKernel);
        assert_eq!(
            error(b"kernel = /c\nmodule = /d\n"),
            ConfigurationError::Line(2)
        );
        assert_eq!(
            error(b"kernel = /c\nkernel = /d\n"),
            ConfigurationError::Line(2)
        );
        assert_eq!(error(b"kernel\n"), ConfigurationError::Line(1));
        assert_eq!(error(b"kernel = \xff\n"), ConfigurationError::NoText);
        let long = [
            b"kernel = k\ncommand-line = ".as_slice(),
            &[b'x'; COMMAND_LINE_SIZE],
        ]
        .concat();
        assert_eq!(error(&long), ConfigurationError::TooLong);
    }
}
