//! A core that does not answer: what it may still reach is never used again.

use adyton_abi::error::Error;
use adyton_abi::region::Attributes;
use adyton_capability::derive::{Source, Target};
use adyton_capability::effect::{Applied, Budget, Effect, Platform};
use adyton_capability::operation::Progress;

use crate::support::POOLS;
use crate::support::machine::Machine;
use crate::support::scene::{Scene, confidential, data, into, node, pages, range};

const POOL: u64 = POOLS[0];
const PLACE: u64 = 0x40_0000;

#[test]
fn a_carve_that_cannot_be_flushed_is_given_to_nobody() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let first = scene.first;
    scene.machine.silent.insert(first);
    let (base, before) = (POOL + pages(4), scene.engine.domain_facts(domain));
    let carve = scene
        .engine
        .carve(claim, range(base, 2), into(domain, PLACE), data());
    let carve = carve.unwrap();
    assert_eq!(scene.finish(carve), Err(Error::Quarantined));
    assert_eq!(
        scene.engine.domain_facts(domain),
        before,
        "the target is charged nothing"
    );
    assert_eq!(
        scene.machine.accessors(base),
        [],
        "in this machine nobody had it mapped"
    );
    scene.machine.silent.clear();
    assert_eq!(scene.finish(carve), Err(Error::Quarantined), "for good");
    let again = scene.engine.carve(claim, range(base, 1), None, data());
    assert_eq!(again, Err(Error::Overlap));
    let revoke = scene.engine.revoke(claim, node(carve)).unwrap();
    assert_eq!(scene.finish(revoke), Err(Error::Quarantined));
    let elsewhere = range(POOL + pages(8), 1);
    scene.carve(claim, elsewhere, into(domain, PLACE), data());
}

#[test]
fn what_a_silent_core_may_reach_is_not_given_back() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let base = POOL + pages(4);
    scene.carve(claim, range(base, 2), into(domain, PLACE), data());
    scene.carve(claim, range(base + pages(2), 2), None, data());
    scene.seal(claim, domain);
    scene.machine.silent.insert(domain);
    let release = scene.engine.release(claim).unwrap();
    assert_eq!(scene.finish(release), Err(Error::Quarantined));
    let held = scene.machine.accessors(base);
    assert_eq!(
        held,
        [(domain, PLACE)],
        "only the silent core's translation is left"
    );
    let rest = scene.machine.accessors(base + pages(2));
    assert_eq!(rest.len(), 1, "what was not the domain's came back");
    assert!(
        scene.engine.domain_facts(domain).is_some(),
        "its contexts are kept"
    );
    scene.machine.silent.clear();
    let release = scene.engine.release(claim).unwrap();
    assert_eq!(scene.finish(release), Err(Error::Quarantined), "for good");
    let first = scene.first;
    let overlap = scene.engine.claim(first, POOL, pages(1), [0, 0]);
    assert_eq!(overlap, Err(Error::Overlap));
    scene.claim(POOL + pages(16), 8);
}

#[test]
fn a_silent_core_below_keeps_everything_above() {
    let mut scene = Scene::new();
    let outer = scene.claim(POOL, 32);
    let parent = scene.domain(outer, POOL, confidential());
    let pool = data() | Attributes::POOL;
    let whole = scene.carve(outer, range(POOL + pages(8), 16), into(parent, 0), pool);
    scene.seal(outer, parent);
    let inner = scene.engine.claim(parent, 0, pages(8), [0, 0]).unwrap();
    let control = POOL + pages(8);
    let child = scene
        .engine
        .create(inner, control, confidential(), 10)
        .unwrap();
    let base = control + pages(2);
    scene.carve(inner, range(base, 1), into(child, 0), data());
    scene.machine.silent.insert(child);
    let revoke = scene.engine.revoke(outer, whole).unwrap();
    assert_eq!(scene.finish(revoke), Err(Error::Quarantined));
    for page in 0..16 {
        let at = POOL + pages(8 + page);
        let reach = scene.machine.accessors(at);
        assert!(
            reach.iter().all(|(domain, _)| *domain == child),
            "page {page}"
        );
    }
    let destroy = scene.engine.destroy(outer, parent).unwrap();
    assert_eq!(scene.finish(destroy), Err(Error::Quarantined));
    let release = scene.engine.release(outer).unwrap();
    assert_eq!(scene.finish(release), Err(Error::Quarantined));
}

#[test]
fn what_a_silent_sharer_may_reach_is_neither_zeroed_nor_given_back() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let base = POOL + pages(4);
    let unowned = scene.carve(claim, range(base, 2), None, data());
    let source = Source::Region {
        region: unowned,
        offset: 0,
        size: pages(1),
    };
    scene.share(claim, source, into(domain, PLACE), data());
    scene.machine.silent.insert(domain);
    let revoke = scene.engine.revoke(claim, unowned).unwrap();
    assert_eq!(scene.finish(revoke), Err(Error::Quarantined));
    assert!(!scene.machine.zeroed.contains(&base));
    assert_eq!(scene.machine.accessors(base), [(domain, PLACE)]);
    assert_eq!(scene.machine.accessors(base + pages(1)), []);
}

#[test]
fn a_dying_domain_waits_once_for_a_silent_core() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    for page in 4..8 {
        let place = Target {
            domain,
            place: pages(page),
        };
        scene.carve(claim, range(POOL + pages(page), 1), Some(place), data());
    }
    scene.machine.silent.insert(domain);
    scene.machine.log.clear();
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    assert_eq!(scene.finish(destroy), Err(Error::Quarantined));
    let flush = Effect::Flush { domain };
    let flushes = scene.machine.log.iter().filter(|effect| **effect == flush);
    assert_eq!(flushes.count(), 1);
}

/// A machine of which some core never answers to some effects.
struct Deaf<'machine> {
    machine: &'machine mut Machine,
    to: fn(&Effect) -> bool,
}

impl Platform for Deaf<'_> {
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied {
        if (self.to)(effect) {
            Applied::TimedOut
        } else {
            self.machine.apply(effect, from, budget)
        }
    }
}

/// A core that does not leave a domain, or does not leave the monitor: the destruction ends, and what the domain had stays away.
#[test]
fn a_destruction_ends_without_the_answer() {
    let deaf: [fn(&Effect) -> bool; 2] = [
        |effect| matches!(effect, Effect::Stop { .. }),
        |effect| matches!(effect, Effect::Retire { .. }),
    ];
    for to in deaf {
        let mut scene = Scene::new();
        let claim = scene.claim(POOL, 16);
        let domain = scene.domain(claim, POOL, confidential());
        let base = POOL + pages(4);
        scene.carve(claim, range(base, 2), into(domain, PLACE), data());
        scene.seal(claim, domain);
        let destroy = scene.engine.destroy(claim, domain).unwrap();
        let machine = &mut scene.machine;
        let mut deaf = Deaf { machine, to };
        let ended = (0..1000).find_map(|_| {
            let mut budget = Budget::new(10_000);
            match scene.engine.advance(destroy, &mut deaf, &mut budget) {
                Progress::Done(result) => Some(result),
                Progress::Again => None,
            }
        });
        assert_eq!(ended, Some(Err(Error::Quarantined)));
        scene.engine.check_invariants().unwrap();
        assert!(scene.engine.domain_facts(domain).is_some(), "it is kept");
        let control = scene.engine.carve(claim, range(POOL, 1), None, data());
        assert_eq!(control, Err(Error::Overlap));
    }
}
