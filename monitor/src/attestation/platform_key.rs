//! The key that all keys of domains are derived from, where it stays: in words that are wiped without a lock, before the machine ends.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use adyton_secrets::derivation::PlatformKey;

static KEY: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];
static IS_THERE: AtomicBool = AtomicBool::new(false);

/// Keeps the key of a secret. Once, while the monitor boots.
pub fn keep(secret: &[u8]) {
    for (place, word) in KEY.iter().zip(PlatformKey::new(secret).words()) {
        place.store(word, Ordering::Relaxed);
    }
    IS_THERE.store(true, Ordering::Release);
}

/// What keys are derived from, if this boot got the secret.
#[must_use]
pub fn get() -> Option<PlatformKey> {
    IS_THERE.load(Ordering::Acquire).then(|| {
        let mut words = [0; 4];
        for (word, place) in words.iter_mut().zip(&KEY) {
            *word = place.load(Ordering::Relaxed);
        }
        PlatformKey::from_words(words)
    })
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
        assert!(get().is_none());
        keep(&[7; 32]);
        let words = |key: PlatformKey| key.words();
        assert_eq!(get().map(words), Some(PlatformKey::new(&[7; 32]).words()));
        wipe();
        assert!(get().is_none());
        assert!(KEY.iter().all(|word| word.load(Ordering::SeqCst) == 0));
    }
}
