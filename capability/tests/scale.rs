//! The engine with 10,000 domains and 100,000 regions against the same with 100 and 1,000: what calls cost, in looks at pages
//! of the store (the same on every machine), what a domain and a region take, and a branch of 1,000 domains that goes at once.
//!
//! Prints what it measures as `ADYTON-BENCH name value unit`.

#[path = "support/mod.rs"]
mod support;

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::account::Costs;
use adyton_capability::effect::{Applied, Budget, Effect, Platform};
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::node::{Entry, Resource};
use adyton_capability::operation::{Grant, Operation, Progress};

use support::pages::Pages;
use support::scene::{confidential, data, into, node, pages, range};

const FEW: u64 = 100;
const MANY: u64 = 10_000;
const REGIONS: u64 = 10;
/// Pages of the claim in which all live: a few for measurements, then 16 for each domain.
const CLAIM: u64 = FIRST + BLOCK * MANY;
const FIRST: u64 = 32;
const BLOCK: u64 = 16;
/// Domains of the branch, and pages of its claim.
const BRANCH: u64 = 1000;
const BRANCH_PAGES: u64 = 4096;

const BASE: u64 = 1 << 40;
const BRANCH_BASE: u64 = BASE + CLAIM * PAGE_SIZE;

/// As in the monitor (`domain/engine.rs`): units of one slice, of about one instruction.
const SLICE: u64 = 30_000;
/// Looks of one slice at most. One comes to some 50 instructions with what is done about it, and 100,000 instructions is the
/// bound.
const LOOKS: u64 = 2_000;

/// A platform that does everything at once, at about the monitor's prices (`domain/platform.rs`).
struct Quick;

impl Platform for Quick {
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied {
        let price = match effect {
            Effect::Map { .. } | Effect::Unmap { .. } => 1600,
            Effect::Scrub { size, .. } => {
                const ZERO: u64 = 320;
                let wanted = (size - from) / PAGE_SIZE;
                let pages = (budget.left() / ZERO).clamp(1, wanted);
                budget.spend(pages * ZERO);
                let done = from + pages * PAGE_SIZE;
                return if done == *size {
                    Applied::Done
                } else {
                    Applied::Partial(done)
                };
            }
            Effect::MeasureEnd { .. } => return Applied::Measured([0; 32]),
            _ => 480,
        };
        budget.spend(price);
        Applied::Done
    }
}

struct World {
    engine: Engine<Pages>,
    claim: ClaimId,
    domains: Vec<DomainId>,
    /// Pages that were taken for domains and for regions.
    taken: [u64; 2],
}

impl World {
    fn new() -> Self {
        let mut engine = Engine::new(Pages::new(), 1 << 23, Costs::default()).unwrap();
        let size = CLAIM + 2 * BRANCH_PAGES;
        let pool = Attributes::RIGHTS | Attributes::POOL;
        engine
            .add_root(Resource::Memory, BASE, pages(size), pool)
            .unwrap();
        let first = engine.first_domain();
        let claim = engine.claim(first, BASE, pages(CLAIM), [1, 2]).unwrap();
        Self {
            engine,
            claim,
            domains: Vec::new(),
            taken: [0; 2],
        }
    }

    fn taken(&self) -> u64 {
        self.engine.store().taken() as u64
    }

    fn finish(&mut self, operation: Operation) {
        loop {
            let progress = self
                .engine
                .advance(operation, &mut Quick, &mut Budget::new(SLICE));
            if let Progress::Done(result) = progress {
                result.unwrap();
                return;
            }
        }
    }

    /// Grows to `count` domains with ten regions each.
    fn grow(&mut self, count: u64) {
        while (self.domains.len() as u64) < count {
            let index = self.domains.len() as u64;
            let block = BASE + pages(FIRST + index * BLOCK);
            let before = self.taken();
            let domain = self.engine.create(self.claim, block, confidential(), 20);
            let domain = domain.unwrap();
            self.domains.push(domain);
            let between = self.taken();
            self.furnish(domain, block);
            self.taken[0] += between - before;
            self.taken[1] += self.taken() - between;
        }
    }

    /// Ten regions: carves and shares, owned and not.
    fn furnish(&mut self, domain: DomainId, block: u64) {
        for number in 0..REGIONS {
            let source = range(block + pages(1 + number), 1);
            let target = into(domain, pages(2 * number)).filter(|_| number != 9);
            let (claim, engine) = (self.claim, &mut self.engine);
            let operation = match number % 2 {
                0 => engine.carve(claim, source, target, data()),
                _ => engine.share(claim, source, target, data()),
            };
            self.finish(operation.unwrap());
        }
    }

    fn looks(&mut self, action: impl FnOnce(&mut Self)) -> u64 {
        let before = self.engine.store().looks.get();
        action(self);
        self.engine.store().looks.get() - before
    }

    fn revoke(&mut self, claim: ClaimId, region: NodeId) {
        let operation = self.engine.revoke(claim, region).unwrap();
        self.finish(operation);
    }

    /// Looks of each call, to its end, with what it starts; the dearest of several places in the forest.
    fn costs(&mut self) -> [(&'static str, u64); 6] {
        let mut dearest = [0; 6];
        let last = self.domains.len() - 1;
        for place in [0, last / 2, last] {
            let costs = self.costs_at(self.domains[place]);
            dearest = std::array::from_fn(|call| costs[call].max(dearest[call]));
        }
        let names = ["create", "carve", "share", "grant", "revoke", "destroy"];
        std::array::from_fn(|call| (names[call], dearest[call]))
    }

    fn costs_at(&mut self, domain: DomainId) -> [u64; 6] {
        let claim = self.claim;
        let (mut created, mut carved, mut shared, mut granted) = (None, None, None, None);
        let create = self.looks(|world| {
            created = world.engine.create(claim, BASE, confidential(), 20).ok();
        });
        let carve = self.looks(|world| {
            let source = range(BASE + pages(1), 1);
            let carve = world
                .engine
                .carve(claim, source, into(domain, pages(11)), data());
            carved = carve.ok().inspect(|carve| world.finish(*carve));
        });
        let share = self.looks(|world| {
            let source = range(BASE + pages(2), 1);
            let share = world
                .engine
                .share(claim, source, into(domain, pages(13)), data());
            shared = share.ok().inspect(|share| world.finish(*share));
        });
        let source = range(BASE + pages(3), 1);
        let free = self.engine.carve(claim, source, None, data()).unwrap();
        self.finish(free);
        let grant = self.looks(|world| {
            let grant = world.engine.grant(claim, node(free), domain, pages(15));
            if let Ok(Grant::Granted(operation)) = grant {
                world.finish(operation);
                granted = Some(operation);
            }
        });
        let mut revoke = 0;
        for region in [carved, shared, granted] {
            let region = node(region.unwrap());
            revoke = revoke.max(self.looks(|world| world.revoke(claim, region)));
        }
        let destroy = self.looks(|world| {
            let destroy = world.engine.destroy(claim, created.unwrap()).unwrap();
            world.finish(destroy);
        });
        [create, carve, share, grant, revoke, destroy]
    }

    /// A domain that has made 1,000 others out of its own pool, each with a region; its claim.
    fn branch(&mut self) -> (ClaimId, DomainId) {
        let first = self.engine.first_domain();
        let size = pages(2 * BRANCH_PAGES);
        let claim = self.engine.claim(first, BRANCH_BASE, size, [1, 2]).unwrap();
        let parent = self
            .engine
            .create(claim, BRANCH_BASE, confidential(), 20_000)
            .unwrap();
        let exit = BRANCH_BASE + PAGE_SIZE;
        self.engine
            .add_vcpu(claim, parent, exit, Entry::default())
            .unwrap();
        let source = range(BRANCH_BASE + pages(BRANCH_PAGES), BRANCH_PAGES);
        let pool = data() | Attributes::POOL;
        let given = self.engine.carve(claim, source, into(parent, 0), pool);
        self.finish(given.unwrap());
        let seal = self.engine.seal(claim, parent).unwrap();
        self.finish(seal);
        let inner = self.engine.claim(parent, 0, pages(BRANCH_PAGES), [3, 4]);
        let inner = inner.unwrap();
        for index in 0..BRANCH {
            let control = BRANCH_BASE + pages(BRANCH_PAGES + 2 * index);
            let child = self.engine.create(inner, control, confidential(), 8);
            let source = range(control + PAGE_SIZE, 1);
            let target = into(child.unwrap(), 0);
            let region = self.engine.carve(inner, source, target, data());
            self.finish(region.unwrap());
        }
        (claim, parent)
    }
}

fn tell(name: &str, value: u64, unit: &str) {
    println!("ADYTON-BENCH {name} {value} {unit}");
}

#[test]
fn calls_cost_at_most_four_times_as_much_with_ten_thousand_domains() {
    let mut world = World::new();
    world.grow(FEW);
    let few = world.costs();
    world.grow(MANY);
    let many = world.costs();
    for ((call, few), (_, many)) in few.into_iter().zip(many) {
        tell(&format!("{call}-at-{FEW}-domains"), few, "looks");
        tell(&format!("{call}-at-{MANY}-domains"), many, "looks");
        assert!(many <= 4 * few, "{call}: {few} looks, then {many}");
        assert!(many <= LOOKS, "{call}: {many} looks");
    }
    let [domains, regions] = world.taken;
    tell("bytes-per-domain", domains * PAGE_SIZE / MANY, "bytes");
    tell(
        "bytes-per-region",
        regions * PAGE_SIZE / (MANY * REGIONS),
        "bytes",
    );
}

#[test]
fn a_branch_of_a_thousand_domains_goes_in_slices() {
    let mut world = World::new();
    world.grow(FEW);
    let before = world.taken();
    let (claim, parent) = world.branch();
    let destroy = world.engine.destroy(claim, parent).unwrap();
    let (mut slices, mut longest, mut all) = (0_u64, 0, 0);
    let mut done = false;
    while !done {
        let looks = world.looks(|world| {
            let mut budget = Budget::new(SLICE);
            let progress = world.engine.advance(destroy, &mut Quick, &mut budget);
            done = matches!(progress, Progress::Done(Ok(_)));
            assert!(
                done || budget.is_spent(),
                "a slice that ends has done its part"
            );
        });
        (slices, longest, all) = (slices + 1, looks.max(longest), all + looks);
    }
    tell("branch-of-1000-slices", slices, "slices");
    tell("branch-of-1000-longest-slice", longest, "looks");
    tell("branch-of-1000-looks", all, "looks");
    assert!(longest <= LOOKS, "a slice of {longest} looks");
    let release = world.engine.release(claim).unwrap();
    world.finish(release);
    assert_eq!(world.taken(), before, "everything has come back");
    world.engine.check_invariants().unwrap();
}
