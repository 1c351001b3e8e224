//! Names that are never used twice: the page where the thing lives, and a generation.
//!
//! An identity resolves in constant time (the page is looked at, and must hold what carries the same
//! identity). Generations come from one counter of 40 bits and are never given out again, so what has
//! died stays dead whatever moved into its page. When the counter ends, nothing new can be named.

use core::num::NonZeroU32;

/// Bits of an identity that say the page; the rest is the generation.
const PAGE_BITS: u32 = 24;

/// One page of the store.
///
/// Kept as its number plus one, so that an optional page number takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNumber(NonZeroU32);

impl PageNumber {
    /// Pages that a store can have: 64 GiB of monitor memory.
    pub const LIMIT: u32 = 1 << PAGE_BITS;

    /// The page `number`, or `None` at [`Self::LIMIT`] or beyond.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::LIMIT {
            return None;
        }
        match NonZeroU32::new(number + 1) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The number as it is kept.
    pub(crate) const fn plus_one(self) -> NonZeroU32 {
        self.0
    }

    /// From a number as it is kept.
    pub(crate) const fn from_plus_one(word: NonZeroU32) -> Self {
        Self(word)
    }

    /// The number, from 0.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0.get() - 1
    }
}

/// Makes the identities of one engine.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(crate) struct Generations(u64);

impl Generations {
    pub(crate) const fn new() -> Self {
        Self(1)
    }

    /// Whether what one call needs can still be made.
    pub(crate) const fn remain(&self) -> bool {
        self.0 < (1 << (64 - PAGE_BITS)) - 8
    }

    /// The next identity, for what lives in `page`. A call asks [`Self::remain`] before its first.
    pub(crate) fn next(&mut self, page: PageNumber) -> u64 {
        let word = self.0 << PAGE_BITS | u64::from(page.number());
        self.0 += 1;
        word
    }
}

macro_rules! identity {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The identity that `word` claims to be; it may never have existed.
            #[must_use]
            pub const fn from_word(word: u64) -> Self {
                Self(word)
            }

            /// The word, as it stands on the wire. Never 0 for what exists.
            #[must_use]
            pub const fn word(self) -> u64 {
                self.0
            }

            /// Where the thing lives if it lives.
            pub(crate) const fn page(self) -> Option<PageNumber> {
                PageNumber::new((self.0 & (PageNumber::LIMIT as u64 - 1)) as u32)
            }
        }
    };
}

identity! {
    /// A domain.
    DomainId
}

impl DomainId {
    /// The page of the store that holds the domain's record while it lives: no two living domains have the same.
    #[must_use]
    pub const fn page_number(self) -> u32 {
        (self.0 & (PageNumber::LIMIT as u64 - 1)) as u32
    }
}
identity! {
    /// A claim.
    ClaimId
}
identity! {
    /// A node of the derivation forest: a region, an offer, a range of cores.
    NodeId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_tell_their_page_and_never_repeat() {
        let mut generations = Generations::new();
        let page = PageNumber::new(77).unwrap();
        let first = DomainId::from_word(generations.next(page));
        let second = DomainId::from_word(generations.next(page));
        assert_ne!(first, second);
        assert_eq!(first.page(), Some(page));
        assert_eq!((first.page_number(), second.page_number()), (77, 77));
        assert_ne!(first.word(), 0);
    }

    #[test]
    fn the_end_of_the_counter_is_seen() {
        assert!(Generations((1 << 40) - 9).remain());
        assert!(!Generations((1 << 40) - 8).remain());
        assert_eq!(PageNumber::new(PageNumber::LIMIT), None);
        assert_eq!(core::mem::size_of::<Option<PageNumber>>(), 4);
    }
}
