//! A vCPU's place in its domain and in the chain of entries that led to it.

use core::cell::Cell;
use core::ptr::null_mut;

use super::context::Context;
use super::entry::{Entry, Owner};
use super::trail::Trails;
use crate::address::HostPhysical;
use crate::cores::Core;
use crate::domain0::private_view;
use crate::vcpu::Vcpu;

/// What a vCPU needs beyond its registers. All zeros is a valid value: a vCPU of no domain.
#[derive(Debug)]
#[repr(C)]
pub struct Seat {
    /// Which core has it in hand. The only field that other cores touch.
    pub owner: Owner,
    /// Its `enter` was interrupted: it stands at the calling instruction, and its child goes on first.
    pub calling: bool,
    /// Where its exits are recorded (host-physical); 0 for domain 0's vCPUs.
    pub exit_page: HostPhysical,
    /// The vCPU that entered it; meaningful while it is owned.
    pub caller: *mut Vcpu,
    /// Its domain; null until it is attached.
    context: Cell<*const Context>,
    /// Where it stands in the protocol.
    pub entry: Entry,
    /// The core that ran it last, plus one, and the generation of its domain's translations then.
    pub ran_on: u32,
    /// See [`Self::ran_on`].
    pub generation: u64,
    /// Its last walks to control pages.
    pub trails: Trails,
}

impl Seat {
    /// Gives a fresh vCPU its domain and the page for its exits.
    pub fn attach(&mut self, context: &'static Context, exit_page: HostPhysical) {
        self.context.set(context);
        self.exit_page = exit_page;
        self.caller = null_mut();
        self.entry = Entry::default();
    }

    /// Its domain.
    #[inline]
    #[must_use]
    pub fn context(&self) -> &'static Context {
        // SAFETY: every vCPU that runs was attached, and a context outlives its vCPUs.
        unsafe { &*self.context.get() }
    }

    /// Whether it was attached.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        !self.context.get().is_null()
    }
}

impl Vcpu {
    /// Last thing before the vCPU runs on `core`: says so to whoever takes translations away, and flushes if some were
    /// taken since it ran last, or if it ran elsewhere.
    #[inline]
    pub fn prepare_entry(&mut self, core: &Core) {
        let generation = core.presence.enter(self.seat.context());
        let here = core.index.wrapping_add(1);
        if self.seat.generation != generation || self.seat.ran_on != here {
            self.renew(core, generation);
        }
    }

    /// Takes no translation along from before.
    #[cold]
    fn renew(&mut self, core: &Core, generation: u64) {
        self.seat.generation = generation;
        self.seat.ran_on = core.index.wrapping_add(1);
        private_view::leave(core, self);
        self.flush_at_entry();
    }
}
