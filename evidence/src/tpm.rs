//! Structures of TPM 2.0 (Trusted Platform Module Library, part 2), as far as a quote has them. All numbers are big-endian.

mod attest;
mod key;

pub use attest::{Attest, Clock};
pub use key::{Key, KeyProblem};

/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
/// TPM_ALG_NULL.
const NULL: u16 = 0x0010;
/// TPM_ALG_ECDSA.
const ECDSA: u16 = 0x0018;

/// Not the structure that must stand here, or more or less than it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads a structure field by field.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.number().map(|[byte]| byte)
    }

    fn half(&mut self) -> Result<u16, Malformed> {
        self.number().map(u16::from_be_bytes)
    }

    fn word(&mut self) -> Result<u32, Malformed> {
        self.number().map(u32::from_be_bytes)
    }

    fn double(&mut self) -> Result<u64, Malformed> {
        self.number().map(u64::from_be_bytes)
    }

    /// A TPM2B: a length of two bytes, and as many bytes.
    fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.half()?;
        self.take(length.into())
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }
}
