//! What a domain may do with a page.

use adyton_abi::region::Attributes;

/// A set of read, write and execute, and of whether the domain's devices may do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Rights(u8);

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Loads.
    pub const READ: Self = Self(1);
    /// Stores.
    pub const WRITE: Self = Self(2);
    /// Instruction fetches.
    pub const EXECUTE: Self = Self(4);
    /// Loads and stores.
    pub const READ_WRITE: Self = Self(3);
    /// Everything that a processor does.
    pub const ALL: Self = Self(7);
    /// Devices of the domain may read and write what the domain itself may.
    pub const DEVICE: Self = Self(8);

    /// Whether every right of `other` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set if `condition` holds, else nothing.
    #[inline]
    #[must_use]
    pub const fn only_if(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl From<Attributes> for Rights {
    fn from(attributes: Attributes) -> Self {
        // Attributes are memory's, which a domain's devices reach as it does. Registers of devices are mapped by rights of their own.
        let processor = Self::READ
            .only_if(attributes.contains(Attributes::READ))
            .union(Self::WRITE.only_if(attributes.contains(Attributes::WRITE)))
            .union(Self::EXECUTE.only_if(attributes.contains(Attributes::EXECUTE)));
        processor.union(Self::DEVICE)
    }
}
