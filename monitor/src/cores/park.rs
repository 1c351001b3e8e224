//! Cores that domain 0 has not started yet, or has reset: INIT and start-up, played in software.
//!
//! A real INIT would take a core out of the monitor, so domain 0's never reaches the hardware. The state machine is the
//! manual's (Intel SDM volume 3, section 9.4.4): INIT makes a core wait; a start-up starts one that waits, at the page that
//! it names, in real mode, and is ignored by one that runs.

use core::sync::atomic::Ordering;

use adyton_synchronization::attention::{STARTUP, STOP};

use super::{Core, EPOCH};
use crate::vcpu::Vcpu;
use crate::{apic, interrupts};

const RUNNING: u32 = 0;
pub(super) const WAITING: u32 = 1;
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
                self.startup.store(WAITING, Ordering::SeqCst);
                true
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

    /// Waits, if that is the state, and puts `vcpu` into the state that a start-up gives.
    pub fn wait_for_startup(&'static self, vcpu: &mut Vcpu) {
        if self.startup.load(Ordering::SeqCst) == RUNNING {
            return;
        }
        apic::reset_own();
        // Interrupts were let in there, and with them perhaps an NMI: a kick that stays unaccounted would be the last.
        self.account_nmis();
        self.forget_nmi();
        loop {
            let state = self.startup.load(Ordering::SeqCst);
            if state == WAITING {
                self.sleep();
                continue;
            }
            // Another INIT may have come in between: then go round.
            let taken =
                self.startup
                    .compare_exchange(state, RUNNING, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_ok() {
                vcpu.reset_to_real_mode(state as u8);
                return;
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
