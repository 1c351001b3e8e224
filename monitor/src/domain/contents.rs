//! The effects that are about what memory holds: zeroing it, and hashing it for a measurement.

use adyton_capability::effect::{Applied, Budget};
use sha2::Digest;

use super::context::Changing;
use super::zero;
use crate::address::{HostPhysical, PAGE_SIZE};
use crate::machine;

/// Zeroing a page.
const ZERO_COST: u64 = 320;
/// Hashing 64 bytes without the SHA extensions.
const HASH_COST: u64 = 3500;
/// Hashing 64 bytes with them.
const HASH_COST_EXTENDED: u64 = 250;
/// Bytes hashed between two looks at the budget; the page size is a multiple.
const HASH_CHUNK: u64 = 256;

/// Zeroes pool that nobody reaches.
pub(super) fn scrub(base: u64, size: u64, from: u64, budget: &mut Budget) -> Applied {
    let pages = (budget.left() / ZERO_COST)
        .max(1)
        .min((size - from) / PAGE_SIZE);
    let bytes = pages * PAGE_SIZE;
    // SAFETY: the engine scrubs pool that was unmapped from everybody and flushed.
    unsafe { zero::zero(HostPhysical(base + from), bytes) };
    budget.spend(pages * ZERO_COST);
    if from + bytes >= size {
        Applied::Done
    } else {
        Applied::Partial(from + bytes)
    }
}

/// Hashing 64 bytes on this machine.
pub(super) fn hash_cost() -> u64 {
    if machine::get().sha_extensions {
        HASH_COST_EXTENDED
    } else {
        HASH_COST
    }
}

/// Goes on hashing. A slice may end inside a page, which the engine does not count in: then it is told to ask again.
pub(super) fn hash(
    changing: &mut Changing,
    base: u64,
    size: u64,
    from: u64,
    budget: &mut Budget,
) -> Applied {
    let mut done = from + changing.hashed;
    while done < size {
        let chunk = HASH_CHUNK.min(size - done);
        let place = (base + done) as *const u8;
        // SAFETY: measured memory belongs to one domain that does not run yet; it is RAM, mapped one to one. Its owner lost
        // its access before it was mapped, so nobody writes.
        let bytes = unsafe { core::slice::from_raw_parts(place, chunk as usize) };
        changing.hasher.update(bytes);
        done += chunk;
        budget.spend(chunk / 64 * hash_cost());
        if budget.is_spent() {
            break;
        }
    }
    let whole = done / PAGE_SIZE * PAGE_SIZE;
    changing.hashed = done - whole;
    if done >= size {
        Applied::Done
    } else if whole > from {
        Applied::Partial(whole)
    } else {
        Applied::Wait
    }
}
