//! What [`Call::Counter`](crate::call::Call::Counter) does: its argument 3; argument 4 is the selector.

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Operation {
    /// → value. By a domain about its own counter; the selector is a [`Binding`](crate::key::Binding).
    Read = 0,
    /// → value, one more than before, which is then in the TPM's storage. As `Read`.
    Increment = 1,
    /// → value, above that of every deleted counter of this TPM. Refused while a place is [`Foreign`](Place::Foreign). By domain 0, for a sealed domain that it commands; the selector as for `Read`.
    Create = 2,
    /// Deletes the counter at the place that the selector says. By domain 0.
    Destroy = 3,
    /// → [`Place`], digest of the holder in four words. What is at the place that the selector says. By domain 0.
    Look = 4,
}

impl Operation {
    /// The operation with the number `value`.
    #[must_use]
    pub const fn from_number(value: u64) -> Option<Self> {
        Some(match value {
            0 => Self::Read,
            1 => Self::Increment,
            2 => Self::Create,
            3 => Self::Destroy,
            4 => Self::Look,
            _ => return None,
        })
    }
}

/// What is at a place for a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Place {
    /// Nothing.
    Free = 0,
    /// A domain's counter.
    Held = 1,
    /// An index of another system, or of a secret that is gone.
    Foreign = 2,
}
