//! The secrets of the processor, and how they are kept: in words that can be zeroed while others may still read them.

use core::sync::atomic::{AtomicU64, Ordering};

/// Secrets of the processor (SDM, section 36.4 and EGETKEY). Everything but `page_key` and `report_key_id` stays the same over
/// reboots, or seals of earlier boots are lost.
#[derive(Clone)]
#[cfg_attr(test, derive(Debug, PartialEq, Eq))]
pub struct Secrets {
    /// The root of all derived keys, of this monitor on this machine.
    pub root: [u8; 16],
    /// CR_SEAL_FUSES: what keys have that nobody but this machine can derive; provisioning keys go without.
    pub seal_fuses: [u8; 16],
    /// CR_SGXOWNEREPOCH, which the owner may change to forget all seals.
    pub owner_epoch: [u8; 16],
    /// CR_CPUSVN: sixteen security versions of components, each compared for itself.
    pub cpusvn: [u8; 16],
    /// CR_REPORT_KEYID, random in each boot.
    pub report_key_id: [u8; 32],
    /// CR_BASE_PK: encrypts pages that are written out, random in each boot.
    pub page_key: [u8; 16],
}

impl Secrets {
    const ZERO: Self = Self {
        root: [0; 16],
        seal_fuses: [0; 16],
        owner_epoch: [0; 16],
        cpusvn: [0; 16],
        report_key_id: [0; 32],
        page_key: [0; 16],
    };

    fn words(&mut self) -> impl Iterator<Item = &mut [u8; 8]> {
        let fields: [&mut [u8]; 6] = [
            &mut self.root,
            &mut self.seal_fuses,
            &mut self.owner_epoch,
            &mut self.cpusvn,
            &mut self.report_key_id,
            &mut self.page_key,
        ];
        fields.into_iter().flat_map(|field| field.as_chunks_mut().0)
    }
}

const WORDS: usize = size_of::<Secrets>() / size_of::<u64>();

/// [`Secrets`] that all cores share, until they are wiped.
pub(crate) struct Kept([AtomicU64; WORDS]);

impl Kept {
    pub fn new(mut secrets: Secrets) -> Self {
        let kept = Self([const { AtomicU64::new(0) }; WORDS]);
        for (place, word) in kept.0.iter().zip(secrets.words()) {
            place.store(u64::from_le_bytes(*word), Ordering::Relaxed);
        }
        kept
    }

    pub fn get(&self) -> Secrets {
        let mut secrets = Secrets::ZERO;
        for (word, place) in secrets.words().zip(&self.0) {
            *word = place.load(Ordering::Relaxed).to_le_bytes();
        }
        secrets
    }

    pub fn wipe(&self) {
        for place in &self.0 {
            place.store(0, Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_and_wiped() {
        let mut secrets = Secrets::ZERO;
        for (word, number) in secrets.words().zip(1_u64..) {
            *word = number.to_le_bytes();
        }
        assert_eq!(secrets.page_key[8], WORDS as u8);
        let kept = Kept::new(secrets.clone());
        assert_eq!(kept.get(), secrets);
        kept.wipe();
        assert_eq!(kept.get(), Secrets::ZERO);
    }
}
