//! Who says which monitors get the platform secret: the maintainer's public key, in the monitor's image beside the number of the release.
//!
//! `cargo xtask image` writes both behind [`MARK`], so they are part of what firmware measures. All zeros: nobody, and no secret.

use arrayvec::ArrayVec;

use crate::index::name;
use crate::{Hash, SHA256, hash};

/// What stands in front of them in the image.
pub const MARK: [u8; 32] = *b"adyton: maintainer and release: ";

/// Bytes of a key: two coordinates, big-endian.
pub const SIZE: usize = 64;

/// The place in the image.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Slot {
    mark: [u8; 32],
    key: [u8; SIZE],
    release: [u8; 8],
}

const _: () = assert!(size_of::<Slot>() == 104);

impl Slot {
    /// As it is compiled: nobody.
    pub const EMPTY: Self = Self {
        mark: MARK,
        key: [0; SIZE],
        release: [0; 8],
    };

    /// What it says.
    #[must_use]
    pub const fn imprint(&self) -> Imprint {
        Imprint {
            key: MaintainerKey(self.key),
            release: u64::from_le_bytes(self.release),
        }
    }
}

/// What an image says of its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imprint {
    /// Whose it is.
    pub key: MaintainerKey,
    /// The number of the release: those with a smaller one are older, and get the secret no more once this has run.
    pub release: u64,
}

impl Imprint {
    /// Writes this into an image.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn write(&self, image: &mut [u8]) -> Result<(), NoPlace> {
        let places = |window: &[u8]| window == MARK;
        let mut found = image.windows(MARK.len()).enumerate();
        let at = found.find(|(_, window)| places(window)).ok_or(NoPlace)?.0;
        if found.any(|(_, window)| places(window)) {
            return Err(NoPlace);
        }
        let contents = self.key.0.iter().copied().chain(self.release.to_le_bytes());
        let place = image.get_mut(at + MARK.len()..at + size_of::<Slot>());
        for (place, byte) in place.ok_or(NoPlace)?.iter_mut().zip(contents) {
            *place = byte;
        }
        Ok(())
    }
}

/// An image has no such place, or more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlace;

const ECC: u16 = 0x0023;
const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
const P256: u16 = 0x0003;
/// It signs; TPMA_OBJECT, part 2, section 8.3.
const ATTRIBUTES: u32 = 1 << 6 | 1 << 18;

/// A public key on P-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaintainerKey(pub [u8; SIZE]);

impl MaintainerKey {
    /// Whether there is one.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.0 != [0; SIZE]
    }

    /// TPMT_PUBLIC, as the TPM loads it.
    #[must_use]
    pub fn public(&self) -> ArrayVec<u8, 96> {
        let mut bytes = ArrayVec::new();
        let [head, tail] = [
            [ECC, SHA256],
            // No symmetric algorithm.
            [NULL, ECDSA],
        ];
        let mut words = |values: &[u16]| {
            for value in values {
                bytes.extend(value.to_be_bytes());
            }
        };
        words(&head);
        words(&[(ATTRIBUTES >> 16) as u16, ATTRIBUTES as u16]);
        // No policy of its own.
        words(&[0]);
        words(&tail);
        words(&[SHA256, P256, NULL]);
        for coordinate in self.0.chunks_exact(32) {
            bytes.extend([0, 32]);
            bytes.extend(coordinate.iter().copied());
        }
        bytes
    }

    /// The TPM's name of the key.
    #[must_use]
    pub fn name(&self) -> [u8; 34] {
        let digest: Hash = hash(&[&self.public()]);
        name(&digest)
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn it_is_written_in_one_place() {
        let imprint = Imprint {
            key: MaintainerKey([7; 64]),
            release: 0x0102,
        };
        let mut image = vec![1; 500];
        assert_eq!(imprint.write(&mut image), Err(NoPlace));
        image[100..132].copy_from_slice(&MARK);
        assert_eq!(imprint.write(&mut image), Ok(()));
        assert_eq!(image[132..196], [7; 64]);
        assert_eq!(image[196..205], [2, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(image[99], 1);
        image[300..332].copy_from_slice(&MARK);
        assert_eq!(imprint.write(&mut image), Err(NoPlace));
        assert_eq!(imprint.write(&mut MARK.clone()), Err(NoPlace));
        assert!(!Slot::EMPTY.imprint().key.is_present());
    }
}
