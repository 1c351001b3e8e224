//! The engine's effects, carried out on this machine: nested tables, flushes, zeroing, hashing, stopping.
//!
//! Everything here runs under the engine's lock, for one slice. Nothing waits: what others must do first is answered by
//! [`Applied::Wait`], the lock is given up, the caller's call is repeated, and interrupts and other cores' requests are served
//! in between.

use adyton_capability::effect::{Applied, Budget, Effect, Platform};
use adyton_capability::identity::DomainId;
use adyton_synchronization::wait::{Answer, Flushing, Peer, Time, Wait, answer, for_owners};
use sha2::Digest;

use super::contents::{hash, hash_cost, scrub};
use super::context::{CORE_LIMIT, Changing, Context};
use super::devices::{self, Device};
use super::directory::DIRECTORY;
use super::mapping::{Stretch, map, unmap};
use super::store::{WORDS, frame_number};
use super::tables::{DomainFrames, free_chain};
use crate::address::HostPhysical;
use crate::cores::{self, Core, EPOCH};
use crate::instructions::time_stamp;
use crate::iommu;
use crate::machine;
use crate::selfcheck;
use crate::vcpu::Vcpu;

/// Freeing a table.
const FREE_COST: u64 = 30;

/// This machine, as the core that applies effects sees it.
#[derive(Clone, Copy)]
pub struct Machine {
    core: &'static Core,
}

impl Machine {
    /// Effects are applied by `core`.
    #[must_use]
    pub const fn new(core: &'static Core) -> Self {
        Self { core }
    }

    /// The other cores that run the monitor.
    fn others(self) -> impl Iterator<Item = &'static Core> {
        cores::all()
            .iter()
            .filter(move |core| core.is_started() && core.index != self.core.index)
    }
}

impl Platform for Machine {
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied {
        match *effect {
            Effect::Map {
                domain,
                place,
                base,
                size,
                rights,
            } => with(domain, |context, changing| {
                map(
                    (context.id, &mut *changing),
                    Stretch {
                        place,
                        base,
                        size,
                        from,
                    },
                    rights.into(),
                    budget,
                )
            }),
            Effect::Attach {
                domain,
                device,
                place,
                size,
            } => with(domain, |context, changing| {
                let device = Device {
                    number: device,
                    place,
                    size,
                };
                devices::attach(context, changing, device, from, budget)
            }),
            Effect::Detach {
                domain,
                device,
                place,
                size,
            } => with(domain, |context, changing| {
                let device = Device {
                    number: device,
                    place,
                    size,
                };
                devices::detach(context, changing, device, from, budget)
            }),
            Effect::Reset { device, .. } => devices::reset(device, from),
            Effect::Unmap {
                domain,
                place,
                size,
            } => with(domain, |_, changing| {
                unmap(changing, place, size, from, budget)
            }),
            Effect::Flush { domain } => with(domain, |context, changing| {
                self.flush(context, changing, budget)
            }),
            Effect::Scrub { base, size } => scrub(base, size, from, budget),
            Effect::MeasureBegin { domain } => with(domain, |_, changing| {
                changing.hasher = sha2::Sha256::default();
                changing.hashed = 0;
                Applied::Done
            }),
            Effect::MeasureRecord { domain, bytes } => with(domain, |_, changing| {
                changing.hasher.update(bytes);
                budget.spend(hash_cost());
                Applied::Done
            }),
            Effect::MeasureDevice {
                domain,
                device,
                bytes,
            } => with(domain, |_, changing| {
                changing.hasher.update(devices::record(device, bytes));
                budget.spend(hash_cost());
                Applied::Done
            }),
            Effect::MeasureContents { domain, base, size } => with(domain, |_, changing| {
                hash(changing, base, size, from, budget)
            }),
            Effect::MeasureEnd { domain } => with(domain, |context, changing| {
                let digest = core::mem::take(&mut changing.hasher).finalize();
                context.gate.set_sealed();
                budget.spend(hash_cost());
                Applied::Measured(digest.into())
            }),
            Effect::Stop { domain } => {
                with(domain, |context, changing| self.stop(context, changing))
            }
            Effect::AllowCores {
                domain,
                first,
                count,
            } => with(domain, |context, _| {
                set_cores(context, first, count, true);
                Applied::Done
            }),
            Effect::DenyCores {
                domain,
                first,
                count,
            } => with(domain, |context, _| {
                set_cores(context, first, count, false);
                let since = begun(from);
                // What was started on a core that it has as a whole needs no such right.
                let concerns = |core: &Core, vcpu| {
                    let core_number = u64::from(core.index);
                    core_number >= first && core_number - first < count && !core.runs(vcpu)
                };
                ticket(self.wait_for_vcpus(context, since, concerns), since)
            }),
            Effect::GiveCore {
                domain,
                first,
                count,
            } => {
                if is_system(domain) {
                    cores::whole::threads(first, count).for_each(Core::give_back);
                }
                Applied::Done
            }
            Effect::TakeCore { first, count, .. } => {
                let since = begun(from);
                let threads = cores::whole::threads(first, count);
                let running = threads.filter(|core| core.end_job()).count();
                ticket(answer(running > 0, since, time()), since)
            }
            Effect::Retire { domain } => {
                with(domain, |context, changing| self.retire(context, changing))
            }
        }
    }
}

/// Runs `action` on the domain's context. A domain without one has nothing that could be changed.
fn with(
    domain: DomainId,
    action: impl FnOnce(&'static Context, &mut Changing) -> Applied,
) -> Applied {
    match find(domain) {
        // SAFETY: effects are applied under the engine's lock, one at a time.
        Some(context) => action(context, unsafe { context.changing() }),
        None => Applied::Done,
    }
}

/// When taking cores back began, which is what stands there for how far it is.
fn begun(from: u64) -> u64 {
    if from == 0 { time_stamp().max(1) } else { from }
}

/// Whether the domain is domain 0.
fn is_system(domain: DomainId) -> bool {
    find(domain).is_some_and(Context::is_system)
}

/// The context of a domain. Only under the engine's lock.
#[must_use]
pub fn find(domain: DomainId) -> Option<&'static Context> {
    WORDS
        .get()
        .context(domain.page_number())
        .filter(|context| context.id == domain)
}

fn set_cores(context: &Context, first: u64, count: u64, allowed: bool) {
    for core in first..first.saturating_add(count).min(CORE_LIMIT) {
        context.gate.set_core(core, allowed);
    }
}

impl Machine {
    /// Sees to it that no core and no device uses translations of the domain that were unmapped before, and frees the tables that
    /// waited for that.
    fn flush(
        self,
        context: &'static Context,
        changing: &mut Changing,
        budget: &mut Budget,
    ) -> Applied {
        let generation = &context.generation;
        if changing.flushing.begin(generation, &EPOCH, time_stamp()) {
            // What waited for the flush before this one waits for this one now: it is later.
            changing.retiring = joined(changing.retired, changing.retiring);
            changing.retired = 0;
            self.core.count_flush();
            if let Some(filed) = changing.filed(context.id) {
                changing.device_flush = iommu::Flush::Needed;
                changing.device_filed = filed;
            }
            if selfcheck::forgets_flushes() {
                changing.flushing = Flushing::new();
            }
        }
        let filed = changing.device_filed;
        let devices_behind = changing.flushing.is_begun() && !changing.device_flush.advance(filed);
        let (domain, others) = (context.id.word(), self.others());
        let answer = changing
            .flushing
            .look(domain, generation, others, devices_behind, time());
        if answer != Answer::All {
            return applied(answer);
        }
        let limit = (budget.left() / FREE_COST).clamp(1, 512) as u32;
        changing.retiring = free_chain(changing.retiring, limit);
        budget.spend(u64::from(limit.min(16)) * FREE_COST);
        if changing.retiring == 0 {
            Applied::Done
        } else {
            Applied::Wait
        }
    }

    /// No core runs the domain from now on.
    fn stop(self, context: &'static Context, changing: &mut Changing) -> Applied {
        context.gate.set_dead();
        let since = *changing.stopping.get_or_insert_with(time_stamp);
        applied(self.wait_for_vcpus(context, since, |_, _| true))
    }

    /// Whether a core has a vCPU of the domain in hand for which, both, `concerns` holds. The gate was closed to those.
    fn wait_for_vcpus(
        self,
        context: &'static Context,
        since: u64,
        concerns: impl Fn(&Core, *const Vcpu) -> bool,
    ) -> Answer {
        let core = |number: u32| cores::all().get(number as usize);
        let vcpus = (0..u64::from(context.vcpu_count())).filter_map(|index| context.vcpu(index));
        // SAFETY: the vCPU lives as long as its context; only the atomic owner is looked at.
        let owners = vcpus.map(|vcpu| (vcpu, unsafe { &(*vcpu).seat.owner }));
        let concerns =
            |vcpu: *mut Vcpu, number| core(number).is_some_and(|core| concerns(core, vcpu));
        let kick = |number| {
            if let Some(core) = core(number) {
                core.kick_out();
            }
        };
        for_owners(owners, concerns, kick, since, time())
    }

    /// Frees what the domain had, once no core can have a reference to it.
    fn retire(self, context: &'static Context, changing: &mut Changing) -> Applied {
        if let Some(page) = changing.control_page {
            DIRECTORY.get().withdraw(page);
        }
        let wait = *changing
            .retirement
            .get_or_insert_with(|| Wait::begin(&EPOCH, time_stamp()));
        let answer = wait.for_references(self.others(), time());
        if answer != Answer::All {
            return applied(answer);
        }
        let frames = DomainFrames::new(joined(changing.retired, changing.retiring));
        // Everything was unmapped in slices before, so this is the root and little more.
        let Some(tables) = changing.tables.take() else {
            return Applied::Done;
        };
        tables.destroy(&frames).flushed();
        let rest = free_chain(frames.retired(), u32::MAX);
        debug_assert_eq!(rest, 0);
        WORDS.get().clear_context(context.id.page_number());
        // SAFETY: the directory does not lead to it any more, every core has left the monitor since, and no vCPU is owned.
        unsafe { context.free() };
        Applied::Done
    }
}

fn time() -> Time {
    Time {
        now: time_stamp(),
        patience: machine::get().patience,
    }
}

/// Waits on, unless this has taken too long since then.
pub(super) fn patiently(since: u64) -> Applied {
    applied(answer(true, since, time()))
}

/// What a wait comes to. One that lasts too long quarantines what it was for: the engine sees to that.
const fn applied(answer: Answer) -> Applied {
    match answer {
        Answer::All => Applied::Done,
        Answer::NotYet => Applied::Wait,
        Answer::TooLate => Applied::TimedOut,
    }
}

/// The same where the time at which the wait began is kept by who asks.
const fn ticket(answer: Answer, since: u64) -> Applied {
    match answer {
        Answer::NotYet => Applied::Ticket(since),
        answer => applied(answer),
    }
}

/// Two chains as one. The second is mostly empty.
fn joined(first: u64, second: u64) -> u64 {
    if second == 0 {
        return first;
    }
    let mut head = first;
    let mut rest = second;
    while rest != 0 {
        let Some(number) = frame_number(HostPhysical(rest)) else {
            break;
        };
        let next = WORDS.get().unchain(number);
        WORDS.get().chain(number, head);
        head = rest;
        rest = next;
    }
    head
}

/// Frames that a domain's context takes: its page and the root of its tables. See
/// [`Costs`](adyton_capability::account::Costs).
pub const DOMAIN_FRAMES: u64 = 2;
/// Frames that a vCPU takes: registers and control structure.
pub const VCPU_FRAMES: u64 = 2;
