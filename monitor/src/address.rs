//! The three kinds of address that the monitor meets, as types that do not mix.
//!
//! A guest-virtual address becomes a guest-physical one by a guest's page tables ([`crate::guest::walk`]), and that
//! becomes a host-physical one by the nested tables ([`crate::nested`]). Whoever holds a [`HostPhysical`] has been
//! through both; nothing that a guest says is ever one.

use core::fmt;

/// Bytes in the smallest page.
pub const PAGE_SIZE: u64 = 4096;

macro_rules! address {
    ($(#[$documentation:meta])* $name:ident) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The bare number.
            #[inline]
            #[must_use]
            pub const fn value(self) -> u64 {
                self.0
            }

            /// The address `bytes` further on, or `None` past the end of the 64-bit space.
            #[inline]
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Bytes from `start` up to here, or `None` if `start` lies behind.
            #[inline]
            #[must_use]
            pub const fn checked_offset_from(self, start: Self) -> Option<u64> {
                self.0.checked_sub(start.0)
            }

            /// Rounded down to a multiple of `alignment`, a power of two.
            #[inline]
            #[must_use]
            pub const fn align_down(self, alignment: u64) -> Self {
                debug_assert!(alignment.is_power_of_two());
                Self(self.0 & !(alignment.wrapping_sub(1)))
            }

            /// Rounded up to a multiple of `alignment`, a power of two; `None` past the end of the space.
            #[inline]
            #[must_use]
            pub const fn checked_align_up(self, alignment: u64) -> Option<Self> {
                match self.0.checked_add(alignment.wrapping_sub(1)) {
                    Some(sum) => Some(Self(sum).align_down(alignment)),
                    None => None,
                }
            }

            /// Whether it is a multiple of `alignment`, a power of two.
            #[inline]
            #[must_use]
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & alignment.wrapping_sub(1) == 0
            }

            /// The start of the 4 KiB page that holds it.
            #[inline]
            #[must_use]
            pub const fn page(self) -> Self {
                self.align_down(PAGE_SIZE)
            }

            /// Its offset in that page.
            #[inline]
            #[must_use]
            pub const fn page_offset(self) -> u64 {
                self.0 & (PAGE_SIZE - 1)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

address! {
    /// An address on the machine's own bus: what the last translation gives.
    HostPhysical
}

address! {
    /// What a domain takes for a physical address: the input of its nested tables.
    GuestPhysical
}

address! {
    /// A linear address in a domain: the input of its own page tables.
    GuestVirtual
}

impl GuestVirtual {
    /// Whether the bits above the implemented ones (`48`, or `57` with five levels) repeat the topmost of them, as
    /// the CPU demands of every linear address in 64-bit mode (APM volume 2, section 5.3.1).
    #[inline]
    #[must_use]
    pub const fn is_canonical(self, implemented_bits: u32) -> bool {
        let unused = 64 - implemented_bits;
        ((self.0 << unused) as i64 >> unused) as u64 == self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_end() {
        assert_eq!(HostPhysical(u64::MAX).checked_add(1), None);
        assert_eq!(HostPhysical(1).checked_add(2), Some(HostPhysical(3)));
        assert_eq!(GuestPhysical(u64::MAX).checked_align_up(PAGE_SIZE), None);
        assert_eq!(
            GuestPhysical(1).checked_align_up(PAGE_SIZE),
            Some(GuestPhysical(4096))
        );
        assert_eq!(
            GuestPhysical(4095).checked_offset_from(GuestPhysical(4096)),
            None
        );
    }

    #[test]
    fn canonical_addresses() {
        assert!(GuestVirtual(0x0000_7fff_ffff_ffff).is_canonical(48));
        assert!(!GuestVirtual(0x0000_8000_0000_0000).is_canonical(48));
        assert!(GuestVirtual(0xffff_8000_0000_0000).is_canonical(48));
        assert!(GuestVirtual(0x0000_8000_0000_0000).is_canonical(57));
    }
}
