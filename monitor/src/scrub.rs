//! Memory never outlives its secrecy: what happens before the machine is reset or switched off.
//!
//! Confidential memory is always part of a claim, and every claim of domain 0's is noted here before it exists
//! ([`note_claim`]), in a bitmap with a bit for each 2 MiB of the pool. What a domain has in registers while it does not run
//! lies in the reserve; each of its vCPUs has a bit there while it exists ([`note_vcpu`]) and is cleared when it goes. So
//! [`everything`] zeroes all that was ever claimed since the boot and the registers of all domains, without a lock and
//! without a look at any structure that a panic could have left half changed.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::address::PAGE_SIZE;
use crate::attestation::platform_key;
use crate::cores;
use crate::devices;
use crate::enclave;
use crate::frames::FRAMES;
use crate::instructions::write_back_caches;
use crate::memory::{LARGE_PAGE, Layout, Range};
use crate::once::Once;
use crate::vcpu::Vcpu;

static NOTED: Once<Noted> = Once::new();

/// Where something confidential may be.
struct Noted {
    /// The parts of the pool that were ever claimed.
    claims: Marks,
    /// The pages of the reserve that are the vCPUs of domains.
    vcpus: Marks,
}

/// A bit for each `granule` bytes of a range.
struct Marks {
    range: Range,
    granule: u64,
    words: &'static [AtomicU64],
}

/// Makes the bitmaps.
///
/// # Panics
/// If the reserve has no room for them.
pub fn initialize(layout: &Layout) {
    NOTED.set(Noted {
        claims: Marks::create(layout.pool, LARGE_PAGE),
        vcpus: Marks::create(layout.reserve, PAGE_SIZE),
    });
}

/// Notes that a stretch of the pool is about to be claimed.
pub fn note_claim(range: Range) {
    NOTED.get().claims.set(range);
}

/// Notes a vCPU of a domain that is complete and about to be used.
pub fn note_vcpu(vcpu: &Vcpu) {
    NOTED.get().vcpus.set(page(vcpu));
}

/// Notes that a vCPU's page, which has been cleared, becomes something else.
pub fn forget_vcpu(vcpu: &Vcpu) {
    NOTED.get().vcpus.clear(page(vcpu));
}

fn page(vcpu: &Vcpu) -> Range {
    let start = &raw const *vcpu as u64;
    Range {
        start,
        end: start + PAGE_SIZE,
    }
}

/// Zeroes all of the pool that was ever claimed, the registers of all domains, the platform key, and what lies on the stacks, and writes it
/// back from the caches.
///
/// Called before every reset, power-off and shutdown that passes through the monitor, and by its panic handler. The other cores
/// and the devices that domains drive are stopped first, so that nothing is written behind the scrubbing.
pub fn everything() {
    let Some(noted) = NOTED.try_get() else {
        return;
    };
    cores::stop_others();
    devices::silence_all();
    for start in noted.claims.places() {
        // SAFETY: the pool is RAM, mapped one to one, and nothing of the monitor's lies in it.
        unsafe { core::ptr::write_bytes(start as *mut u8, 0, LARGE_PAGE as usize) };
    }
    for start in noted.vcpus.places() {
        // SAFETY: the page is a complete vCPU, and no core runs one any more.
        unsafe { (*(start as *mut Vcpu)).clear_registers() };
    }
    enclave::scrub();
    platform_key::wipe();
    cores::clear_stacks();
    write_back_caches();
}

impl Marks {
    fn create(range: Range, granule: u64) -> Self {
        let words = range.size().div_ceil(granule).div_ceil(u64::BITS.into());
        let pages = (words * size_of::<AtomicU64>() as u64).div_ceil(PAGE_SIZE);
        let start = FRAMES
            .allocate_contiguous(pages, PAGE_SIZE)
            .expect("the reserve is too small for the bitmaps");
        // SAFETY: the pages are zeroed, belong to the bitmap for ever, and are only accessed by atomic words.
        let words = unsafe {
            core::slice::from_raw_parts(start.value() as *const AtomicU64, words as usize)
        };
        Self {
            range,
            granule,
            words,
        }
    }

    fn set(&self, range: Range) {
        self.each(range, |word, bit| word.fetch_or(bit, Ordering::SeqCst));
    }

    fn clear(&self, range: Range) {
        self.each(range, |word, bit| word.fetch_and(!bit, Ordering::SeqCst));
    }

    /// Where the parts begin whose bit is set.
    fn places(&self) -> impl Iterator<Item = u64> {
        let words = self.words.iter().zip(0..);
        words.flat_map(move |(word, index)| {
            let word = word.load(Ordering::SeqCst);
            let set = (0..64).filter(move |bit| word & 1 << bit != 0);
            set.map(move |bit| self.range.start + (64 * index + bit) * self.granule)
        })
    }

    /// Does something to the bit of each part that overlaps `range`.
    fn each(&self, range: Range, change: impl Fn(&AtomicU64, u64) -> u64) {
        let start = range.start.max(self.range.start) - self.range.start;
        let end = range
            .end
            .min(self.range.end)
            .saturating_sub(self.range.start);
        for number in start / self.granule..end.div_ceil(self.granule) {
            if let Some(word) = self.words.get(number as usize / 64) {
                change(word, 1 << (number % 64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_again() {
        let words: &'static [AtomicU64] = Vec::leak((0..2).map(|_| AtomicU64::new(0)).collect());
        let granule = 0x1000;
        let range = Range {
            start: 0x10_0000,
            end: 0x10_0000 + 70 * granule,
        };
        let marks = Marks {
            range,
            granule,
            words,
        };
        let part = |first: u64, end: u64| Range {
            start: range.start + first,
            end: range.start + end,
        };
        marks.set(part(0x1800, 0x3001));
        marks.set(part(66 * granule, 80 * granule));
        marks.clear(part(67 * granule, 68 * granule));
        let places: Vec<u64> = marks.places().map(|place| place - range.start).collect();
        let expected = [1, 2, 3, 66, 68, 69].map(|number| number * granule);
        assert_eq!(places, expected);
    }
}
