//! Rights and attributes of a region, one word on the wire.

/// A set of the bits below, as it stands in one argument of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Attributes(u64);

impl Attributes {
    /// No bit.
    pub const NONE: Self = Self(0);
    /// The domain may read.
    pub const READ: Self = Self(1);
    /// The domain may write (only together with `READ`).
    pub const WRITE: Self = Self(2);
    /// The domain may execute (only together with `READ`).
    pub const EXECUTE: Self = Self(4);
    /// Zeroed before anybody else gets it. Forced where a confidential domain holds exclusively.
    pub const CLEAN: Self = Self(8);
    /// The contents are part of the domain's measurement. Only carved regions.
    pub const MEASURED: Self = Self(16);
    /// Losing it kills the domain that holds it.
    pub const VITAL: Self = Self(32);
    /// The domain may claim from it and derive: its own pool.
    pub const POOL: Self = Self(64);
    /// At derivation: the region belongs to nobody until it is granted.
    pub const NOBODY: Self = Self(128);

    /// The registers of a PCI function that the domain has; only in answers, `assign` gives it.
    pub const DEVICE: Self = Self(256);

    /// Rights alone: read, write, execute.
    pub const RIGHTS: Self = Self(7);
    const KNOWN: u64 = 255;

    /// The set that `word` encodes; `None` where bits are unknown, or where
    /// write or execute stand without read (nested paging cannot say that).
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let unknown = word & !Self::KNOWN != 0;
        let unreadable = word & 6 != 0 && word & 1 == 0;
        if unknown || unreadable {
            None
        } else {
            Some(Self(word))
        }
    }

    /// The set in an answer of the monitor's: a device's too; `None` where bits are unknown.
    #[must_use]
    pub const fn from_answer(word: u64) -> Option<Self> {
        match Self::from_word(word & !Self::DEVICE.0) {
            Some(_) => Some(Self(word)),
            None => None,
        }
    }

    /// The word that encodes this set.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Whether every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without the bits of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl core::ops::BitOr for Attributes {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// The name of a region or an offer within its claim: unique while the monitor runs, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct RegionName(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_without_read_or_with_unknown_bits_are_refused() {
        assert_eq!(Attributes::from_word(2), None);
        assert_eq!(Attributes::from_word(4), None);
        assert_eq!(Attributes::from_word(256 | 1), None);
        assert_eq!(
            Attributes::from_word(3),
            Some(Attributes::READ | Attributes::WRITE)
        );
    }
}
