//! The one file that carries domain 0's kernel and its initial RAM disk.
//!
//! QEMU passes a single module to a PVH kernel. It begins with a page that holds, at offset 0, the eight bytes
//! `ADYTONB1` and then four little-endian 64-bit numbers: the kernel's offset in the file, its size, the RAM disk's
//! offset and its size (0: there is none). Offsets are multiples of 4096; sizes are in bytes.

use crate::memory::Range;

const MAGIC: &[u8; 8] = b"ADYTONB1";
const HEADER_SIZE: usize = 40;
const PAGE: u64 = 4096;

/// Where the two parts lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The kernel file, a bzImage.
    pub kernel: Range,
    /// The initial RAM disk; empty if there is none.
    pub ram_disk: Range,
}

/// Why a module is no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleError {
    /// Too short for a header, or without the magic bytes.
    NoHeader,
    /// A part is misaligned or reaches beyond the module.
    BadPart,
}

impl Bundle {
    /// Finds the parts of the module at physical address `start`, whose bytes are `bytes`.
    ///
    /// # Errors
    /// If the module is no bundle or its header is not consistent with its size.
    pub fn parse(start: u64, bytes: &[u8]) -> Result<Self, BundleError> {
        let header = bytes.get(..HEADER_SIZE).ok_or(BundleError::NoHeader)?;
        if !header.starts_with(MAGIC) {
            return Err(BundleError::NoHeader);
        }
        let part = |field: usize| {
            let (offset, size) = (number(header, field), number(header, field + 1));
            let end = offset.checked_add(size).ok_or(BundleError::BadPart)?;
            if offset % PAGE != 0 || end > bytes.len() as u64 {
                return Err(BundleError::BadPart);
            }
            Ok(Range {
                start: start + offset,
                end: start + end,
            })
        };
        Ok(Self {
            kernel: part(1)?,
            ram_disk: part(3)?,
        })
    }
}

fn number(header: &[u8], field: usize) -> u64 {
    header
        .as_chunks::<8>()
        .0
        .get(field)
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(numbers: [u64; 4], size: usize) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        numbers
            .iter()
            .for_each(|number| bytes.extend(number.to_le_bytes()));
        bytes.resize(size, 0);
        bytes
    }

    #[test]
    fn parts_are_found() {
        let bundle = Bundle::parse(0x1_0000, &file([4096, 10, 8192, 100], 8292)).unwrap();
        assert_eq!(
            bundle.kernel,
            Range {
                start: 0x1_1000,
                end: 0x1_100a
            }
        );
        assert_eq!(
            bundle.ram_disk,
            Range {
                start: 0x1_2000,
                end: 0x1_2064
            }
        );
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(Bundle::parse(0, b"ADYTON"), Err(BundleError::NoHeader));
        assert_eq!(Bundle::parse(0, &[0; 64]), Err(BundleError::NoHeader));
        for numbers in [
            [1, 1, 0, 0],
            [4096, 4097, 0, 0],
            [4096, u64::MAX, 0, 0],
            [0, 0, 8192, 1],
        ] {
            assert_eq!(
                Bundle::parse(0, &file(numbers, 8192)),
                Err(BundleError::BadPart)
            );
        }
    }
}
