//! Cores that are not domain 0's for a while: how one is known to be offline, taken, told what to run, and given back.
//!
//! A core can be taken where domain 0's vCPU waits for a start-up, which is state of the monitor's own. Linux takes a core offline
//! otherwise: its vCPU halts with interrupts off, and only INIT and a start-up bring it back. HLT of domain 0's does not exit, so that is
//! asked for: the core is kicked, and from there on the next HLT of its vCPU exits. One with interrupts on, or a vCPU that is found with
//! interrupts on or in user mode, is in use, and so is one that does not halt before the patience is over. One with interrupts off becomes what an
//! INIT makes: it waits for a start-up (design note 012).
//!
//! What must hold: who asks, takes, gives back or begins a job holds the engine's lock; the core itself answers and ends its job.

use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use adyton_synchronization::attention::{OFFER, STARTUP};

use super::{Core, all, park};
use crate::instructions::{hold_interrupts, let_interrupts};
use crate::vcpu::Vcpu;

/// RFLAGS.IF.
const INTERRUPT: u64 = 1 << 9;

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
    /// The vCPU that was started here, null if none; with [`ENDS`] and [`LEAVES`].
    job: AtomicPtr<Vcpu>,
}

impl Whole {
    pub(super) const fn new() -> Self {
        Self {
            question: AtomicU64::new(0),
            asker: AtomicU64::new(0),
            since: AtomicU64::new(0),
            job: AtomicPtr::new(core::ptr::null_mut()),
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

    /// Sees to it that the question is answered which domain 0's vCPU was kicked for.
    pub(super) fn consider_offer(&self, vcpu: &mut Vcpu) {
        if vcpu.is_inside() || vcpu.cpl() == 3 || vcpu.rflags() & INTERRUPT != 0 {
            self.refuse_offer();
        } else {
            vcpu.intercept_halt(true);
        }
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

    /// Domain 0's vCPU is about to halt, and somebody has asked.
    pub fn halted(&self, vcpu: &mut Vcpu) {
        vcpu.intercept_halt(false);
        if vcpu.rflags() & INTERRUPT != 0 {
            self.refuse_offer();
            // Anything may wake a core that halts. To let it halt now could lose an interrupt that came between STI and here.
            vcpu.advance(1);
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
mod tests {
    use super::*;
    use crate::cores::tests::core_at;

    const TOKEN: u64 = 7;

    fn ask(core: &Core, token: u64, now: u64) -> Offline {
        // As if the kick were on its way: there is no APIC here.
        let _sent = core.attention.ask(0);
        core.is_offline(token, now, 100)
    }

    #[test]
    fn who_waits_for_a_start_up_is_offline_and_taken_once() {
        let core = core_at(1, 1);
        assert_eq!(ask(&core, TOKEN, 0), Offline::Yes);
        assert!(core.take());
        assert!(!core.take());
        assert_eq!(ask(&core, TOKEN, 0), Offline::No, "somebody has it");
        core.give_back();
        assert_eq!(ask(&core, TOKEN, 0), Offline::Yes);
    }

    #[test]
    fn the_first_core_and_one_that_never_came_up_are_not() {
        assert_eq!(ask(&core_at(0, 0), TOKEN, 0), Offline::No);
        let core = core_at(1, 1);
        core.started.store(false, Ordering::Relaxed);
        assert_eq!(ask(&core, TOKEN, 0), Offline::No);
    }

    #[test]
    fn start_ups_do_not_reach_a_core_that_was_taken() {
        let core = core_at(1, 1);
        let _sent = core.attention.ask(0);
        assert!(core.take());
        for message in [park::Startup::Init, park::Startup::Start(9)] {
            core.send_startup(message);
            assert!(core.is_taken());
            assert!(!core.attention.is_asked(), "and do not disturb it");
        }
        core.send_nmi_to_domain0();
        assert!(!core.attention.is_asked());
        core.give_back();
        core.send_startup(park::Startup::Start(9));
        assert!(core.attention.is_asked(), "the control: now they do");
    }

    #[test]
    fn a_question_is_answered_to_who_asked() {
        let core = core_at(1, 1);
        core.set_running();
        assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
        assert!(core.attention.take(OFFER));
        assert_eq!(ask(&core, TOKEN, 50), Offline::Asked);
        assert!(!core.attention.take(OFFER), "it was asked already");
        assert_eq!(ask(&core, 8, 50), Offline::Asked, "another waits");
        core.refuse_offer();
        assert_eq!(ask(&core, TOKEN, 60), Offline::No);
        assert_eq!(ask(&core, TOKEN, 60), Offline::Asked, "a new question");
        assert_eq!(ask(&core, TOKEN, 161), Offline::No, "too late");
    }

    #[test]
    fn an_answer_that_nobody_fetched_is_nobody_elses() {
        let core = core_at(1, 1);
        core.set_running();
        assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
        core.refuse_offer();
        assert_eq!(ask(&core, 8, 1), Offline::Asked, "asked anew");
        assert_eq!(ask(&core, 8, 102), Offline::No);
    }

    #[test]
    fn a_halt_with_interrupts_on_refuses_and_one_with_interrupts_off_waits() {
        use crate::vcpu::Owner;
        for (flags, expected) in [(INTERRUPT, Offline::No), (0, Offline::Yes)] {
            let core = core_at(1, 1);
            core.set_running();
            let vcpu = Vcpu::on_host(Owner::Domain0);
            assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
            vcpu.set_rflags(0);
            core.consider_offer(vcpu);
            vcpu.set_rflags(flags);
            vcpu.set_rip(0x1000);
            core.halted(vcpu);
            assert_eq!(ask(&core, TOKEN, 1), expected);
            assert_eq!(vcpu.rip() - 0x1000, flags >> 9, "woken, or still there");
        }
    }

    #[test]
    fn who_has_interrupts_on_is_refused_at_once() {
        use crate::vcpu::Owner;
        let core = core_at(1, 1);
        core.set_running();
        let vcpu = Vcpu::on_host(Owner::Domain0);
        assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
        vcpu.set_rflags(INTERRUPT);
        core.consider_offer(vcpu);
        assert_eq!(ask(&core, TOKEN, 0), Offline::No);
    }

    #[test]
    fn a_job_is_asked_to_end_and_known_again() {
        use crate::vcpu::Owner;
        let core = core_at(1, 1);
        let _sent = core.attention.ask(0);
        assert!(!core.end_job());
        let vcpu: *mut Vcpu = Vcpu::on_host(Owner::Domain);
        core.begin_job(vcpu);
        assert!(core.has_job() && core.runs(vcpu) && !core.must_end_job());
        assert!(core.end_job());
        assert!(core.runs(vcpu) && core.must_end_job());
    }
}
