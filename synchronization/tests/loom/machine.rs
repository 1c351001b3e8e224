//! A machine of model cores around the real protocols: one domain with one vCPU and a few pages, and domain 0.
//!
//! What the monitor does with instructions is played here in the same order: `monitor/src/vendor/svm/run.rs` (coming in, going
//! out), `domain/enter.rs` (entering, leaving) and `domain/platform.rs` (taking away).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use adyton_synchronization::atomic::{AtomicU64, Ordering};
use adyton_synchronization::attention::Attention;
use adyton_synchronization::flush::{Generation, Tag, Tlb};
use adyton_synchronization::gate::{CorePlace, Gate};
use adyton_synchronization::lock::Lock;
use adyton_synchronization::owner::Owner;
use adyton_synchronization::presence::{Epoch, Presence};
use adyton_synchronization::wait::{Answer, Flushing, Peer, Time, Wait, for_owners};
use loom::cell::UnsafeCell;

/// Names of domains.
const ZERO: u64 = 1;
const DOMAIN: u64 = 2;

/// Address spaces of a core: few, so that they run out.
const LAST_SPACE: u32 = 2;

/// What is wrong with the code, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The gate is looked at before the vCPU is taken, and not after.
    GateBeforeOwner,
    /// Who unmaps looks at the cores before the generation is raised.
    LookBeforeRaise,
    /// A vCPU that must flush does not.
    NoFlush,
    /// Who waits sends no NMI.
    NoKick,
    /// A core does not say whose its NMIs were.
    NoAccount,
    /// Memory is used again before all cores have answered.
    NoWait,
    /// A context is freed while cores may have found it.
    NoQuiescence,
    /// A core that never answers is taken for one that did.
    NoQuarantine,
}

/// What the engine's lock guards.
#[derive(Default)]
pub struct Guarded {
    flushing: Flushing,
    stopping: Option<u64>,
    retirement: Option<Wait>,
    clock: u64,
}

/// Something that is taken away for good.
///
/// Who has it uses it, and who has taken it uses it then. Loom sees two uses without order; the mark sees one that comes too late
/// although it is ordered.
#[derive(Default)]
struct Thing {
    uses: UnsafeCell<()>,
    // The system's, not loom's: it is no part of the model.
    is_taken: AtomicBool,
}

impl Thing {
    fn read(&self) {
        assert!(!self.is_taken.load(Relaxed), "used after it was taken");
        self.uses.with(|_| ());
    }

    fn write(&self) {
        assert!(!self.is_taken.load(Relaxed), "used after it was taken");
        self.uses.with_mut(|_| ());
    }

    fn take(&self) {
        self.uses.with_mut(|_| ());
        self.is_taken.store(true, Relaxed);
    }
}

/// A page of the domain: its entry in the nested tables, and what it leads to.
pub struct Page {
    entry: AtomicU64,
    frame: Thing,
}

/// What a vCPU remembers.
#[derive(Default)]
struct Seat {
    tag: Tag,
    space: u32,
}

/// A core, as the others see it.
pub struct Core {
    fault: Fault,
    presence: Presence,
    pub attention: Attention,
    /// NMIs that were sent and not taken.
    latched: AtomicU64,
}

impl Core {
    /// Sets bits of its attention.
    pub fn kick(&self, bits: u32) {
        if self.attention.ask(bits) && self.fault != Fault::NoKick {
            self.send_nmi();
        }
    }

    /// An NMI of anybody's.
    pub fn send_nmi(&self) {
        self.latched.fetch_add(1, Ordering::Release);
    }

    /// Whether an NMI has come, as a guest notices it.
    pub fn has_nmi(&self) -> bool {
        self.latched.load(Ordering::Acquire) != 0
    }

    /// Takes the NMIs that have come and says whose they were.
    pub fn take_nmis(&self) {
        let taken = self.latched.swap(0, Ordering::AcqRel);
        if self.fault != Fault::NoAccount {
            self.attention.account(taken);
        }
    }
}

impl Peer for Core {
    fn presence(&self) -> &Presence {
        &self.presence
    }

    fn kick_out(&self) {
        self.kick(0);
    }
}

/// What a core has to itself: its thread of the model.
pub struct Own {
    pub index: usize,
    /// By address space and page: what the core may have cached. It forgets nothing by itself.
    cache: Vec<(u32, usize)>,
    zero: Tag,
}

/// All of it.
pub struct Machine {
    fault: Fault,
    patience: u64,
    epoch: Epoch,
    pub cores: Vec<Core>,
    engine: Lock<Guarded>,
    gate: Gate<1>,
    generation: Generation,
    zero: Generation,
    owner: Owner,
    seat: UnsafeCell<Seat>,
    /// The right to run the vCPU, on each core.
    running: Vec<Thing>,
    pub pages: Vec<Page>,
    /// 1 while the domain can be found.
    directory: AtomicU64,
    context: Thing,
}

impl Machine {
    /// A machine with a sealed domain that may run everywhere and has `pages`.
    pub fn new(cores: usize, pages: usize, fault: Fault) -> Arc<Self> {
        Self::with_patience(cores, pages, fault, u64::MAX)
    }

    /// The same with a clock that matters: it ticks with every look.
    pub fn with_patience(cores: usize, pages: usize, fault: Fault, patience: u64) -> Arc<Self> {
        let core = |index| Core {
            fault,
            presence: Presence::new(index as u16, LAST_SPACE),
            attention: Attention::new(),
            latched: AtomicU64::new(0),
        };
        let page = |_| Page {
            entry: AtomicU64::new(1),
            frame: Thing::default(),
        };
        let gate = Gate::new();
        for core in 0..cores as u64 {
            gate.set_core(core, true);
        }
        gate.set_sealed();
        Arc::new(Self {
            fault,
            patience,
            epoch: Epoch::new(),
            cores: (0..cores).map(core).collect(),
            engine: Lock::new(Guarded::default()),
            gate,
            generation: Generation::new(),
            zero: Generation::new(),
            owner: Owner::default(),
            seat: UnsafeCell::new(Seat::default()),
            running: (0..cores).map(|_| Thing::default()).collect(),
            pages: (0..pages).map(page).collect(),
            directory: AtomicU64::new(1),
            context: Thing::default(),
        })
    }

    /// A core begins, in domain 0.
    pub fn start(&self, index: usize) -> Own {
        let mut own = Own {
            index,
            cache: Vec::new(),
            zero: Tag::new(),
        };
        self.resume(&mut own);
        own
    }

    fn core(&self, own: &Own) -> &Core {
        &self.cores[own.index]
    }

    fn others(&self, own: &Own) -> impl Iterator<Item = &Core> {
        let index = own.index;
        let cores = self.cores.iter().enumerate();
        cores.filter_map(move |(other, core)| (other != index).then_some(core))
    }

    /// The core comes into the monitor.
    pub fn come_in(&self, own: &Own) {
        self.core(own).presence.exit(&self.epoch);
        self.core(own).take_nmis();
    }

    /// The core goes on with domain 0.
    pub fn resume(&self, own: &mut Own) {
        let presence = &self.cores[own.index].presence;
        if !presence.enter(&own.zero, ZERO, &self.zero) {
            let tlb = presence.renew(&mut own.zero, &self.zero);
            forget(own, tlb);
        }
    }

    /// `enter`: takes the vCPU, runs `guest` in it, and leaves. Whether the core was let in.
    pub fn enter(&self, own: &mut Own, guest: impl FnOnce(&mut Guest<'_>)) -> bool {
        self.come_in(own);
        let entered = self.try_enter(own, guest);
        self.resume(own);
        entered
    }

    fn try_enter(&self, own: &mut Own, guest: impl FnOnce(&mut Guest<'_>)) -> bool {
        // As `Directory::domain_in`.
        if self.directory.load(Ordering::SeqCst) == 0 {
            return false;
        }
        self.context.read();
        if !self.admit(own) {
            return false;
        }
        let space = self.announce(own);
        guest(&mut Guest {
            machine: self,
            own,
            space,
        });
        self.come_in(own);
        // The exit is recorded; then the vCPU is let go.
        self.running[own.index].write();
        self.seat.with_mut(|_| ());
        self.owner.release();
        true
    }

    /// As [`Self::enter`], but the domain never comes out. Whether the core was let in.
    pub fn enter_for_ever(&self, own: &mut Own, guest: impl FnOnce(&mut Guest<'_>)) -> bool {
        self.come_in(own);
        let entered = self.admit(own);
        if entered {
            let space = self.announce(own);
            guest(&mut Guest {
                machine: self,
                own,
                space,
            });
        } else {
            self.resume(own);
        }
        entered
    }

    /// Whether the core uses no translations from before the last flush.
    pub fn is_current(&self, core: usize) -> bool {
        !self.cores[core]
            .presence
            .may_use_old(DOMAIN, &self.generation, 0)
    }

    fn admit(&self, own: &Own) -> bool {
        let (core, place) = (own.index as u32, CorePlace::of(own.index as u32, 1));
        if self.fault == Fault::GateBeforeOwner {
            let open = self.gate.is_open() && self.gate.may_run_on(place);
            return open && self.owner.take(core);
        }
        self.gate.admit(&self.owner, core, &place).is_ok()
    }

    /// The last thing before the vCPU runs; its address space.
    fn announce(&self, own: &mut Own) -> u32 {
        self.running[own.index].write();
        let presence = &self.cores[own.index].presence;
        self.seat.with_mut(|seat| {
            // SAFETY: loom makes sure that this is the only one.
            let seat = unsafe { &mut *seat };
            if !presence.enter(&seat.tag, DOMAIN, &self.generation) {
                let tlb = presence.renew(&mut seat.tag, &self.generation);
                if self.fault != Fault::NoFlush {
                    forget(own, tlb);
                }
                seat.space = tlb.asid();
            }
            seat.space
        })
    }

    /// One slice of taking things away: comes in, does `work` under the lock, and goes out again.
    fn slice<T>(&self, own: &mut Own, work: impl FnOnce(&Own, &mut Guarded) -> T) -> T {
        self.come_in(own);
        let mut guarded = self.engine.lock();
        guarded.clock += 1;
        let result = work(own, &mut guarded);
        drop(guarded);
        self.resume(own);
        result
    }

    /// Repeats slices until all have answered, or one is too late.
    fn wait(&self, own: &mut Own, mut work: impl FnMut(&Own, &mut Guarded) -> Answer) -> Answer {
        loop {
            let answer = self.slice(own, &mut work);
            if answer != Answer::NotYet || self.fault == Fault::NoWait {
                return answer;
            }
            loom::thread::yield_now();
        }
    }

    fn time(&self, guarded: &Guarded) -> Time {
        Time {
            now: guarded.clock,
            patience: self.patience,
        }
    }

    /// Takes a page from the domain for good, and uses it if all have answered.
    pub fn revoke(&self, own: &mut Own, page: usize) -> Answer {
        let page = &self.pages[page];
        self.slice(own, |own, guarded| {
            // As `nested/change.rs`.
            page.entry.store(0, Ordering::Release);
            guarded.flushing.need();
            if self.fault == Fault::LookBeforeRaise {
                let _ = self.look(own, guarded);
            }
        });
        let answer = match self.fault {
            Fault::LookBeforeRaise => self.wait(own, |_, guarded| {
                let (now, before) = (guarded.clock, Answer::All);
                guarded.flushing.begin(&self.generation, &self.epoch, now);
                before
            }),
            _ => self.wait(own, |own, guarded| {
                let now = guarded.clock;
                guarded.flushing.begin(&self.generation, &self.epoch, now);
                self.look(own, guarded)
            }),
        };
        if answer == Answer::All || matches!(self.fault, Fault::NoWait | Fault::NoQuarantine) {
            // Zeroed, and given to somebody else.
            page.frame.take();
        }
        answer
    }

    fn look(&self, own: &Own, guarded: &mut Guarded) -> Answer {
        let (others, time) = (self.others(own), self.time(guarded));
        guarded
            .flushing
            .look(DOMAIN, &self.generation, others, false, time)
    }

    /// Denies the domain the core `denied`: when that has answered, the domain does not run there.
    pub fn deny(&self, own: &mut Own, denied: usize) -> Answer {
        let since = self.slice(own, |_, guarded| {
            self.gate.set_core(denied as u64, false);
            guarded.clock
        });
        let answer = self.wait(own, |_, guarded| {
            self.owners(|core| core == denied as u32, since, guarded)
        });
        if answer == Answer::All {
            self.running[denied].take();
        }
        answer
    }

    /// Stops the domain: when all have answered, nobody runs it or will.
    pub fn stop(&self, own: &mut Own) -> Answer {
        let answer = self.wait(own, |_, guarded| {
            self.gate.set_dead();
            let since = *guarded.stopping.get_or_insert(guarded.clock);
            self.owners(|_| true, since, guarded)
        });
        if answer == Answer::All {
            self.running.iter().for_each(Thing::take);
        }
        answer
    }

    fn owners(&self, concerns: impl Fn(u32) -> bool, since: u64, guarded: &Guarded) -> Answer {
        let kick = |core: u32| self.cores[core as usize].kick_out();
        let owners = std::iter::once(((), &self.owner));
        for_owners(
            owners,
            |(), core| concerns(core),
            kick,
            since,
            self.time(guarded),
        )
    }

    /// Frees the domain's context, after [`Self::stop`].
    pub fn retire(&self, own: &mut Own) -> Answer {
        let answer = self.wait(own, |own, guarded| {
            self.directory.store(0, Ordering::SeqCst);
            if self.fault == Fault::NoQuiescence {
                return Answer::All;
            }
            let now = guarded.clock;
            let begin = || Wait::begin(&self.epoch, now);
            let wait = *guarded.retirement.get_or_insert_with(begin);
            wait.for_references(self.others(own), self.time(guarded))
        });
        if answer == Answer::All {
            self.context.take();
        }
        answer
    }
}

/// A domain while it runs on a core.
pub struct Guest<'a> {
    machine: &'a Machine,
    own: &'a mut Own,
    space: u32,
}

impl Guest<'_> {
    /// Writes to a page, if a translation leads there; whether one does.
    pub fn touch(&mut self, number: usize) -> bool {
        let page = &self.machine.pages[number];
        let at = (self.space, number);
        if !self.own.cache.contains(&at) {
            // As the hardware walks: no order.
            if page.entry.load(Ordering::Relaxed) == 0 {
                return false;
            }
            self.own.cache.push(at);
        }
        page.frame.write();
        true
    }

    /// Runs until an NMI takes the core out; nothing else does.
    pub fn spin(&mut self) {
        while !self.machine.core(self.own).has_nmi() {
            loom::thread::yield_now();
        }
    }
}

fn forget(own: &mut Own, tlb: Tlb) {
    match tlb {
        Tlb::Keep(_) | Tlb::Fresh(_) => {}
        Tlb::FlushAsid(flushed) => own.cache.retain(|(space, _)| *space != flushed),
        Tlb::FlushAll(_) => own.cache.clear(),
    }
}
