//! How a core is made to look up from what it runs: what goes with the word of [`Attention`].

use core::sync::atomic::Ordering;

use adyton_synchronization::attention::{NMI, OFFER, STARTUP, STOP};
use adyton_synchronization::presence::Presence;
use adyton_synchronization::wait::Peer;

use super::Core;
use crate::apic;
use crate::domain0::private_view;
use crate::instructions;
use crate::vcpu::Vcpu;

/// What runs next, after everything that was asked was done.
#[must_use]
pub enum Attended {
    /// This one, as if nothing had been.
    GoOn(&'static mut Vcpu),
    /// This one, after the core has waited: it begins anew.
    Begin(&'static mut Vcpu),
}

impl Core {
    /// Sets `bits` and makes sure that the core sees them soon, even inside a guest.
    pub(super) fn kick(&self, bits: u32) {
        if self.attention.ask(bits) {
            apic::send_nmi(self.apic_id);
        }
    }

    /// Whether there is anything to do before a guest may run.
    #[inline]
    #[must_use]
    pub fn has_attention(&self) -> bool {
        self.attention.is_asked()
    }

    /// Does everything that is asked, before `next` runs. Called with nothing held and nothing in flight. If another runs next,
    /// that is the answer: then what `next` and the one before left in the CPU is nobody's.
    pub fn attend(&'static self, next: &'static mut Vcpu) -> Attended {
        if self.attention.has(STOP) {
            self.stop();
        }
        // All of it concerns domain 0's vCPU and waits until that is the one to run: an NMI takes every core back to it.
        if !core::ptr::eq(next, self.domain0_vcpu()) {
            if self.is_taken() {
                // Left from before: while the core is a domain's, none of it is to be done, and it would only cost.
                self.attention.take(OFFER | NMI | STARTUP);
            }
            return Attended::GoOn(next);
        }
        if self.attention.take(STARTUP) {
            private_view::leave(self, next);
            return Attended::Begin(self.wait_for_startup(next));
        }
        if self.attention.take(OFFER) {
            self.consider_offer(next, apic::is_off());
        }
        // Nothing is delivered in the middle of a step; that ends with an exit.
        if self.attention.has(NMI) && !private_view::is_active(self) {
            self.deliver_nmi(next);
        }
        Attended::GoOn(next)
    }

    /// Runs nothing any more.
    pub(super) fn stop(&self) -> ! {
        self.stopped.store(true, Ordering::Release);
        instructions::stop()
    }

    fn deliver_nmi(&self, next: &mut Vcpu) {
        if next.inject_nmi() {
            self.attention.take(NMI);
        } else if next.has_injection() {
            // Another event goes first: come out again right behind it.
            self.kick_out();
        }
    }

    /// Sends domain 0's vCPU on this core an NMI. While the core is somebody else's it is lost, as on one that waits for a start-up.
    pub fn send_nmi_to_domain0(&self) {
        if !self.is_taken() {
            self.kick(NMI);
        }
    }

    /// Attributes the NMIs that were taken; to be called after any that could have been.
    pub fn account_nmis(&self) {
        self.attention.account(self.take_nmis());
    }

    /// Drops an NMI of domain 0's: a core that waits for a start-up takes none.
    pub(super) fn forget_nmi(&self) {
        self.attention.take(NMI);
    }
}

impl Peer for Core {
    #[inline]
    fn presence(&self) -> &Presence {
        &self.presence
    }

    fn kick_out(&self) {
        self.kick(0);
    }
}
