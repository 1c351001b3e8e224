//! The maintainer's approvals: a small text file beside the monitor's configuration.
//!
//! ```text
//! # release, PCR 4 when it starts, signature (r and s)
//! approve 7 0c3e…91 77aa…02
//! ```
//!
//! One line for each way in which firmware may start a release. The file needs no protection: what is not signed the TPM does not take.

use arrayvec::ArrayVec;

use crate::Hash;

/// Where it lies on the volume that the monitor came from.
pub const PATH: &str = "/adyton/approvals";

/// Bytes of the longest file.
pub const LONGEST: u64 = 16 << 10;

/// Lines that are looked at.
const MOST: usize = 64;

/// A signature over [`to_sign`](crate::policy::Policy::to_sign), ECDSA on P-256: r and s, big-endian.
pub type Signature = [u8; 64];

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The number of the release, which its counter must not exceed.
    pub release: u64,
    /// PCR 4.
    pub started: Hash,
    /// The maintainer's signature.
    pub signature: Signature,
}

/// The approvals in a file, the first [`MOST`]; lines that say something else are passed over.
#[must_use]
pub fn read(bytes: &[u8]) -> ArrayVec<Approval, MOST> {
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    text.lines().filter_map(line).take(MOST).collect()
}

fn line(text: &str) -> Option<Approval> {
    let mut words = text.split_ascii_whitespace();
    if words.next()? != "approve" {
        return None;
    }
    let approval = Approval {
        release: words.next()?.parse().ok()?,
        started: digits(words.next()?)?,
        signature: digits(words.next()?)?,
    };
    words.next().is_none().then_some(approval)
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (place, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *place = u8::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

impl core::fmt::Display for Approval {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "approve {} ", self.release)?;
        for byte in self.started {
            write!(formatter, "{byte:02x}")?;
        }
        formatter.write_str(" ")?;
        for byte in self.signature {
            write!(formatter, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    fn sample() -> Approval {
        Approval {
            release: 7,
            started: [0xab; 32],
            signature: [0x0c; 64],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let file = format!("# a comment\n\n{}\r\n", sample());
        assert_eq!(read(file.as_bytes()).as_slice(), [sample()]);
    }

    #[test]
    fn what_is_not_understood_approves_nothing() {
        let line = sample().to_string();
        for text in [
            line.replace("approve", "refuse"),
            line.replacen('7', "-7", 1),
            line.replacen("ab", "+b", 1),
            format!("{line} more"),
            line[..line.len() - 1].to_string(),
        ] {
            assert!(read(text.as_bytes()).is_empty(), "{text}");
        }
        assert!(read(b"\xff").is_empty());
        assert_eq!(read(format!("{line}\n").repeat(100).as_bytes()).len(), MOST);
    }
}
