//! Cores that are not domain 0's for a while: how one is known to be offline, taken, told what to run, and given back.
//!
//! A core can be taken where domain 0's vCPU waits for a start-up, which is state of the monitor's own. Linux takes a core offline
//! otherwise: its vCPU rests, in one of the ways of [`Rest`], so that only INIT and a start-up bring it back. None of them exits, so that is
//! asked for: the core is kicked, and from there on the next such instruction of its vCPU exits. One that interrupts can wake, or a vCPU that
//! is found in user mode, or where interrupts reach it, is in use, and so is one that does not rest before the patience is over. One that rests
//! for good becomes what an INIT makes: it waits for a start-up (design note 012).
//!
//! What must hold: who asks, takes, gives back or begins a job holds the engine's lock; the core itself answers and ends its job.

use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use adyton_synchronization::attention::{OFFER, STARTUP};

use super::{Core, all, park};
use crate::apic;
use crate::instructions::{hold_interrupts, let_interrupts};
use crate::vcpu::Vcpu;
use crate::vendor::Io;

/// What is known of a question, in the low bits of its word; above is its number.
const ASKED: u64 = 1;
const REFUSED: u64 = 2;
const STATE: u64 = 3;

/// In the word of a job: it shall end; it has come to an exit, which may be told of already.
const ENDS: usize = 1;
const LEAVES: usize = 2;

/// What a core keeps about being somebody's as a whole.
#[derive(Debug)]
pub(super) struct Whole {
    /// Whether its vCPU of domain 0's is offline: the question that was asked last.
    question: AtomicU64,
    /// Who asked, by the token of the call, and when.
    asker: AtomicU64,
    since: AtomicU64,
    /// Whether every access to a port exits, until the next one.
    ports: AtomicBool,
    /// The vCPU that was started here, null if none; with [`ENDS`] and [`LEAVES`].
    job: AtomicPtr<Vcpu>,
}

impl Whole {
    pub(super) const fn new() -> Self {
        Self {
            question: AtomicU64::new(0),
            asker: AtomicU64::new(0),
            since: AtomicU64::new(0),
            ports: AtomicBool::new(false),
            job: AtomicPtr::new(core::ptr::null_mut()),
        }
    }
}

/// What domain 0's vCPU has come to when it exits that it may rest by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// HLT.
    Halt,
    /// MWAIT.
    Wait,
    /// A byte is read from a port: so ACPI's idle states are entered that are no instruction (ACPI 6.5, section 8.4.1).
    Port,
    /// None: another access to a port.
    Other,
}

impl Rest {
    /// What this access is.
    pub const fn of_port(access: Io) -> Self {
        if access.input && access.size == 1 && !access.string {
            Self::Port
        } else {
            Self::Other
        }
    }

    /// Whether only NMI, INIT and start-up end it, `interrupts` being RFLAGS.IF; `off` says that the core's APIC is, as Linux leaves it.
    /// Stores to memory end MWAIT too, and interrupts that are masked may; and ports are read for other ends.
    const fn is_for_good(self, interrupts: bool, off: bool) -> bool {
        match self {
            Self::Halt => off || !interrupts,
            Self::Wait => off,
            Self::Port => off && !interrupts,
            Self::Other => false,
        }
    }
}

/// How far a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// The core waits for a start-up.
    Yes,
    /// Domain 0 uses it.
    No,
    /// Ask again.
    Asked,
}

/// The cores with these APIC identifiers: the threads of one core.
pub fn threads(first: u64, count: u64) -> impl Iterator<Item = &'static Core> {
    all()
        .iter()
        .filter(move |core| u64::from(core.apic_id).wrapping_sub(first) < count)
}

// What who holds the engine's lock does.
impl Core {
    /// Whether domain 0 does not use it, for who calls with `token`, and how long that may be waited for.
    pub fn is_offline(&self, token: u64, now: u64, patience: u64) -> Offline {
        // Domain 0 begins on the first one, and has no means to start it anew.
        if self.index == 0 || self.is_taken() || !self.is_started() {
            return Offline::No;
        }
        if self.startup.load(Ordering::SeqCst) == park::WAITING {
            return Offline::Yes;
        }
        let whole = &self.whole;
        let question = whole.question.load(Ordering::SeqCst);
        let is_mine = whole.asker.load(Ordering::Relaxed) == token;
        let is_late = now.saturating_sub(whole.since.load(Ordering::Relaxed)) > patience;
        match question & STATE {
            ASKED if !is_late => return Offline::Asked,
            ASKED | REFUSED if is_mine => {
                whole.question.store(question & !STATE, Ordering::SeqCst);
                whole.asker.store(0, Ordering::Relaxed);
                return Offline::No;
            }
            // Nobody's, or somebody's who is gone.
            _ => {}
        }
        whole.asker.store(token, Ordering::Relaxed);
        whole.since.store(now, Ordering::Relaxed);
        let next = (question | STATE).wrapping_add(1) | ASKED;
        whole.question.store(next, Ordering::SeqCst);
        self.kick(OFFER);
        Offline::Asked
    }

    /// Takes it from domain 0, if that does not use it: start-ups lead nowhere from here on.
    pub fn take(&self) -> bool {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        self.startup
            .compare_exchange(park::WAITING, park::TAKEN, success, failure)
            .is_ok()
    }

    /// Gives it back to domain 0, whose next start-up starts it. It has no job.
    pub fn give_back(&self) {
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let _was_domain0s =
            self.startup
                .compare_exchange(park::TAKEN, park::WAITING, success, failure);
    }

    /// Whether it runs something, or is about to.
    pub fn has_job(&self) -> bool {
        !self.whole.job.load(Ordering::SeqCst).is_null()
    }

    /// Has it run `vcpu`, which it owns from here on. It was taken and has no job.
    pub fn begin_job(&self, vcpu: *mut Vcpu) {
        self.whole.job.store(vcpu, Ordering::SeqCst);
        self.kick(STARTUP);
    }

    /// Has it end its job, if it has one; whether it has.
    pub fn end_job(&self) -> bool {
        let has_job = self.mark_job(ENDS);
        if has_job {
            self.kick(0);
        }
        has_job
    }

    /// Marks its job, if it has one; whether it has.
    fn mark_job(&self, mark: usize) -> bool {
        let marked = |job: *mut Vcpu| (!job.is_null()).then(|| job.map_addr(|at| at | mark));
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        let job = &self.whole.job;
        job.fetch_update(success, failure, marked).is_ok()
    }

    /// Whether this vCPU is its job.
    pub fn runs(&self, vcpu: *const Vcpu) -> bool {
        core::ptr::eq(self.job(), vcpu)
    }

    /// Whether its job has come to an exit, and is about to be none.
    pub fn leaves_job(&self) -> bool {
        self.whole.job.load(Ordering::SeqCst).addr() & LEAVES != 0
    }

    /// Its job without marks, null if none.
    fn job(&self) -> *mut Vcpu {
        let job = self.whole.job.load(Ordering::SeqCst);
        job.map_addr(|at| at & !(ENDS | LEAVES))
    }
}

// What the core itself does.
impl Core {
    /// Whether it is not domain 0's.
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.startup.load(Ordering::SeqCst) == park::TAKEN
    }

    /// Sees to it that the question is answered which domain 0's vCPU was kicked for; `off` says that this core's APIC is.
    pub(super) fn consider_offer(&self, vcpu: &mut Vcpu, off: bool) {
        let woken = vcpu.has_interrupts() && !off;
        if vcpu.is_inside() || vcpu.cpl() == 3 || woken {
            self.refuse_offer();
        } else {
            self.watch(vcpu, true, off);
        }
    }

    fn watch(&self, vcpu: &mut Vcpu, rests: bool, ports: bool) {
        vcpu.intercept_rest(rests);
        vcpu.intercept_all_ports(ports);
        self.whole.ports.store(ports, Ordering::Relaxed);
    }

    /// Whether every access to a port exits.
    pub fn watches_ports(&self) -> bool {
        self.whole.ports.load(Ordering::Relaxed)
    }

    fn refuse_offer(&self) {
        let question = self.whole.question.load(Ordering::SeqCst);
        if question & STATE == ASKED {
            let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
            let refused = question & !STATE | REFUSED;
            let _newer_question = self
                .whole
                .question
                .compare_exchange(question, refused, success, failure);
        }
    }

    /// Domain 0's vCPU is about to rest, and somebody has asked.
    pub fn rests(&self, vcpu: &mut Vcpu, rest: Rest) {
        self.rests_with(vcpu, rest, apic::is_off());
    }

    fn rests_with(&self, vcpu: &mut Vcpu, rest: Rest, off: bool) {
        self.watch(vcpu, false, false);
        if vcpu.cpl() == 3 || !rest.is_for_good(vcpu.has_interrupts(), off) {
            self.refuse_offer();
            if rest == Rest::Halt {
                // Anything may wake a core that halts. To let it halt now could lose an interrupt that came between STI and here.
                vcpu.advance(1);
            }
            // An MWAIT that is executed again does not wait: the exit has ended what MONITOR began.
            return;
        }
        let question = self.whole.question.load(Ordering::SeqCst);
        if question & STATE == ASKED {
            self.whole
                .question
                .store(question & !STATE, Ordering::SeqCst);
            self.send_init_to_itself();
        }
    }

    /// Its job, if it shall run one, on the way into it: from here on no interrupt of domain 0's ends that. Should it be to end already,
    /// who waits for that asks again.
    pub(super) fn take_up_job(&self) -> Option<&'static mut Vcpu> {
        let vcpu = self.job();
        if vcpu.is_null() {
            return None;
        }
        hold_interrupts();
        // SAFETY: who began the job made this core the owner of the vCPU.
        Some(unsafe { &mut *vcpu })
    }

    /// Whether the job shall end.
    pub fn must_end_job(&self) -> bool {
        self.whole.job.load(Ordering::SeqCst).addr() & ENDS != 0
    }

    /// The job has come to an exit: who sees that before [`Self::put_down_job`] asks again.
    pub fn leave_job(&self) {
        self.mark_job(LEAVES);
    }

    /// The job has ended, and nothing of it is touched any more. Domain 0's vCPU is to run next, and waits.
    pub fn put_down_job(&self) {
        let_interrupts();
        self.whole
            .job
            .store(core::ptr::null_mut(), Ordering::SeqCst);
        self.await_startup();
    }
}

#[cfg(test)]
mod tests;
