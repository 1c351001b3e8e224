//! A machine that does what effects say, a few pages at a time, and keeps translations until it is told to flush.

use std::collections::{BTreeMap, BTreeSet};

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;
use adyton_capability::effect::{Applied, Budget, Effect, Platform};
use adyton_capability::identity::DomainId;

/// What a domain may do with a device's registers.
fn data() -> Attributes {
    Attributes::READ | Attributes::WRITE
}

/// A translation that was unmapped and may still be cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    pub domain: DomainId,
    pub place: u64,
    pub base: u64,
    /// How many flushes of the domain had begun before.
    since: u64,
}

/// The machine's state, page by page.
#[derive(Debug, Default)]
pub struct Machine {
    /// By domain and place: host page and rights.
    pub mapped: BTreeMap<(DomainId, u64), (u64, Attributes)>,
    pub stale: Vec<Stale>,
    pub cores: BTreeSet<(DomainId, u64)>,
    /// Who has the whole core that this thread is of.
    pub whole: BTreeMap<u64, DomainId>,
    /// Threads of whole cores that never come back.
    pub stuck: BTreeSet<u64>,
    pub stopped: BTreeSet<DomainId>,
    pub retired: BTreeSet<DomainId>,
    /// Pages that were scrubbed since they were last mapped.
    pub zeroed: BTreeSet<u64>,
    /// Domains whose flushes time out.
    pub silent: BTreeSet<DomainId>,
    /// The measured streams, as a digest goes along.
    streams: BTreeMap<DomainId, Stream>,
    flushes: BTreeMap<DomainId, u64>,
    /// Every effect that was applied, in order; a slice counts each time.
    pub log: Vec<Effect>,
    random: u64,
}

/// A running digest that stands for SHA-256.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    pub fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn put(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    /// What stands for the contents of the page at `base`.
    pub fn put_page(&mut self, base: u64) {
        self.put(&base.to_le_bytes());
    }

    pub fn digest(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.0.to_le_bytes());
        digest
    }
}

impl Machine {
    /// A machine in which `random` decides how large slices are and who has to wait; 0: everything is done at once.
    pub fn new(random: u64) -> Self {
        Self {
            random,
            ..Self::default()
        }
    }

    /// A number below `limit`, 0 in a machine without chance.
    fn chance(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    /// Who can reach the host page, now or by a stale translation.
    pub fn accessors(&self, base: u64) -> Vec<(DomainId, u64)> {
        let mapped = self.mapped.iter().filter(|(_, (page, _))| *page == base);
        let stale = self.stale.iter().filter(|stale| stale.base == base);
        let stale = stale.map(|stale| (stale.domain, stale.place));
        mapped.map(|(at, _)| *at).chain(stale).collect()
    }

    /// Does the effect page by page from `from` on; a slice ends by chance.
    fn by_pages(&mut self, size: u64, from: u64, mut one: impl FnMut(&mut Self, u64)) -> Applied {
        assert!(from < size && from.is_multiple_of(PAGE_SIZE));
        let mut offset = from;
        while offset < size {
            if offset > from && self.chance(3) == 1 {
                return Applied::Partial(offset);
            }
            one(self, offset);
            offset += PAGE_SIZE;
        }
        Applied::Done
    }

    fn map(&mut self, domain: DomainId, place: u64, base: u64, rights: Attributes) {
        assert!(
            !self.retired.contains(&domain),
            "mapped into a retired domain"
        );
        let before = self.mapped.insert((domain, place), (base, rights));
        assert!(before.is_none(), "mapped over a mapping");
        self.zeroed.remove(&base);
    }

    fn unmap(&mut self, domain: DomainId, place: u64) {
        assert!(
            !self.retired.contains(&domain),
            "unmapped from a retired domain"
        );
        if let Some((base, _)) = self.mapped.remove(&(domain, place)) {
            let since = self.flushes.get(&domain).copied().unwrap_or(0);
            self.stale.push(Stale {
                domain,
                place,
                base,
                since,
            });
        }
    }

    fn flush(&mut self, domain: DomainId, ticket: u64) -> Applied {
        if self.silent.contains(&domain) {
            return Applied::TimedOut;
        }
        let ticket = if ticket == 0 {
            let count = self.flushes.entry(domain).or_default();
            *count += 1;
            *count
        } else {
            ticket
        };
        if self.chance(3) == 1 {
            return Applied::Ticket(ticket);
        }
        self.stale
            .retain(|stale| stale.domain != domain || stale.since >= ticket);
        Applied::Done
    }

    fn scrub(&mut self, base: u64) {
        let reach = self.accessors(base);
        assert!(reach.is_empty(), "scrubbed while {reach:?} can reach it");
        self.zeroed.insert(base);
    }

    fn wait_or(&mut self, done: impl FnOnce(&mut Self)) -> Applied {
        if self.chance(4) == 1 {
            return Applied::Wait;
        }
        done(self);
        Applied::Done
    }
}

impl Platform for Machine {
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied {
        budget.spend(100);
        self.log.push(*effect);
        match *effect {
            Effect::Map {
                domain,
                place,
                base,
                size,
                rights,
            } => self.by_pages(size, from, |machine, offset| {
                machine.map(domain, place + offset, base + offset, rights);
            }),
            Effect::Unmap {
                domain,
                place,
                size,
            } => self.by_pages(size, from, |machine, offset| {
                machine.unmap(domain, place + offset);
            }),
            Effect::Flush { domain } => self.flush(domain, from),
            Effect::Scrub { base, size } => {
                self.by_pages(size, from, |machine, offset| machine.scrub(base + offset))
            }
            Effect::MeasureBegin { domain } => self.wait_or(|machine| {
                machine.streams.insert(domain, Stream::new());
            }),
            Effect::MeasureRecord { domain, bytes } => self.wait_or(|machine| {
                machine.streams.get_mut(&domain).unwrap().put(&bytes);
            }),
            Effect::MeasureContents { domain, base, size } => {
                self.by_pages(size, from, |machine, offset| {
                    let stream = machine.streams.get_mut(&domain).unwrap();
                    stream.put_page(base + offset);
                })
            }
            Effect::MeasureDevice { domain, bytes, .. } => self.wait_or(|machine| {
                machine.streams.get_mut(&domain).unwrap().put(&bytes);
            }),
            Effect::Attach {
                domain,
                device,
                place,
                size,
            } => self.by_pages(size, from, |machine, offset| {
                let base = device + offset;
                assert!(machine.zeroed.contains(&base), "attached, and not reset");
                machine.map(domain, place + offset, base, data());
            }),
            Effect::Detach {
                domain,
                place,
                size,
                ..
            } => self.by_pages(size, from, |machine, offset| {
                machine.unmap(domain, place + offset);
            }),
            Effect::Reset { device, size } => {
                if from == 0 {
                    let bases = (device..device + size).step_by(PAGE_SIZE as usize);
                    bases.for_each(|base| self.scrub(base));
                }
                // A reset takes its time.
                match self.chance(3) {
                    1 => Applied::Ticket(1),
                    _ => Applied::Done,
                }
            }
            Effect::MeasureEnd { domain } => {
                Applied::Measured(self.streams.remove(&domain).unwrap().digest())
            }
            Effect::Stop { domain } => self.wait_or(|machine| {
                machine.stopped.insert(domain);
            }),
            Effect::AllowCores {
                domain,
                first,
                count,
            } => self.wait_or(|machine| {
                let cores = first..first + count;
                machine.cores.extend(cores.map(|core| (domain, core)));
            }),
            Effect::DenyCores {
                domain,
                first,
                count,
            } => self.wait_or(|machine| {
                for core in first..first + count {
                    machine.cores.remove(&(domain, core));
                }
            }),
            Effect::GiveCore {
                domain,
                first,
                count,
            } => self.wait_or(|machine| {
                for thread in first..first + count {
                    let before = machine.whole.insert(thread, domain);
                    assert!(before.is_none(), "a core given to two");
                }
            }),
            Effect::TakeCore {
                domain,
                first,
                count,
            } => {
                if (first..first + count).any(|thread| self.stuck.contains(&thread)) {
                    return Applied::TimedOut;
                }
                self.wait_or(|machine| {
                    for thread in first..first + count {
                        let before = machine.whole.remove(&thread);
                        assert_eq!(before, Some(domain), "taken from who has it not");
                    }
                })
            }
            Effect::Retire { domain } => {
                assert!(self.stopped.contains(&domain), "retired while it may run");
                let mut places = self.mapped.keys().filter(|(holder, _)| *holder == domain);
                assert!(places.next().is_none(), "retired while it has memory");
                self.wait_or(|machine| {
                    machine.retired.insert(domain);
                })
            }
        }
    }
}
