//! Two cores that cache every translation they may, and do one page of an effect at a time.
//!
//! Nothing is left to chance: where hardware could be early or late, the machine is as late as it can be, and being in
//! time is a transition of its own ([`Machine::leave`]). One of the cores can be given to a domain as a whole.

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;

use crate::effect::{Applied, Budget, Effect, Platform};
use crate::identity::{DomainId, NodeId};
use crate::measure::Record;

/// Cores.
pub const CORES: usize = 2;

/// The core that can be given to a domain, and its one thread's number.
pub const WHOLE: usize = 1;

/// A set of cores, one bit each.
pub type CoreSet = u8;

/// All of them.
pub const ALL_CORES: CoreSet = (1 << CORES) - 1;

/// One page of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub domain: DomainId,
    pub place: u64,
    pub base: u64,
    pub rights: Attributes,
}

/// A translation that was unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub domain: DomainId,
    pub place: u64,
    pub base: u64,
    /// The cores that may still use it.
    pub cores: CoreSet,
    /// A flush began after it was unmapped: who leaves the domain forgets it before coming back.
    pub covered: bool,
}

/// A flush that waits for cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    pub domain: DomainId,
    pub waiting: CoreSet,
}

/// The machine's state.
#[derive(Clone, Debug)]
pub struct Machine {
    pub mapped: Vec<Mapping>,
    pub stale: Vec<Stale>,
    /// By the word that the engine keeps, less one.
    pub tickets: Vec<Ticket>,
    /// What each core runs; a core in the monitor counts as running the caller.
    pub running: [DomainId; CORES],
    /// Cores that will never answer again.
    pub silent: CoreSet,
    /// Domain and core.
    pub allowed: Vec<(DomainId, u64)>,
    /// Domains that no core may enter.
    pub stopped: Vec<DomainId>,
    /// By page, the clean carves whose contents may be in it.
    pub secrets: Vec<(u64, NodeId)>,
    /// Running digests that stand for SHA-256.
    pub streams: Vec<(DomainId, u64)>,
    /// Child and creator, so that stopping one stops the others.
    pub creators: Vec<(DomainId, DomainId)>,
    /// Pages of devices that were reset since they were last attached.
    pub reset: Vec<u64>,
    /// A device was attached that had not been reset, or reset while somebody could drive it.
    pub reset_missing: bool,
    /// Who has [`WHOLE`].
    pub given: Option<DomainId>,
    /// It runs a vCPU that was started there.
    pub started: bool,
    /// It was given to somebody while another had it or ran on it.
    pub given_early: bool,
    /// Contexts were freed of one that was not stopped or still had memory.
    pub retired_early: bool,
    /// Something was mapped where something was mapped.
    pub mapped_twice: bool,
    /// The core on which the monitor works.
    pub core: usize,
    first: DomainId,
}

impl Machine {
    pub fn new(first: DomainId) -> Self {
        Self {
            mapped: Vec::new(),
            stale: Vec::new(),
            tickets: Vec::new(),
            running: [first; CORES],
            silent: 0,
            allowed: Vec::new(),
            stopped: Vec::new(),
            secrets: Vec::new(),
            streams: Vec::new(),
            creators: Vec::new(),
            reset: Vec::new(),
            reset_missing: false,
            given: Some(first),
            started: false,
            given_early: false,
            retired_early: false,
            mapped_twice: false,
            core: 0,
            first,
        }
    }

    /// Whether `domain` is `above`, or was made by one that is.
    pub fn is_within(&self, domain: DomainId, above: DomainId) -> bool {
        let mut here = Some(domain);
        while let Some(at) = here {
            if at == above {
                return true;
            }
            let creator = self.creators.iter().find(|(child, _)| *child == at);
            here = creator.map(|(_, creator)| *creator);
        }
        false
    }

    /// The other cores that run a domain of which this holds.
    fn others(&self, holds: impl Fn(DomainId) -> bool) -> CoreSet {
        let running = self.running.iter().enumerate();
        running
            .filter(|(core, domain)| *core != self.core && holds(**domain))
            .fold(0, |set, (core, _)| set | 1 << core)
    }

    /// Answers for an effect that is done when none of these cores is where it is any more.
    fn wait_for(&self, waiting: CoreSet) -> Applied {
        match waiting {
            0 => Applied::Done,
            _ if waiting & self.silent != 0 => Applied::TimedOut,
            _ => Applied::Wait,
        }
    }

    /// The core leaves what it runs, and runs `next` from here on.
    pub fn leave(&mut self, core: usize, next: DomainId) {
        let left = core::mem::replace(&mut self.running[core], next);
        self.started &= core != WHOLE || next == left;
        for ticket in self
            .tickets
            .iter_mut()
            .filter(|ticket| ticket.domain == left)
        {
            ticket.waiting &= !(1 << core);
        }
        for stale in &mut self.stale {
            if stale.domain == left && stale.covered {
                stale.cores &= !(1 << core);
            }
        }
        self.stale.retain(|stale| stale.cores != 0);
    }

    /// Whether some effect waits for this core.
    pub fn is_awaited(&self, core: usize) -> bool {
        let mine = |ticket: &Ticket| ticket.waiting & 1 << core != 0;
        let runs = |stale: &Stale| stale.covered && stale.domain == self.running[core];
        let keeps = |stale: &Stale| runs(stale) && stale.cores & 1 << core != 0;
        self.tickets.iter().any(mine) || self.stale.iter().any(keeps) || self.must_leave(core)
    }

    /// Starts a vCPU of the domain that has the core.
    pub fn start(&mut self, domain: DomainId) {
        self.leave(WHOLE, domain);
        self.started = true;
    }

    /// Whether the core runs what was started there, not what it was entered into.
    fn is_started(&self, core: usize) -> bool {
        core == WHOLE && self.started
    }

    /// Whether the core runs what it may not run any more.
    fn must_leave(&self, core: usize) -> bool {
        let runs = self.running[core];
        let ends = |stopped: &DomainId| self.is_within(runs, *stopped);
        let denied = if self.is_started(core) {
            self.given != Some(runs)
        } else {
            runs != self.first && !self.allowed.contains(&(runs, core as u64))
        };
        denied || self.stopped.iter().any(ends)
    }

    /// The core takes the kick: it leaves, and comes back if it may.
    pub fn answer(&mut self, core: usize) {
        let next = if self.must_leave(core) {
            self.first
        } else {
            self.running[core]
        };
        self.leave(core, next);
    }

    fn flush(&mut self, domain: DomainId, word: u64) -> Applied {
        if word != 0 {
            let waiting = self.tickets[word as usize - 1].waiting;
            return match self.wait_for(waiting) {
                Applied::Wait => Applied::Ticket(word),
                answer => answer,
            };
        }
        let waiting = self.others(|running| running == domain);
        for stale in self.stale.iter_mut().filter(|stale| stale.domain == domain) {
            stale.cores &= waiting;
            stale.covered = true;
        }
        self.stale.retain(|stale| stale.cores != 0);
        match self.wait_for(waiting) {
            Applied::Wait => {
                self.tickets.push(Ticket { domain, waiting });
                Applied::Ticket(self.tickets.len() as u64)
            }
            answer => answer,
        }
    }

    fn stop(&mut self, domain: DomainId) -> Applied {
        if !self.stopped.contains(&domain) {
            self.stopped.push(domain);
        }
        let mine = self.running[self.core];
        if self.is_within(mine, domain) {
            self.leave(self.core, self.first);
        }
        self.wait_for(self.others(|running| self.is_within(running, domain)))
    }

    fn deny(&mut self, domain: DomainId, first: u64, count: u64) -> Applied {
        let cores = first..first + count;
        self.allowed
            .retain(|(holder, core)| *holder != domain || !cores.contains(core));
        if self.running[self.core] == domain && cores.contains(&(self.core as u64)) {
            self.leave(self.core, self.first);
        }
        let denied = (first..first + count)
            .filter(|core| !self.is_started(*core as usize))
            .fold(0, |set, core| set | 1 << core);
        self.wait_for(self.others(|running| running == domain) & denied)
    }

    fn give_core(&mut self, domain: DomainId) -> Applied {
        self.given_early |= self.given.is_some() || self.running[WHOLE] != self.first;
        self.given = Some(domain);
        Applied::Done
    }

    fn take_core(&mut self, domain: DomainId) -> Applied {
        if self.given == Some(domain) {
            self.given = None;
        }
        let runs = self.started && self.running[WHOLE] == domain;
        self.wait_for(if runs { 1 << WHOLE } else { 0 })
    }

    fn map(&mut self, mapping: Mapping) {
        let there = |old: &Mapping| (old.domain, old.place) == (mapping.domain, mapping.place);
        self.mapped_twice |= self.mapped.iter().any(there);
        self.mapped.push(mapping);
    }

    fn attach(&mut self, mapping: Mapping) {
        let before = self.reset.len();
        self.reset.retain(|base| *base != mapping.base);
        self.reset_missing |= self.reset.len() == before;
        self.map(mapping);
    }

    /// Nothing of what was in the device's pages is there any more.
    fn reset(&mut self, device: u64, size: u64) {
        for base in (device..device + size).step_by(PAGE_SIZE as usize) {
            self.reset_missing |= self.mapped.iter().any(|mapping| mapping.base == base)
                || self.stale.iter().any(|stale| stale.base == base);
            self.secrets.retain(|(page, _)| *page != base);
            if !self.reset.contains(&base) {
                self.reset.push(base);
            }
        }
    }

    fn unmap(&mut self, domain: DomainId, place: u64) {
        let there = |old: &Mapping| (old.domain, old.place) == (domain, place);
        if let Some(index) = self.mapped.iter().position(there) {
            let old = self.mapped.swap_remove(index);
            self.stale.push(Stale {
                domain,
                place,
                base: old.base,
                cores: ALL_CORES,
                covered: false,
            });
        }
    }

    fn retire(&mut self, domain: DomainId) {
        self.retired_early |= !self.stopped.contains(&domain)
            || self.mapped.iter().any(|mapping| mapping.domain == domain);
        self.stopped.retain(|stopped| *stopped != domain);
        self.streams.retain(|(subject, _)| *subject != domain);
        self.creators.retain(|(child, _)| *child != domain);
    }

    fn put(&mut self, domain: DomainId, bytes: &[u8]) {
        let stream = self
            .streams
            .iter_mut()
            .find(|(subject, _)| *subject == domain);
        if let Some((_, digest)) = stream {
            *digest = digest_with(*digest, bytes);
        }
    }
}

/// The beginning of a running digest.
pub const EMPTY_DIGEST: u64 = 0xcbf2_9ce4_8422_2325;

/// A running digest, and `bytes` more.
pub fn digest_with(digest: u64, bytes: &[u8]) -> u64 {
    let mix = |digest: u64, byte: &u8| (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(digest, mix)
}

/// A running digest, and what stands for a page's contents.
pub fn digest_with_page(digest: u64, base: u64) -> u64 {
    digest_with(digest, &base.to_le_bytes())
}

/// What stands for the end of SHA-256.
pub fn digest_end(digest: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&digest.to_le_bytes());
    bytes
}

/// A record of the measured stream.
pub fn digest_with_record(digest: u64, record: Record) -> u64 {
    digest_with(digest, &record)
}

/// One page, and whether the effect has more.
fn one_page(from: u64, size: u64) -> Applied {
    if from + PAGE_SIZE < size {
        Applied::Partial(from + PAGE_SIZE)
    } else {
        Applied::Done
    }
}

impl Platform for Machine {
    fn apply(&mut self, effect: &Effect, from: u64, _: &mut Budget) -> Applied {
        match *effect {
            Effect::Map {
                domain,
                place,
                base,
                size,
                rights,
            } => {
                self.map(Mapping {
                    domain,
                    place: place + from,
                    base: base + from,
                    rights,
                });
                one_page(from, size)
            }
            Effect::Unmap {
                domain,
                place,
                size,
            } => {
                self.unmap(domain, place + from);
                one_page(from, size)
            }
            Effect::Attach {
                domain,
                device,
                place,
                size,
            } => {
                self.attach(Mapping {
                    domain,
                    place: place + from,
                    base: device + from,
                    rights: Attributes::READ | Attributes::WRITE,
                });
                one_page(from, size)
            }
            Effect::Detach {
                domain,
                place,
                size,
                ..
            } => {
                self.unmap(domain, place + from);
                one_page(from, size)
            }
            Effect::Reset { device, size } => {
                self.reset(device, size);
                Applied::Done
            }
            Effect::Flush { domain } => self.flush(domain, from),
            Effect::Scrub { base, size } => {
                self.secrets.retain(|(page, _)| *page != base + from);
                one_page(from, size)
            }
            Effect::MeasureBegin { domain } => {
                self.streams.retain(|(subject, _)| *subject != domain);
                self.streams.push((domain, EMPTY_DIGEST));
                Applied::Done
            }
            Effect::MeasureRecord { domain, bytes }
            | Effect::MeasureDevice { domain, bytes, .. } => {
                self.put(domain, &bytes);
                Applied::Done
            }
            Effect::MeasureContents { domain, base, size } => {
                self.put(domain, &(base + from).to_le_bytes());
                one_page(from, size)
            }
            Effect::MeasureEnd { domain } => {
                let stream = self.streams.iter().find(|(subject, _)| *subject == domain);
                let digest = stream.map_or(0, |(_, digest)| *digest);
                self.streams.retain(|(subject, _)| *subject != domain);
                Applied::Measured(digest_end(digest))
            }
            Effect::Stop { domain } => self.stop(domain),
            Effect::AllowCores {
                domain,
                first,
                count,
            } => {
                self.allowed
                    .extend((first..first + count).map(|core| (domain, core)));
                Applied::Done
            }
            Effect::DenyCores {
                domain,
                first,
                count,
            } => self.deny(domain, first, count),
            Effect::GiveCore { domain, .. } => self.give_core(domain),
            Effect::TakeCore { domain, .. } => self.take_core(domain),
            Effect::Retire { domain } => {
                self.retire(domain);
                Applied::Done
            }
        }
    }
}
