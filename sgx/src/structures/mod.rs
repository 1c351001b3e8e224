//! Structures in memory (SDM, chapter 35): views of their bytes by field, with the offsets that the SDM's tables name.
//!
//! What must hold: fields and reserved ranges tile each structure exactly, which is checked at compile time.

mod enclave;
mod identity;
mod page;
mod sigstruct;

pub use enclave::{Exinfo, GPRSGX_AEXNOTIFY, Gprsgx, Secs, SecsHead, TCS_ENCODED, Tcs, tcs_flags};
pub use identity::{Keyrequest, Report, Targetinfo};
pub use page::{Pageinfo, Pcmd, Rdinfo, Secinfo, secinfo_flags};
pub use sigstruct::{Einittoken, Sigstruct};

/// A field or a reserved range of a structure, for checks against other descriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name, empty if reserved.
    pub name: &'static str,
    /// Where it begins.
    pub offset: usize,
    /// Bytes.
    pub size: usize,
}

/// Whether fields lie one after the other without gaps, up to `size`.
pub(crate) const fn tiles(fields: &[Field], size: usize) -> bool {
    let (mut end, mut index) = (0, 0);
    while index < fields.len() {
        if fields[index].offset != end {
            return false;
        }
        end += fields[index].size;
        index += 1;
    }
    end == size
}

/// Makes a view of `size` bytes: numbers by value, byte arrays by reference, `reserved` ranges that must be zero. Listed in order.
macro_rules! structure {
    ($(#[$documentation:meta])* $name:ident [$size:literal] { $($rest:tt)* }) => {
        $(#[$documentation])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// Bytes.
            pub const SIZE: usize = $size;
            /// All of it, in order.
            pub const FIELDS: &'static [$crate::structures::Field] =
                structure!(@list [] $($rest)*);

            /// All zero.
            #[must_use]
            pub const fn zeroed() -> Self {
                Self([0; $size])
            }

            /// Whether every reserved byte is zero.
            #[must_use]
            pub fn is_reserved_zero(&self) -> bool {
                let mut reserved = Self::FIELDS.iter().filter(|field| field.name.is_empty());
                reserved.all(|field| {
                    let bytes = self.0.get(field.offset..field.offset + field.size);
                    bytes.is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0))
                })
            }

            structure!(@access $($rest)*);
        }

        const _: () = assert!($crate::structures::tiles($name::FIELDS, $size));
    };

    (@list [$($done:tt)*]) => { &[$($done)*] };
    (@list [$($done:tt)*] reserved @ $offset:literal: $size:literal, $($rest:tt)*) => {
        structure!(@list [$($done)* $crate::structures::Field { name: "", offset: $offset, size: $size },] $($rest)*)
    };
    (@list [$($done:tt)*] $(#[$documentation:meta])* $field:ident $setter:ident @ $offset:literal: [$size:literal], $($rest:tt)*) => {
        structure!(@list [$($done)* $crate::structures::Field { name: stringify!($field), offset: $offset, size: $size },] $($rest)*)
    };
    (@list [$($done:tt)*] $(#[$documentation:meta])* $field:ident $setter:ident @ $offset:literal: $number:ident, $($rest:tt)*) => {
        structure!(@list [$($done)* $crate::structures::Field { name: stringify!($field), offset: $offset, size: size_of::<$number>() },] $($rest)*)
    };

    (@access) => {};
    (@access reserved @ $offset:literal: $size:literal, $($rest:tt)*) => {
        structure!(@access $($rest)*);
    };
    (@access $(#[$documentation:meta])* $field:ident $setter:ident @ $offset:literal: [$size:literal], $($rest:tt)*) => {
        $(#[$documentation])*
        #[must_use]
        #[inline]
        pub fn $field(&self) -> &[u8; $size] {
            // The compiler sees that the range fits, since FIELDS tile the structure.
            self.0[$offset..].first_chunk().unwrap_or(&[0; $size])
        }

        #[doc = concat!("Sets `", stringify!($field), "`.")]
        pub fn $setter(&mut self, bytes: &[u8; $size]) {
            self.0[$offset..$offset + $size].copy_from_slice(bytes);
        }

        structure!(@access $($rest)*);
    };
    (@access $(#[$documentation:meta])* $field:ident $setter:ident @ $offset:literal: $number:ident, $($rest:tt)*) => {
        $(#[$documentation])*
        #[must_use]
        #[inline]
        pub fn $field(&self) -> $number {
            let bytes = self.0[$offset..].first_chunk().copied();
            $number::from_le_bytes(bytes.unwrap_or_default())
        }

        #[doc = concat!("Sets `", stringify!($field), "`.")]
        pub fn $setter(&mut self, value: $number) {
            self.0[$offset..$offset + size_of::<$number>()].copy_from_slice(&value.to_le_bytes());
        }

        structure!(@access $($rest)*);
    };
}

pub(crate) use structure;
