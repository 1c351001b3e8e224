//! What the monitor that is shipped does when asked to look at itself or to misbehave: nothing.

use adyton_abi::error::Error;

/// No flush is left out.
#[must_use]
#[inline]
pub const fn forgets_flushes() -> bool {
    false
}

/// Refuses.
///
/// # Errors
/// `Invalid`, always.
pub const fn perform(_: u64, _: u64) -> Result<[u64; 4], Error> {
    Err(Error::Invalid)
}
