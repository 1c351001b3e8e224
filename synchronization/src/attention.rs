//! How a core is made to look up from what it runs, and whose NMI is whose.
//!
//! Each core has a word of bits that others set ([`Attention::ask`]); it looks at the word before it enters a guest. One
//! that is inside a guest is brought out by an NMI, which no guest can mask, since every guest's NMIs are intercepted.
//!
//! Domain 0 has NMIs of its own, so each one must be told apart. Rule: whoever turns `KICKED` on sends exactly one
//! NMI, and nobody sends another while it is on; the core counts the NMIs that it takes, and for each of those, `KICKED`
//! goes off if it was on, otherwise the NMI is domain 0's. The count is right even if a kick overtakes an NMI of domain
//! 0's. The one thing that can merge is what merges on bare metal too: an NMI of a *device* of domain 0's that arrives
//! while another is latched. NMIs that domain 0 sends by its APIC are not sent at all but noted in the target's
//! word ([`NMI`]), so they never merge with a kick.

use crate::atomic::{AtomicU32, Ordering, constant};

/// A kick's NMI is on its way.
const KICKED: u32 = 1 << 0;
/// Domain 0 has sent an INIT or a start-up.
pub const STARTUP: u32 = 1 << 1;
/// Domain 0 has an NMI to take.
pub const NMI: u32 = 1 << 2;
/// The machine ends: run nothing any more.
pub const STOP: u32 = 1 << 3;
/// Somebody asks whether domain 0 can spare the core.
pub const OFFER: u32 = 1 << 4;

/// What one core shall look at.
#[derive(Debug)]
#[repr(transparent)]
pub struct Attention(AtomicU32);

impl Attention {
    constant! {
        /// Nothing yet.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicU32::new(0))
        }
    }

    /// Sets `bits`, perhaps none. If the answer is `true`, the caller must send the core an NMI, which brings it out of a guest.
    #[must_use]
    pub fn ask(&self, bits: u32) -> bool {
        self.0.fetch_or(bits | KICKED, Ordering::SeqCst) & KICKED == 0
    }

    /// Sets `bits`. Only for the core itself, which looks before it enters a guest.
    pub fn note(&self, bits: u32) {
        self.0.fetch_or(bits, Ordering::SeqCst);
    }

    /// Whether there is anything to do before a guest may run.
    #[inline]
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire) & !KICKED != 0
    }

    /// Whether `bit` is in.
    #[must_use]
    pub fn has(&self, bit: u32) -> bool {
        self.0.load(Ordering::Acquire) & bit != 0
    }

    /// Takes bits out; whether any was in. Only for the core itself.
    pub fn take(&self, bit: u32) -> bool {
        self.0.load(Ordering::Relaxed) & bit != 0
            && self.0.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }

    /// Says whose the NMIs were that the core has taken: each ends a kick, or is domain 0's. Only for the core itself.
    pub fn account(&self, nmis: u64) {
        for _ in 0..nmis {
            if !self.take(KICKED) {
                self.0.fetch_or(NMI, Ordering::SeqCst);
            }
        }
    }

    /// The word itself, for who sleeps until a bit of it is set.
    #[must_use]
    pub const fn word(&self) -> &AtomicU32 {
        &self.0
    }
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}
