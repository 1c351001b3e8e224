//! Registers of launch control: who may sign enclaves that start without a token.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::address::PAGE_SIZE;
use crate::cores::Core;
use crate::frames::FrameAllocator;
use crate::once::Once;

/// What IA32_FEATURE_CONTROL says: locked, launch control and SGX on (Intel SDM volume 4, table 2-2).
pub const FEATURE_CONTROL: u64 = 1 | 1 << 17 | 1 << 18;

/// IA32_SGXLEPUBKEYHASH0; three more follow.
const FIRST: u32 = 0x8c;

/// The SHA-256 digest of the key that launches enclaves after a reset, as processors with launch control have it.
const AFTER_RESET: [u64; 4] = [
    0xa605_3e05_1270_b7ac,
    0x6cfb_e8ba_8b3b_413d,
    0xc491_6d99_f2b3_735d,
    0xd4f8_c059_09f9_bb3b,
];

/// The registers of one core.
type Words = [AtomicU64; 4];

static KEYS: Once<&'static [Words]> = Once::new();

/// Makes the registers, as after a reset.
///
/// # Panics
/// If there is no memory for them.
pub(super) fn create(frames: &FrameAllocator, cores: usize) {
    let pages = ((cores * size_of::<Words>()) as u64).div_ceil(PAGE_SIZE);
    let array = frames
        .allocate_contiguous(pages, PAGE_SIZE)
        .expect("the enclaves' reserve is too small for the cores");
    // SAFETY: zeroed pages that belong to the array for ever, large enough for it; it is only accessed by atomic words.
    let keys = unsafe { core::slice::from_raw_parts(array.value() as *const Words, cores) };
    for words in keys {
        for (word, value) in words.iter().zip(AFTER_RESET) {
            word.store(value, Ordering::Relaxed);
        }
    }
    KEYS.set(keys);
}

/// The digest on this core.
#[must_use]
pub fn key(core: &Core) -> [u64; 4] {
    words(core).map_or(AFTER_RESET, |words| {
        core::array::from_fn(|number| words[number].load(Ordering::Relaxed))
    })
}

/// A quarter of it, by its register; `None` where there are no enclaves.
#[must_use]
pub fn key_word(core: &Core, register: u32) -> Option<u64> {
    Some(word(core, register)?.load(Ordering::Relaxed))
}

/// Sets a quarter of it; whether there is such a register.
#[must_use]
pub fn set_key_word(core: &Core, register: u32, value: u64) -> bool {
    word(core, register).is_some_and(|word| {
        word.store(value, Ordering::Relaxed);
        true
    })
}

fn words(core: &Core) -> Option<&'static Words> {
    KEYS.try_get()?.get(core.index as usize)
}

fn word(core: &Core, register: u32) -> Option<&'static AtomicU64> {
    words(core)?.get(register.checked_sub(FIRST)? as usize)
}
