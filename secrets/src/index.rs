//! The TPM's NV indices that a monitor uses: TPM 2.0 Library, part 2, sections 13.4 and 13.5 (TPMA_NV, TPMS_NV_PUBLIC).
//!
//! What must hold: a name covers everything that decides who can write an index, so an index with the expected name was written by
//! nobody else, whoever defined it.

use arrayvec::ArrayVec;

use crate::{Hash, SHA256, hash};

/// Handles, in the range that the owner's indices have (TCG Registry of reserved TPM 2.0 handles, section 2.2.2).
pub mod handle {
    /// The counter of releases.
    pub const RELEASE: u32 = 0x0184_ad00;
    /// The platform secret.
    pub const SECRET: u32 = 0x0184_ad01;
    /// The first of the domains' counters.
    pub const COUNTERS: u32 = 0x0184_ad10;
    /// How many there may be.
    pub const COUNTER_LIMIT: u32 = 16;
}

/// TPMA_NV.
pub mod attribute {
    /// Written under the index's own password.
    pub const AUTH_WRITE: u32 = 1 << 2;
    /// Written under the index's policy.
    pub const POLICY_WRITE: u32 = 1 << 3;
    /// A counter (TPM_NT_COUNTER): it only grows, and a new one begins above all that were deleted.
    pub const COUNTER: u32 = 1 << 4;
    /// Read by the owner.
    pub const OWNER_READ: u32 = 1 << 17;
    /// Read with the index's own password.
    pub const AUTH_READ: u32 = 1 << 18;
    /// Read under the index's policy.
    pub const POLICY_READ: u32 = 1 << 19;
    /// A wrong password locks nobody out.
    pub const NO_LOCKOUT: u32 = 1 << 25;
    /// It was written once.
    pub const WRITTEN: u32 = 1 << 29;
}

/// Bytes of the platform secret.
pub const SECRET_SIZE: u16 = 32;
/// Bytes of a counter.
pub const COUNTER_SIZE: u16 = 8;

/// Bytes of the longest encoding.
const LONGEST: usize = 14 + 32;

/// The public part of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its handle.
    pub handle: u32,
    /// [`attribute`] bits.
    pub attributes: u32,
    /// The policy under which it is used; for counters of domains the digest of whose it is.
    pub policy: Option<Hash>,
    /// Bytes of its contents.
    pub size: u16,
}

impl Index {
    /// The counter of releases. Anybody may count it up, and thereby deny himself and others the secret, as by deleting it; nobody
    /// can count it down.
    #[must_use]
    pub const fn release() -> Self {
        Self {
            handle: handle::RELEASE,
            attributes: attribute::COUNTER
                | attribute::AUTH_WRITE
                | attribute::AUTH_READ
                | attribute::OWNER_READ
                | attribute::NO_LOCKOUT,
            policy: None,
            size: COUNTER_SIZE,
        }
    }

    /// The platform secret, under this policy and nothing else.
    #[must_use]
    pub const fn secret(policy: Hash) -> Self {
        Self {
            handle: handle::SECRET,
            attributes: attribute::POLICY_WRITE | attribute::POLICY_READ | attribute::NO_LOCKOUT,
            policy: Some(policy),
            size: SECRET_SIZE,
        }
    }

    /// A domain's counter. Its password, which is no part of the name, is the monitor's.
    #[must_use]
    pub const fn counter(slot: u32, holder: Hash) -> Self {
        Self {
            handle: handle::COUNTERS + slot,
            attributes: attribute::COUNTER
                | attribute::AUTH_WRITE
                | attribute::AUTH_READ
                | attribute::NO_LOCKOUT,
            policy: Some(holder),
            size: COUNTER_SIZE,
        }
    }

    /// The same once it was written.
    #[must_use]
    pub const fn written(mut self) -> Self {
        self.attributes |= attribute::WRITTEN;
        self
    }

    /// TPMS_NV_PUBLIC.
    #[must_use]
    pub fn encode(&self) -> ArrayVec<u8, LONGEST> {
        let mut bytes = ArrayVec::new();
        let policy = self.policy.as_ref().map_or(&[][..], |policy| policy);
        for part in [
            &self.handle.to_be_bytes()[..],
            &SHA256.to_be_bytes(),
            &self.attributes.to_be_bytes(),
            &(policy.len() as u16).to_be_bytes(),
            policy,
            &self.size.to_be_bytes(),
        ] {
            bytes.extend(part.iter().copied());
        }
        bytes
    }

    /// Its name: the algorithm and the digest of the public part.
    #[must_use]
    pub fn name(&self) -> [u8; 34] {
        name(&hash(&[&self.encode()]))
    }
}

/// A TPM's name for what has this digest.
#[must_use]
pub fn name(digest: &Hash) -> [u8; 34] {
    let mut name = [0; 34];
    let (algorithm, rest) = name.split_at_mut(2);
    algorithm.copy_from_slice(&SHA256.to_be_bytes());
    rest.copy_from_slice(digest);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_decides_about_writing_is_in_the_name() {
        let index = Index::secret([1; 32]);
        let encoded = index.encode();
        assert_eq!(encoded.len(), 46);
        assert_eq!(encoded[..4], handle::SECRET.to_be_bytes());
        assert_eq!(encoded[44..], [0, 32]);
        let others = [
            Index::secret([2; 32]),
            index.clone().written(),
            Index {
                attributes: index.attributes | attribute::AUTH_WRITE,
                ..index.clone()
            },
            Index {
                handle: handle::RELEASE,
                ..index.clone()
            },
            Index {
                policy: None,
                ..index.clone()
            },
        ];
        for other in others {
            assert_ne!(index.name(), other.name());
        }
        assert_eq!(Index::release().encode().len(), 14);
    }
}
