//! The real rules in every state of a small world, against caches that hold everything they may for as long as they may.
//!
//! Every interleaving of mapping, taking out of the tables, raising the generation, looking at each core, announcing an entry,
//! running, touching pages and leaving, breadth first until no new state is found. States are the same if nothing that the
//! rules compare tells them apart: epochs count only by which core they are of, so the world is finite.

use std::collections::{HashSet, VecDeque};

use super::*;

/// How large a world is. Each vCPU has a domain of its own.
#[derive(Clone, Copy)]
struct Size {
    cores: usize,
    pages: u8,
    last_asid: u32,
    /// How often something is taken away, in all.
    unmaps: u8,
}

const DOMAINS: usize = 2;

/// What a translation leads to: what was cached before the monitor, or the page that a domain had mapped for the nth time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
enum Frame {
    Garbage,
    Of { domain: usize, version: u8 },
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Core {
    next_asid: u32,
    epoch: u64,
    domain: u64,
    generation: u64,
    vcpu: Option<usize>,
    asid: Option<u32>,
    /// By address space and page, in order.
    cache: Vec<(u32, u8, Frame)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Default)]
struct Vcpu {
    asid: u32,
    epoch: u64,
    generation: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Page {
    version: u8,
    mapped: bool,
}

/// A page that was taken out of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Unmapping {
    domain: usize,
    page: u8,
    version: u8,
    /// 0 until the generation was raised.
    ticket: u64,
    /// Cores that were looked at and found done.
    seen: usize,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    cores: Vec<Core>,
    vcpus: [Vcpu; DOMAINS],
    generations: [u64; DOMAINS],
    pages: Vec<[Page; DOMAINS]>,
    pending: Vec<Unmapping>,
    unmaps: u8,
}

impl Core {
    fn rules(&self, size: Size) -> CoreTranslations {
        CoreTranslations {
            last_asid: size.last_asid,
            next_asid: AtomicU32::new(self.next_asid),
            epoch: AtomicU64::new(self.epoch),
            domain: AtomicU64::new(self.domain),
            generation: AtomicU64::new(self.generation),
        }
    }

    fn keep(&mut self, rules: &CoreTranslations) {
        self.next_asid = rules.next_asid.load(Ordering::Relaxed);
        self.epoch = rules.epoch.load(Ordering::Relaxed);
        self.domain = rules.domain.load(Ordering::Relaxed);
        self.generation = rules.generation.load(Ordering::Relaxed);
    }
}

impl State {
    fn first(size: Size) -> Self {
        let garbage = (0..=size.last_asid)
            .flat_map(|asid| (0..size.pages).map(move |page| (asid, page, Frame::Garbage)));
        let core = |name| {
            let mut core = Core {
                next_asid: 0,
                epoch: 0,
                domain: 0,
                generation: 0,
                vcpu: None,
                asid: None,
                cache: garbage.clone().collect(),
            };
            core.keep(&CoreTranslations::new(name as u16, size.last_asid));
            core
        };
        Self {
            cores: (0..size.cores).map(core).collect(),
            vcpus: Default::default(),
            generations: [1; DOMAINS],
            pages: vec![[Page::default(); DOMAINS]; size.pages.into()],
            pending: Vec::new(),
            unmaps: 0,
        }
    }

    /// Forgets what no rule compares.
    fn simplify(&mut self) {
        const SOME: u64 = 5 * ROUND;
        for vcpu in &mut self.vcpus {
            let core = self.cores.iter().position(|core| core.epoch == vcpu.epoch);
            *vcpu = match core {
                Some(core) => Vcpu {
                    epoch: SOME + core as u64 + 1,
                    ..*vcpu
                },
                None => Vcpu::default(),
            };
        }
        for (name, core) in self.cores.iter_mut().enumerate() {
            core.epoch = SOME + name as u64 + 1;
            core.cache.sort_unstable();
            core.cache.dedup();
        }
        self.pending.sort_unstable_by_key(|unmapping| {
            (unmapping.domain, unmapping.page, unmapping.version)
        });
    }

    /// All states that one step leads to.
    fn successors(&self, size: Size, found: &mut impl FnMut(Self)) {
        let mut take = |change: &dyn Fn(&mut Self) -> bool| {
            let mut next = self.clone();
            if change(&mut next) {
                next.simplify();
                found(next);
            }
        };
        for core in 0..size.cores {
            for vcpu in 0..DOMAINS {
                take(&|state| state.announce(size, core, vcpu));
            }
            take(&|state| state.run(size, core));
            take(&|state| state.exit(size, core));
            for page in 0..size.pages {
                take(&|state| state.touch(core, page));
            }
        }
        for domain in 0..DOMAINS {
            for page in 0..size.pages {
                take(&|state| state.map(domain, page));
                take(&|state| state.unmap(size, domain, page));
            }
            take(&|state| state.raise(domain));
        }
        for number in 0..self.pending.len() {
            take(&|state| state.look(size, number));
        }
    }

    fn announce(&mut self, size: Size, core: usize, vcpu: usize) -> bool {
        let taken = self.cores.iter().any(|core| core.vcpu == Some(vcpu));
        let core = &mut self.cores[core];
        if taken || core.vcpu.is_some() {
            return false;
        }
        let rules = core.rules(size);
        rules.announce(vcpu as u64 + 1);
        core.keep(&rules);
        core.vcpu = Some(vcpu);
        true
    }

    fn run(&mut self, size: Size, core: usize) -> bool {
        let core = &mut self.cores[core];
        let (Some(vcpu), None) = (core.vcpu, core.asid) else {
            return false;
        };
        let rules = core.rules(size);
        let generation = Generation(AtomicU64::new(self.generations[vcpu]));
        let known = &mut self.vcpus[vcpu];
        let mut tag = Tag {
            asid: known.asid,
            epoch: known.epoch,
            generation: known.generation,
        };
        let tlb = if rules.keeps(&tag, &generation) {
            Tlb::Keep(tag.asid)
        } else {
            rules.renew(&mut tag, &generation)
        };
        match tlb {
            Tlb::Keep(_) | Tlb::Fresh(_) => {}
            Tlb::FlushAsid(flushed) => core.cache.retain(|(asid, ..)| *asid != flushed),
            Tlb::FlushAll(_) => core.cache.clear(),
        }
        *known = Vcpu {
            asid: tag.asid,
            epoch: tag.epoch,
            generation: tag.generation,
        };
        assert!((1..=size.last_asid).contains(&tlb.asid()));
        core.keep(&rules);
        core.asid = Some(tlb.asid());
        true
    }

    fn exit(&mut self, size: Size, core: usize) -> bool {
        let core = &mut self.cores[core];
        if core.asid.take().is_none() {
            return false;
        }
        let rules = core.rules(size);
        rules.exit();
        core.keep(&rules);
        core.vcpu = None;
        true
    }

    /// The guest touches a page: whatever may be cached may be used, and what the tables say is cached.
    fn touch(&mut self, core: usize, page: u8) -> bool {
        let core = &mut self.cores[core];
        let (Some(domain), Some(asid)) = (core.vcpu, core.asid) else {
            return false;
        };
        let entry = self.pages[usize::from(page)][domain];
        if entry.mapped {
            let version = entry.version;
            core.cache.push((asid, page, Frame::Of { domain, version }));
        }
        for (space, place, frame) in &core.cache {
            if (*space, *place) != (asid, page) {
                continue;
            }
            let Frame::Of {
                domain: of,
                version,
            } = *frame
            else {
                panic!("what was cached before the monitor is reached");
            };
            assert_eq!(of, domain, "another domain's page is reached");
            let waited_for = self.pending.iter().any(|unmapping| {
                (unmapping.domain, unmapping.page, unmapping.version) == (of, page, version)
            });
            let current = entry.mapped && version == entry.version;
            assert!(
                current || waited_for,
                "a page that was taken for good is reached"
            );
        }
        entry.mapped
    }

    fn map(&mut self, domain: usize, page: u8) -> bool {
        let page = &mut self.pages[usize::from(page)][domain];
        let free = !page.mapped;
        page.mapped = true;
        page.version += u8::from(free);
        free
    }

    fn unmap(&mut self, size: Size, domain: usize, page: u8) -> bool {
        let entry = &mut self.pages[usize::from(page)][domain];
        if !entry.mapped || self.unmaps == size.unmaps {
            return false;
        }
        self.unmaps += 1;
        entry.mapped = false;
        self.pending.push(Unmapping {
            domain,
            page,
            version: entry.version,
            ticket: 0,
            seen: 0,
        });
        true
    }

    /// The flush begins: for all that was taken out before.
    fn raise(&mut self, domain: usize) -> bool {
        let mut needed = false;
        let generation = Generation(AtomicU64::new(self.generations[domain]));
        let ticket = generation.invalidate();
        let of_domain = |unmapping: &&mut Unmapping| unmapping.domain == domain;
        for unmapping in self.pending.iter_mut().filter(of_domain) {
            if unmapping.ticket == 0 {
                (unmapping.ticket, needed) = (ticket, true);
            }
        }
        self.generations[domain] = generation.current();
        needed
    }

    /// The waiter looks at one more core; after the last one, the page is somebody else's.
    fn look(&mut self, size: Size, number: usize) -> bool {
        let unmapping = &mut self.pending[number];
        if unmapping.ticket == 0 {
            return false;
        }
        let rules = self.cores[unmapping.seen].rules(size);
        if rules.is_pending(unmapping.domain as u64 + 1, unmapping.ticket) {
            return false;
        }
        unmapping.seen += 1;
        if unmapping.seen == size.cores {
            self.pending.remove(number);
        }
        true
    }
}

/// Visits every state; how many there are, and how many steps between them.
fn explore(size: Size) -> (usize, usize) {
    let mut first = State::first(size);
    first.simplify();
    let mut known = HashSet::from([first.clone()]);
    let mut waiting = VecDeque::from([first]);
    let mut steps = 0;
    while let Some(state) = waiting.pop_front() {
        state.successors(size, &mut |next| {
            steps += 1;
            if known.insert(next.clone()) {
                waiting.push_back(next);
            }
        });
    }
    (known.len(), steps)
}

fn tell(size: Size) {
    let Size {
        cores,
        pages,
        last_asid,
        unmaps,
    } = size;
    let (states, steps) = explore(size);
    println!(
        "{cores} cores, {DOMAINS} domains, {pages} pages, {last_asid} address spaces, {unmaps} unmaps: {states} states, {steps} steps"
    );
}

#[test]
fn two_cores_that_run_out_of_address_spaces() {
    tell(Size {
        cores: 2,
        pages: 1,
        last_asid: 1,
        unmaps: 2,
    });
}

#[test]
fn two_cores_two_address_spaces() {
    tell(Size {
        cores: 2,
        pages: 1,
        last_asid: 2,
        unmaps: 1,
    });
}
