//! What the platform is asked for, in which order.

use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_capability::derive::Source;
use adyton_capability::effect::{Applied, Budget, Effect, Platform};
use adyton_capability::operation::Progress;

use crate::support::POOLS;
use crate::support::machine::Machine;
use crate::support::scene::{Scene, confidential, data, into, node, pages, policy, range};

const POOL: u64 = POOLS[0];
const PLACE: u64 = 0x4000_0000;

#[test]
fn a_carve_is_unmapped_and_flushed_before_it_is_mapped() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let (base, size) = (POOL + pages(4), pages(2));
    let carve = scene
        .engine
        .carve(claim, range(base, 2), into(domain, PLACE), data());
    let first = scene.first;
    let expected = [
        Effect::Unmap {
            domain: first,
            place: base,
            size,
        },
        Effect::Flush { domain: first },
        Effect::Map {
            domain,
            place: PLACE,
            base,
            size,
            rights: data(),
        },
    ];
    assert_eq!(scene.effects(carve.unwrap()), expected);
}

#[test]
fn what_comes_back_clean_is_unmapped_flushed_scrubbed_mapped() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let (base, size) = (POOL + pages(4), pages(2));
    let region = scene.carve(claim, range(base, 2), into(domain, PLACE), data());
    let facts = scene.engine.region_facts(region).unwrap();
    assert!(facts.attributes.contains(Attributes::CLEAN), "forced");
    let revoke = scene.engine.revoke(claim, region).unwrap();
    let expected = [
        Effect::Unmap {
            domain,
            place: PLACE,
            size,
        },
        Effect::Flush { domain },
        Effect::Scrub { base, size },
        Effect::Map {
            domain: scene.first,
            place: base,
            base,
            size,
            rights: Attributes::RIGHTS,
        },
    ];
    assert_eq!(scene.effects(revoke), expected);
}

#[test]
fn a_share_takes_nothing_and_gives_nothing_back() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let (base, size) = (POOL + pages(4), pages(2));
    let read = Attributes::READ;
    let share = scene
        .engine
        .share(claim, range(base, 2), into(domain, PLACE), read);
    let share = share.unwrap();
    let map = Effect::Map {
        domain,
        place: PLACE,
        base,
        size,
        rights: read,
    };
    assert_eq!(scene.effects(share), [map]);
    let revoke = scene.engine.revoke(claim, node(share)).unwrap();
    let unmap = Effect::Unmap {
        domain,
        place: PLACE,
        size,
    };
    assert_eq!(scene.effects(revoke), [unmap, Effect::Flush { domain }]);
}

#[test]
fn a_sandbox_keeps_nothing_clean_unasked() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, policy(Flags::NONE));
    let region = scene.carve(claim, range(POOL + pages(4), 2), into(domain, 0), data());
    let revoke = scene.engine.revoke(claim, region).unwrap();
    let effects = scene.effects(revoke);
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::Scrub { .. }))
    );
}

#[test]
fn a_domain_stops_before_anything_of_it_goes_and_retires_last() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    scene.carve(
        claim,
        range(POOL + pages(4), 2),
        into(domain, PLACE),
        data(),
    );
    let unowned = scene.carve(claim, range(POOL + pages(6), 2), None, data());
    let source = Source::Region {
        region: unowned,
        offset: 0,
        size: pages(1),
    };
    scene.share(claim, source, into(domain, 0), data());
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    let effects = scene.effects(destroy);
    assert_eq!(effects[0], Effect::Stop { domain });
    assert_eq!(effects[effects.len() - 1], Effect::Retire { domain });
    assert_eq!(scene.engine.domain_facts(domain), None);
    let release = scene.engine.release(claim).unwrap();
    scene.finish(release).unwrap();
    let reached = (0..48).filter(|page| scene.machine.accessors(POOL + pages(*page)).len() == 1);
    assert_eq!(reached.count(), 4, "what was carved is mapped again, once");
}

#[test]
fn a_carve_that_dies_half_taken_comes_back_whole() {
    // Stop the carve after each number of steps, revoke, and see that domain 0 has every page again.
    for steps in 0..6 {
        let mut scene = Scene::new();
        scene.machine = crate::support::machine::Machine::new(11);
        let first = scene.first;
        for page in 0..48 {
            let at = POOL + pages(page);
            scene
                .machine
                .mapped
                .insert((first, at), (at, Attributes::RIGHTS));
        }
        let claim = scene.claim(POOL, 16);
        let domain = scene.domain(claim, POOL, confidential());
        let source = range(POOL + pages(4), 8);
        let carve = scene
            .engine
            .carve(claim, source, into(domain, PLACE), data());
        let carve = carve.unwrap();
        for _ in 0..steps {
            let _ = scene.step(carve);
        }
        let revoke = scene.engine.revoke(claim, node(carve)).unwrap();
        assert!(matches!(scene.step(carve), Progress::Done(Err(_))));
        scene.finish(revoke).unwrap();
        assert_eq!(scene.machine.mapped.len(), 48);
        assert_eq!(scene.machine.stale, []);
    }
}

#[test]
fn losing_what_is_vital_kills_before_it_is_given_back() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let vital = data() | Attributes::VITAL;
    let base = POOL + pages(4);
    let region = scene.carve(claim, range(base, 2), into(domain, PLACE), vital);
    scene.carve(claim, range(POOL + pages(8), 2), into(domain, 0), data());
    scene.seal(claim, domain);
    let revoke = scene.engine.revoke(claim, region).unwrap();
    let effects = scene.effects(revoke);
    let retired = effects
        .iter()
        .position(|effect| *effect == Effect::Retire { domain });
    let back = effects
        .iter()
        .position(|effect| matches!(effect, Effect::Map { base: at, .. } if *at == base));
    assert!(retired.unwrap() < back.unwrap());
    assert_eq!(scene.engine.domain_facts(domain), None);
}

#[test]
fn what_confidential_siblings_shared_is_not_left_to_their_maker() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let one = scene.domain(claim, POOL, confidential());
    let base = POOL + pages(4);
    let unowned = scene.carve(claim, range(base, 1), None, data());
    let clean = |scene: &Scene| {
        let facts = scene.engine.region_facts(unowned).unwrap();
        facts.attributes.contains(Attributes::CLEAN)
    };
    assert!(!clean(&scene), "nobody confidential has it");
    let source = Source::Region {
        region: unowned,
        offset: 0,
        size: pages(1),
    };
    scene.share(claim, source, into(one, PLACE), data());
    assert!(clean(&scene));
    let revoke = scene.engine.revoke(claim, unowned).unwrap();
    let effects = scene.effects(revoke);
    let size = pages(1);
    assert!(effects.contains(&Effect::Scrub { base, size }));
}

#[test]
fn a_release_stops_domains_before_it_takes_anything() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL + pages(8), confidential());
    scene.carve(claim, range(POOL, 2), into(domain, PLACE), data());
    let release = scene.engine.release(claim).unwrap();
    let effects = scene.effects(release);
    assert_eq!(effects[0], Effect::Stop { domain });
}

#[test]
fn a_claim_ends_after_cores_that_somebody_else_is_taking_back() {
    // Destroy the domain for some steps, then release its claim from beside; both must end with nothing left.
    for steps in 0..12 {
        let mut scene = Scene::new();
        let first = scene.first;
        let before = scene.engine.domain_facts(first);
        let claim = scene.claim(POOL, 16);
        let domain = scene.domain(claim, POOL, confidential());
        let cores = scene.engine.derive_cores(claim, domain, 0, 2).unwrap();
        scene.finish(cores).unwrap();
        let revoke = scene.engine.revoke(claim, node(cores)).unwrap();
        for _ in 0..steps {
            let _ = scene.step(revoke);
        }
        let release = scene.engine.release(claim).unwrap();
        assert_eq!(scene.finish(release), Ok(0));
        assert_eq!(scene.finish(revoke), Ok(0));
        assert_eq!(scene.engine.domain_facts(first), before);
        assert!(scene.machine.cores.is_empty());
    }
}

/// A machine on which some core never stops running a domain.
struct Restless<'a> {
    machine: &'a mut Machine,
    stops: bool,
}

impl Platform for Restless<'_> {
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied {
        match effect {
            Effect::Stop { .. } if !self.stops => Applied::Wait,
            _ => self.machine.apply(effect, from, budget),
        }
    }
}

#[test]
fn a_vital_region_is_taken_from_nobody_who_still_runs() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let vital = data() | Attributes::VITAL;
    let region = scene.carve(claim, range(POOL + pages(4), 1), into(domain, PLACE), vital);
    scene.seal(claim, domain);
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    let revoke = scene.engine.revoke(claim, region).unwrap();
    let mut carry_on = |stops, operation| {
        let mut machine = Restless {
            machine: &mut scene.machine,
            stops,
        };
        let mut budget = Budget::new(10_000_000);
        scene.engine.advance(operation, &mut machine, &mut budget)
    };
    for _ in 0..20 {
        assert_eq!(carry_on(false, destroy), Progress::Again);
        assert_eq!(carry_on(false, revoke), Progress::Again);
    }
    assert_eq!(carry_on(true, revoke), Progress::Done(Ok(0)));
    assert_eq!(carry_on(true, destroy), Progress::Done(Ok(0)));
    assert_eq!(scene.engine.domain_facts(domain), None);
}

/// What was carved clean out of what was carved clean is zeroed with it, once.
#[test]
fn nothing_is_zeroed_twice() {
    const INSIDE: u64 = 0x4000_0000;
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 32);
    let outer = scene.domain(claim, POOL, confidential());
    let attributes = data() | Attributes::POOL | Attributes::CLEAN;
    let source = range(POOL + pages(8), 8);
    let region = scene.carve(claim, source, into(outer, INSIDE), attributes);
    scene.seal(claim, outer);
    let inner_claim = scene.engine.claim(outer, INSIDE, pages(8), [3, 4]);
    let inner = range(POOL + pages(10), 1);
    let clean = data() | Attributes::CLEAN;
    scene.carve(inner_claim.unwrap(), inner, None, clean);
    let revoke = scene.engine.revoke(claim, region).unwrap();
    let zeroed: Vec<_> = scene
        .effects(revoke)
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Scrub { base, size } => Some((base, size)),
            _ => None,
        })
        .collect();
    assert_eq!(zeroed, [(POOL + pages(8), pages(8))]);
}
