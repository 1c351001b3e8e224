//! How a core is made to look up from what it runs.
//!
//! Each core has a word of bits that others set ([`Core::kick`]); it looks at the word before it enters a guest. One that
//! is inside a guest is brought out by an NMI, which no guest can mask, since every guest's NMIs are intercepted.
//!
//! Domain 0 has NMIs of its own, so each one must be told apart. Rule: whoever turns [`KICKED`] on sends exactly one
//! NMI, and nobody sends another while it is on; the core counts the NMIs that it takes, and for each of those, `KICKED`
//! goes off if it was on, otherwise the NMI is domain 0's. The count is right even if a kick overtakes an NMI of domain
//! 0's. The one thing that can merge is what merges on bare metal too: an NMI of a *device* of domain 0's that arrives
//! while another is latched. NMIs that domain 0 sends by its APIC are not sent at all but noted in the target's
//! word ([`NMI`]), so they never merge with a kick.

use core::sync::atomic::Ordering;

use super::Core;
use crate::apic;
use crate::domain0::private_view;
use crate::instructions;
use crate::vcpu::Vcpu;

/// A kick's NMI is on its way.
const KICKED: u32 = 1 << 0;
/// Domain 0 has sent an INIT or a start-up, see [`super::park`].
pub(super) const STARTUP: u32 = 1 << 1;
/// Domain 0 has an NMI to take.
pub(super) const NMI: u32 = 1 << 2;
/// The machine ends: run nothing any more.
pub(super) const STOP: u32 = 1 << 3;

impl Core {
    /// Sets `bits` and makes sure that the core sees them soon, even inside a guest.
    pub(super) fn kick(&self, bits: u32) {
        let before = self.attention.fetch_or(bits | KICKED, Ordering::SeqCst);
        if before & KICKED == 0 {
            apic::send_nmi(self.apic_id);
        }
    }

    /// Brings the core into the monitor soon, if it is inside a guest.
    pub fn kick_out(&self) {
        self.kick(0);
    }

    /// Whether there is anything to do before a guest may run.
    #[inline]
    #[must_use]
    pub fn has_attention(&self) -> bool {
        self.attention.load(Ordering::Acquire) & !KICKED != 0
    }

    /// Does everything that is asked, before `next` runs. Called with nothing held and nothing in flight.
    pub fn attend(&'static self, next: &mut Vcpu) {
        if self.attention.load(Ordering::Acquire) & STOP != 0 {
            self.stop();
        }
        // All of it concerns domain 0's vCPU and waits until that is the one to run: an NMI takes every core back to it.
        if !core::ptr::eq(next, self.domain0_vcpu()) {
            return;
        }
        if self.take(STARTUP) {
            private_view::leave(self, next);
            self.wait_for_startup(next);
        }
        // Nothing is delivered in the middle of a step; that ends with an exit.
        if self.attention.load(Ordering::Acquire) & NMI != 0 && !private_view::is_active(self) {
            self.deliver_nmi(next);
        }
    }

    /// Runs nothing any more.
    pub(super) fn stop(&self) -> ! {
        self.stopped.store(true, Ordering::Release);
        instructions::stop()
    }

    fn deliver_nmi(&self, next: &mut Vcpu) {
        if next.inject_nmi() {
            self.take(NMI);
        } else if next.has_injection() {
            // Another event goes first: come out again right behind it.
            self.kick_out();
        }
    }

    /// Sends domain 0's vCPU on this core an NMI.
    pub fn send_nmi_to_domain0(&self) {
        self.kick(NMI);
    }

    /// Attributes the NMIs that were taken; to be called after any that could have been.
    pub fn account_nmis(&self) {
        for _ in 0..self.take_nmis() {
            if !self.take(KICKED) {
                self.attention.fetch_or(NMI, Ordering::SeqCst);
            }
        }
    }

    /// Drops an NMI of domain 0's: a core that waits for a start-up takes none.
    pub(super) fn forget_nmi(&self) {
        self.take(NMI);
    }

    /// Takes one bit out; whether it was in.
    pub(super) fn take(&self, bit: u32) -> bool {
        self.attention.load(Ordering::Relaxed) & bit != 0
            && self.attention.fetch_and(!bit, Ordering::SeqCst) & bit != 0
    }
}
