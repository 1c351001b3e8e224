//! What [`Call::Key`](crate::call::Call::Key) binds a key to: its argument 0.

/// Whose the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Binding {
    /// Of domains with the caller's measurement. Version and signature are 0.
    Measurement = 0,
    /// Of domains of the caller's signer and product, from the given version on, which is not newer than the caller.
    Signer = 1,
}

impl Binding {
    /// The binding with the number `value`.
    #[must_use]
    pub const fn from_number(value: u64) -> Option<Self> {
        match value {
            0 => Some(Self::Measurement),
            1 => Some(Self::Signer),
            _ => None,
        }
    }
}
