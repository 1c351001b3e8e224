//! A vCPU's place in its domain and in the chain of entries that led to it.

use core::cell::Cell;
use core::ptr::null_mut;

use adyton_synchronization::flush::{Tag, Tlb};
use adyton_synchronization::owner::Owner;

use super::context::Context;
use super::entry::Entry;
use super::trail::Trails;
use super::whole::Notice;
use crate::address::HostPhysical;
use crate::cores::Core;
use crate::domain0::private_view;
use crate::vcpu::{self, Vcpu};

/// What a vCPU needs beyond its registers. All zeros is a valid value: a vCPU of no domain.
#[derive(Debug)]
#[repr(C)]
pub struct Seat {
    /// Which core has it in hand. The only field that other cores touch.
    pub owner: Owner,
    /// Its `enter` was interrupted: it stands at the calling instruction, and its child goes on first.
    pub calling: bool,
    /// Its owner sees and sets its registers.
    pub shows_registers: bool,
    /// It was started on a whole core: it is the root of its chain.
    pub is_whole: bool,
    /// Its exits take the path that knows all cases: its owner sees its registers, or nobody has entered it.
    pub exits_slowly: bool,
    /// Whom an exit of one that was started interrupts.
    notice: Notice,
    /// Where its exits are recorded (host-physical); 0 for domain 0's vCPUs.
    pub exit_page: HostPhysical,
    /// The vCPU that entered it; meaningful while it is owned, null if it was started.
    pub caller: *mut Vcpu,
    /// Its domain; null until it is attached.
    context: Cell<*const Context>,
    /// Where it stands in the protocol.
    pub entry: Entry,
    /// What it remembers of the translation cache of the core that ran it last.
    pub tag: Tag,
    /// Its last walks to control pages.
    pub trails: Trails,
}

impl Seat {
    /// Gives a fresh vCPU its domain and the page for its exits.
    pub fn attach(&mut self, context: &'static Context, exit_page: HostPhysical) {
        self.context.set(context);
        self.shows_registers = context.policy.flags.registers_visible();
        self.exits_slowly = self.shows_registers;
        self.exit_page = exit_page;
        self.caller = null_mut();
        self.entry = Entry::default();
    }

    /// Whether chains end here: it is domain 0's, which nobody enters, or was started.
    #[inline]
    #[must_use]
    pub fn begins_chain(&self, owner: vcpu::Owner) -> bool {
        owner == vcpu::Owner::Domain0 || self.is_whole
    }

    /// It is about to be started on a whole core, and not entered.
    pub fn begin_as_a_whole(&mut self, notice: Notice) {
        self.is_whole = true;
        self.exits_slowly = true;
        self.notice = notice;
        self.caller = null_mut();
        // If it stands at an `enter` of its own, it executes that again.
        self.calling = false;
    }

    /// It has stopped there. Whom that interrupts.
    pub fn end_as_a_whole(&mut self) -> Notice {
        self.is_whole = false;
        self.exits_slowly = self.shows_registers;
        core::mem::take(&mut self.notice)
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
    /// Last thing before the vCPU runs on `core`: says so to whoever takes translations away, and forgets what must be
    /// forgotten.
    pub fn prepare_entry(&mut self, core: &Core) {
        if !self.announce(core) {
            self.renew(core);
        }
    }

    /// Says that the vCPU is about to run on `core`. Unless the answer is `true`, [`Self::renew`] must follow.
    #[inline]
    #[must_use]
    pub fn announce(&self, core: &Core) -> bool {
        let context = self.seat.context();
        core.presence
            .enter(&self.seat.tag, context.id.word(), &context.generation)
    }

    /// Takes no translation along from before.
    pub fn renew(&mut self, core: &Core) {
        let context = self.seat.context();
        let tlb = core.presence.renew(&mut self.seat.tag, &context.generation);
        match tlb {
            Tlb::Keep(_) | Tlb::Fresh(_) => {}
            Tlb::FlushAsid(_) => self.flush_space_at_entry(),
            Tlb::FlushAll(_) => self.flush_at_entry(),
        }
        private_view::leave(core, self);
        self.set_address_space(tlb.asid());
    }
}
