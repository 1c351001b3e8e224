//! CBOR, as little of it as evidence needs (RFC 8949).
//!
//! The [encoder](encode::Encoder) writes the deterministic encoding (section 4.2.1) piece by piece, without memory of its own, so that the
//! monitor can hash and write out a composition of any size in slices. The [decoder](decode::Decoder) accepts nothing else: shortest
//! heads, definite lengths, map keys in rising order. So there is one encoding of each value, and a changed byte changes a value or
//! is refused. Floating-point numbers, simple values and indefinite lengths do not occur in evidence, and are refused.

pub mod decode;
pub mod encode;

/// Major types, as they stand in the three highest bits of an item's first byte.
mod major {
    pub const UNSIGNED: u8 = 0;
    pub const NEGATIVE: u8 = 1;
    pub const BYTES: u8 = 2;
    pub const TEXT: u8 = 3;
    pub const ARRAY: u8 = 4;
    pub const MAP: u8 = 5;
    pub const TAG: u8 = 6;
}
