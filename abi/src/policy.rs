//! Policy of a domain: fixed at seal, part of its measurement.

/// Flags of [`Call::Create`](crate::call::Call::Create), argument 3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Flags(u64);

impl Flags {
    /// A sandbox that may do nothing but exit.
    pub const NONE: Self = Self(0);
    /// The parent sees nothing of the domain but the operands of an exit, and `CLEAN` is forced.
    /// Without it (a sandbox) the parent sees and sets every register at an exit.
    pub const CONFIDENTIAL: Self = Self(1);
    /// The owner may read and set everything; evidence says so.
    pub const DEBUG: Self = Self(2);
    /// May claim from its pool, release, create and destroy domains there, add vCPUs, seal, enter.
    pub const MAY_CREATE: Self = Self(4);
    /// May carve.
    pub const MAY_CARVE: Self = Self(8);
    /// May share and derive.
    pub const MAY_SHARE: Self = Self(16);
    /// May grant.
    pub const MAY_GRANT: Self = Self(32);
    /// May accept offers after seal.
    pub const MAY_ACCEPT: Self = Self(64);
    /// May ask for evidence.
    pub const MAY_ATTEST: Self = Self(128);

    /// Everything that composition needs.
    pub const MAY_COMPOSE: Self = Self(4 | 8 | 16 | 32 | 64);
    const KNOWN: u64 = 255;

    /// What a policy can let a domain do, each with its name.
    pub const ABILITIES: [(Self, &str); 6] = [
        (Self::MAY_CREATE, "create"),
        (Self::MAY_CARVE, "carve"),
        (Self::MAY_SHARE, "share"),
        (Self::MAY_GRANT, "grant"),
        (Self::MAY_ACCEPT, "accept"),
        (Self::MAY_ATTEST, "attest"),
    ];

    /// The flags that `word` encodes, or `None` where bits are unknown.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word & !Self::KNOWN != 0 {
            None
        } else {
            Some(Self(word))
        }
    }

    /// The word that encodes these flags.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Whether every flag of `other` is set.
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

    /// Whether the parent may see and set registers at an exit.
    #[must_use]
    pub const fn registers_visible(self) -> bool {
        !self.contains(Self::CONFIDENTIAL) || self.contains(Self::DEBUG)
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

/// Policy as the engine keeps it and the measurement covers it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// What the domain may do and who sees its registers.
    pub flags: Flags,
    /// Bit n set: exception n ends the entry and is reported to the parent; clear: the domain's
    /// own handler gets it.
    pub exceptions: u32,
}
