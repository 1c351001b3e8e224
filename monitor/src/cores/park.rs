//! Cores that domain 0 has not started yet, or has reset: INIT and start-up, played in software.
//!
//! A real INIT would take a core out of the monitor, so domain 0's never reaches the hardware. The state machine is the
//! manual's (Intel SDM volume 3, section 9.4.4): INIT makes a core wait; a start-up starts one that waits, at the page that
//! it names, in real mode, and is ignored by one that runs, or that is not domain 0's at present.

use core::sync::atomic::Ordering;

use adyton_synchronization::attention::{STARTUP, STOP};

use super::{Core, EPOCH};
use crate::vcpu::Vcpu;
use crate::{apic, interrupts};

const RUNNING: u32 = 0;
pub(super) const WAITING: u32 = 1;
/// It is not domain 0's at present, see [`super::whole`]: what that sends leads nowhere.
pub(super) const TAKEN: u32 = 2;
/// With the page in the low byte.
const STARTED_AT: u32 = 0x100;

/// What domain 0 can tell a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Startup {
    /// Stop and wait.
    Init,
    /// Start at this page, below 1 MiB.
    Start(u8),
}

impl Core {
    /// Passes on domain 0's INIT or start-up to this core.
    pub fn send_startup(&self, message: Startup) {
        let accepted = match message {
            Startup::Init => {
                let waits = |state| (state != TAKEN).then_some(WAITING);
                self.startup
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, waits)
                    .is_ok()
            }
            Startup::Start(page) => {
                let state = STARTED_AT | u32::from(page);
                self.startup
                    .compare_exchange(WAITING, state, Ordering::SeqCst, Ordering::SeqCst)
                    .is_ok()
            }
        };
        if accepted && self.is_started() {
            self.kick(STARTUP);
        }
    }

    /// Domain 0 starts with this core running: the bootstrap core.
    pub fn set_running(&self) {
        self.startup.store(RUNNING, Ordering::SeqCst);
    }

    /// Domain 0's vCPU on this core goes on as after an INIT, from the next entry on.
    pub(super) fn send_init_to_itself(&self) {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let _came_meanwhile = self
            .startup
            .compare_exchange(RUNNING, WAITING, success, failure);
        self.await_startup();
    }

    /// Looks, before anything of domain 0's runs here, whether it waits.
    pub(super) fn await_startup(&self) {
        self.attention.note(STARTUP);
    }

    /// Waits, if that is the state; then puts `vcpu`, domain 0's, into the state that a start-up gives, or takes up what was started
    /// here as a whole. What runs next.
    pub fn wait_for_startup(&'static self, vcpu: &'static mut Vcpu) -> &'static mut Vcpu {
        if self.startup.load(Ordering::SeqCst) == RUNNING {
            return vcpu;
        }
        apic::reset_own();
        // Interrupts were let in there, and with them perhaps an NMI: a kick that stays unaccounted would be the last.
        self.account_nmis();
        self.forget_nmi();
        loop {
            let state = self.startup.load(Ordering::SeqCst);
            if state == TAKEN
                && let Some(job) = self.take_up_job()
            {
                return job;
            }
            if state == WAITING || state == TAKEN {
                self.sleep();
                continue;
            }
            // Another INIT may have come in between: then go round.
            let taken =
                self.startup
                    .compare_exchange(state, RUNNING, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_ok() {
                vcpu.reset_to_real_mode(state as u8);
                return vcpu;
            }
        }
    }

    /// Sleeps until domain 0 asks for something. Meanwhile the core uses nothing that others could take away.
    fn sleep(&self) {
        self.presence.rest();
        interrupts::sleep_until(self.attention.word(), STARTUP);
        self.presence.exit(&EPOCH);
        self.account_nmis();
        self.forget_nmi();
        if self.attention.has(STOP) {
            self.stop();
        }
        self.attention.take(STARTUP);
    }
}
