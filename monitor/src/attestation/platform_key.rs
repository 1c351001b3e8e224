//! The key that all keys of domains are derived from, where it stays: in words that are wiped without a lock, before the machine ends.
//!
//! What must hold: copies of it are on the stack only within [`with`], which clears what is left of them.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use adyton_secrets::derivation::PlatformKey;

use crate::cores;

static KEY: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static IS_THERE: AtomicBool = AtomicBool::new(false);

/// Keeps the key of a secret. Once, while the monitor boots.
pub fn keep(secret: &[u8]) {
    for (place, word) in KEY.iter().zip(PlatformKey::new(secret).words()) {
        place.store(word, Ordering::Relaxed);
    }
    IS_THERE.store(true, Ordering::Release);
}

/// Whether this boot got the secret.
#[must_use]
pub fn is_there() -> bool {
    IS_THERE.load(Ordering::Acquire)
}

/// What `derive` makes of the key, if this boot got the secret.
pub fn with<R>(derive: impl FnOnce(&PlatformKey) -> R) -> Option<R> {
    if !is_there() {
        return None;
    }
    let derived = on_own_frame(derive);
    cores::clear_below();
    Some(derived)
}

/// All that this computes with lies below its caller's frame.
#[inline(never)]
fn on_own_frame<R>(derive: impl FnOnce(&PlatformKey) -> R) -> R {
    let mut words = [0; 4];
    for (word, place) in words.iter_mut().zip(&KEY) {
        *word = place.load(Ordering::Relaxed);
    }
    derive(&PlatformKey::from_words(words))
}

/// Forgets it: the machine ends.
pub fn wipe() {
    IS_THERE.store(false, Ordering::SeqCst);
    for place in &KEY {
        place.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_and_wiped() {
        assert_eq!(with(PlatformKey::words), None);
        keep(&[7; 32]);
        let expected = PlatformKey::new(&[7; 32]).words();
        assert_eq!(with(PlatformKey::words), Some(expected));
        wipe();
        assert_eq!(with(PlatformKey::words), None);
        assert!(KEY.iter().all(|word| word.load(Ordering::SeqCst) == 0));
    }
}
