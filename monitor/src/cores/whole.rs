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
        let woken = vcpu.rflags() & INTERRUPT != 0 && !off;
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
        let interrupts = vcpu.rflags() & INTERRUPT != 0;
        if vcpu.cpl() == 3 || !rest.is_for_good(interrupts, off) {
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
    fn who_rests_for_good_is_offline_and_who_can_be_woken_is_not() {
        use crate::vcpu::Owner;
        let (on, off) = ((false, INTERRUPT), (true, INTERRUPT));
        let (on_masked, off_masked) = ((false, 0), (true, 0));
        for (rest, for_good, woken) in [
            (Rest::Halt, &[on_masked, off, off_masked][..], &[on][..]),
            (Rest::Wait, &[off, off_masked], &[on, on_masked]),
            (Rest::Port, &[off_masked], &[on, on_masked, off]),
            (Rest::Other, &[], &[on, on_masked, off, off_masked]),
        ] {
            let expected = for_good.iter().map(|state| (state, Offline::Yes));
            let others = woken.iter().map(|state| (state, Offline::No));
            for ((is_off, flags), expected) in expected.chain(others) {
                let core = core_at(1, 1);
                core.set_running();
                let vcpu = Vcpu::on_host(Owner::Domain0);
                assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
                vcpu.set_rflags(0);
                core.consider_offer(vcpu, *is_off);
                assert_eq!(core.watches_ports(), *is_off);
                vcpu.set_rflags(*flags);
                vcpu.set_rip(0x1000);
                core.rests_with(vcpu, rest, *is_off);
                assert!(!core.watches_ports());
                let state = (rest, is_off, flags);
                assert_eq!(ask(&core, TOKEN, 1), expected, "{state:?}");
                let skipped = rest == Rest::Halt && expected == Offline::No;
                let there = vcpu.rip() - 0x1000;
                assert_eq!(there, u64::from(skipped), "{state:?}");
            }
        }
    }

    #[test]
    fn one_byte_read_may_be_a_rest_and_no_other_access() {
        let read = Io {
            port: 0x414,
            size: 1,
            input: true,
            string: false,
            repeat: false,
            next_rip: 0,
        };
        assert_eq!(Rest::of_port(read), Rest::Port);
        let others = [
            Io {
                input: false,
                ..read
            },
            Io { size: 2, ..read },
            Io {
                string: true,
                ..read
            },
        ];
        for access in others {
            assert_eq!(Rest::of_port(access), Rest::Other, "{access:?}");
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
        core.consider_offer(vcpu, false);
        assert_eq!(ask(&core, TOKEN, 0), Offline::No);
        assert_eq!(ask(&core, TOKEN, 0), Offline::Asked);
        core.consider_offer(vcpu, true);
        assert_eq!(ask(&core, TOKEN, 0), Offline::Asked, "none reaches it");
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
