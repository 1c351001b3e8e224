//! The rules against a model of a translation cache that holds everything it may for as long as it may.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const CORES: usize = 3;
const VCPUS: usize = 6;
const DOMAINS: usize = 3;
const PAGES: u8 = 4;
const LAST_ASID: u32 = 3;

/// What a page of a domain leads to; `None` where it is not mapped.
type Tables = BTreeMap<(usize, u8), u32>;

#[derive(Default)]
struct Cache {
    /// By ASID, page, what the translations may be.
    entries: BTreeMap<(u32, u8), BTreeSet<u32>>,
}

struct Core {
    rules: CoreTranslations,
    cache: Cache,
    /// The vCPU that was announced or runs.
    vcpu: Option<usize>,
    /// The ASID it runs with, once it runs.
    asid: Option<u32>,
}

struct Vcpu {
    tag: Tag,
    domain: usize,
    core: Option<usize>,
}

struct Unmapping {
    domain: usize,
    frame: u32,
    ticket: u64,
}

struct World {
    cores: Vec<Core>,
    vcpus: Vec<Vcpu>,
    generations: Vec<Generation>,
    tables: Tables,
    pending: Vec<Unmapping>,
    /// Frames whose unmapping was reported complete, by domain.
    lost: BTreeSet<(usize, u32)>,
    frames: u32,
}

#[derive(Clone, Debug)]
enum Action {
    Announce { core: usize, vcpu: usize },
    Run { core: usize },
    Access { core: usize, page: u8 },
    Exit { core: usize },
    Map { domain: usize, page: u8 },
    Unmap { domain: usize, page: u8 },
    Complete,
}

fn name(domain: usize) -> u64 {
    domain as u64 + 1
}

impl World {
    fn new() -> Self {
        // A core's cache begins with entries of whatever ran before, under every ASID.
        let garbage = || {
            let all = (0..=LAST_ASID).flat_map(|asid| (0..PAGES).map(move |page| (asid, page)));
            all.map(|at| (at, BTreeSet::from([u32::MAX]))).collect()
        };
        Self {
            cores: (0..CORES)
                .map(|core| Core {
                    rules: CoreTranslations::new(core as u16, LAST_ASID),
                    cache: Cache { entries: garbage() },
                    vcpu: None,
                    asid: None,
                })
                .collect(),
            vcpus: (0..VCPUS)
                .map(|vcpu| Vcpu {
                    tag: Tag::new(),
                    domain: vcpu % DOMAINS,
                    core: None,
                })
                .collect(),
            generations: (0..DOMAINS).map(|_| Generation::new()).collect(),
            tables: Tables::new(),
            pending: Vec::new(),
            lost: (0..DOMAINS).map(|domain| (domain, u32::MAX)).collect(),
            frames: 0,
        }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Announce { core, vcpu } => self.announce(core, vcpu),
            Action::Run { core } => self.run(core),
            Action::Access { core, page } => self.access(core, page),
            Action::Exit { core } => self.exit(core),
            Action::Map { domain, page } => {
                self.frames += 1;
                let frame = self.frames;
                self.tables.entry((domain, page)).or_insert(frame);
            }
            Action::Unmap { domain, page } => {
                if let Some(frame) = self.tables.remove(&(domain, page)) {
                    let ticket = self.generations[domain].invalidate();
                    self.pending.push(Unmapping {
                        domain,
                        frame,
                        ticket,
                    });
                }
            }
            Action::Complete => self.complete(),
        }
    }

    fn announce(&mut self, core: usize, vcpu: usize) {
        if self.cores[core].vcpu.is_some() || self.vcpus[vcpu].core.is_some() {
            return;
        }
        self.vcpus[vcpu].core = Some(core);
        self.cores[core].vcpu = Some(vcpu);
        self.cores[core]
            .rules
            .announce(name(self.vcpus[vcpu].domain));
    }

    fn run(&mut self, core: usize) {
        let core = &mut self.cores[core];
        let (Some(vcpu), None) = (core.vcpu, core.asid) else {
            return;
        };
        let vcpu = &mut self.vcpus[vcpu];
        let generation = &self.generations[vcpu.domain];
        let tlb = if core.rules.keeps(&vcpu.tag, generation) {
            Tlb::Keep(vcpu.tag.asid)
        } else {
            core.rules.renew(&mut vcpu.tag, generation)
        };
        match tlb {
            Tlb::Keep(_) | Tlb::Fresh(_) => {}
            Tlb::FlushAsid(flushed) => core.cache.entries.retain(|(asid, _), _| *asid != flushed),
            Tlb::FlushAll(_) => core.cache.entries.clear(),
        }
        assert!((1..=LAST_ASID).contains(&tlb.asid()));
        core.asid = Some(tlb.asid());
    }

    /// The guest touches a page: the hardware may use anything cached, and caches what the tables say.
    fn access(&mut self, core: usize, page: u8) {
        let core = &mut self.cores[core];
        let (Some(vcpu), Some(asid)) = (core.vcpu, core.asid) else {
            return;
        };
        let domain = self.vcpus[vcpu].domain;
        let cached = core.cache.entries.entry((asid, page)).or_default();
        cached.extend(self.tables.get(&(domain, page)));
        for frame in cached.iter() {
            assert!(
                !self.lost.contains(&(domain, *frame)),
                "a page that was taken for good is still reached"
            );
            let own = *frame != u32::MAX;
            assert!(own, "what was cached before the monitor is reached");
        }
    }

    fn exit(&mut self, core: usize) {
        let core = &mut self.cores[core];
        if core.asid.take().is_some()
            && let Some(vcpu) = core.vcpu.take()
        {
            core.rules.exit();
            self.vcpus[vcpu].core = None;
        }
    }

    /// Reports every unmapping that no core has to be waited for.
    fn complete(&mut self) {
        let (cores, lost) = (&self.cores, &mut self.lost);
        self.pending.retain(|unmapping| {
            let waits = cores.iter().any(|core| {
                core.rules
                    .is_pending(name(unmapping.domain), unmapping.ticket)
            });
            if !waits {
                lost.insert((unmapping.domain, unmapping.frame));
            }
            waits
        });
    }
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0..CORES, 0..VCPUS).prop_map(|(core, vcpu)| Action::Announce { core, vcpu }),
        3 => (0..CORES).prop_map(|core| Action::Run { core }),
        6 => (0..CORES, 0..PAGES).prop_map(|(core, page)| Action::Access { core, page }),
        2 => (0..CORES).prop_map(|core| Action::Exit { core }),
        2 => (0..DOMAINS, 0..PAGES).prop_map(|(domain, page)| Action::Map { domain, page }),
        2 => (0..DOMAINS, 0..PAGES).prop_map(|(domain, page)| Action::Unmap { domain, page }),
        2 => Just(Action::Complete),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn nothing_that_was_taken_is_reached(actions in prop::collection::vec(action(), 1..250)) {
        let mut world = World::new();
        for action in &actions {
            world.act(action);
        }
        // Once every core has left, nothing has to be waited for.
        for core in 0..CORES {
            world.run(core);
            world.exit(core);
        }
        world.complete();
        prop_assert!(world.pending.is_empty());
    }
}

#[test]
fn an_entry_that_changes_nothing_keeps_the_cache() {
    let core = CoreTranslations::new(0, 15);
    let generation = Generation::new();
    let mut tag = Tag::new();
    assert_eq!(core.enter(&mut tag, name(0), &generation), Tlb::FlushAll(1));
    core.exit();
    assert_eq!(core.enter(&mut tag, name(0), &generation), Tlb::Keep(1));
    let ticket = generation.invalidate();
    assert!(core.is_pending(name(0), ticket));
    assert!(!core.is_pending(name(1), ticket));
    core.exit();
    assert!(!core.is_pending(name(0), ticket));
    assert_eq!(
        core.enter(&mut tag, name(0), &generation),
        Tlb::FlushAsid(1)
    );
    assert!(!core.is_pending(name(0), ticket));
}

#[test]
fn a_vcpu_that_comes_back_gets_a_fresh_asid() {
    let cores = [CoreTranslations::new(0, 2), CoreTranslations::new(1, 2)];
    let generation = Generation::new();
    let mut tag = Tag::new();
    let mut enter = |core: usize| {
        let tlb = cores[core].enter(&mut tag, name(0), &generation);
        cores[core].exit();
        tlb
    };
    assert_eq!(enter(0), Tlb::FlushAll(1));
    assert_eq!(enter(1), Tlb::FlushAll(1));
    assert_eq!(enter(0), Tlb::Fresh(2));
    assert_eq!(enter(1), Tlb::Fresh(2));
    assert_eq!(enter(0), Tlb::FlushAll(1));
}

#[test]
fn a_core_that_ran_out_of_asids_keeps_nobody_s() {
    let core = CoreTranslations::new(0, 2);
    let generation = Generation::new();
    let mut tags = [Tag::new(); 3];
    let mut enter = |vcpu: usize| {
        let tlb = core.enter(&mut tags[vcpu], name(vcpu), &generation);
        core.exit();
        tlb
    };
    assert_eq!(enter(0), Tlb::FlushAll(1));
    assert_eq!(enter(1), Tlb::Fresh(2));
    assert_eq!(enter(0), Tlb::Keep(1));
    assert_eq!(enter(2), Tlb::FlushAll(1));
    assert_eq!(enter(0), Tlb::Fresh(2), "its old one is another's");
    assert_eq!(enter(1), Tlb::FlushAll(1));
}
