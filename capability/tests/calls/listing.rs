//! What `enumerate` and the look-ups tell, word by word.

use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::{Sharing, Topic};
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::grant::Expected;
use adyton_capability::identity::DomainId;
use adyton_capability::node::Resource;
use adyton_capability::operation::Grant;

use crate::support::pages::Pages;
use crate::support::scene::{Scene, confidential, data, into, node, pages, range};
use crate::support::{CORES, COSTS, POOL_PAGES, POOLS};

const POOL: u64 = POOLS[0];
const PLACE: u64 = 0x4000_0000;

/// All records, and how many calls it took.
fn list(
    scene: &Scene,
    caller: DomainId,
    place: u64,
    topic: Topic,
    subject: u64,
) -> (Vec<[u64; 6]>, usize) {
    let (mut records, mut cursor) = (Vec::new(), 0);
    for calls in 1..100 {
        let listing = scene
            .engine
            .enumerate(caller, place, topic, subject, cursor)
            .unwrap();
        records.extend(listing.record);
        assert!(listing.next == 0 || listing.next > cursor, "it goes on");
        cursor = listing.next;
        if cursor == 0 {
            return (records, calls);
        }
    }
    panic!("{topic:?} does not end");
}

#[test]
fn what_belongs_to_nobody_is_listed_without_cores() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let first = scene.first;
    let domain = scene.domain(claim, POOL, confidential());
    let one = scene.carve(claim, range(POOL + pages(4), 2), None, data());
    let cores = scene.engine.derive_cores(claim, domain, 0, CORES).unwrap();
    scene.finish(cores).unwrap();
    let two = scene.share(claim, range(POOL + pages(8), 1), None, data());
    scene.engine.close(claim, two).unwrap();
    let asked_at = pages(3);
    let expected = [
        [
            one.word(),
            pages(1),
            pages(2),
            data().word(),
            Sharing::Exclusive as u64,
            0,
        ],
        [
            two.word(),
            pages(5),
            pages(1),
            data().word(),
            Sharing::Shared as u64,
            1,
        ],
    ];
    let (records, calls) = list(&scene, first, POOL + asked_at, Topic::Unowned, 0);
    assert_eq!(records, expected);
    assert_eq!(calls, 2);
}

#[test]
fn an_account_is_told_with_vcpus_epoch_and_exceptions() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let policy = Policy {
        flags: Flags::MAY_ACCEPT,
        exceptions: 1 << 14 | 1 << 6,
    };
    let domain = scene.domain(claim, POOL, policy);
    scene.carve(
        claim,
        range(POOL + pages(4), 1),
        into(domain, PLACE),
        data(),
    );
    scene.seal(claim, domain);
    let fixed = 1 + COSTS.domain + COSTS.vcpu + 3;
    let told = [100, fixed, 0, 1, 0, 1 << 14 | 1 << 6];
    let account = |scene: &Scene| list(scene, domain, 0, Topic::Account, 0).0;
    assert_eq!(account(&scene), [told]);
    let region = scene.carve(claim, range(POOL + pages(6), 1), None, data());
    let place = PLACE + pages(1);
    let offer = scene.engine.grant(claim, region, domain, place);
    assert_eq!(offer, Ok(Grant::Offered));
    let expected = Expected {
        place,
        size: pages(1),
        attributes: data(),
    };
    let accept = scene.engine.accept(domain, None, region, expected).unwrap();
    scene.finish(accept).unwrap();
    let [limit, used, passed, vcpus, _, exceptions] = told;
    let told = [limit, used, passed, vcpus, 1 << 32, exceptions];
    assert_eq!(account(&scene), [told]);
}

#[test]
fn a_measurement_is_told_once_it_is_valid() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let first = scene.first;
    let domain = scene.domain(claim, POOL, confidential());
    let measurement = |scene: &Scene| {
        let (records, _) = list(scene, first, POOL, Topic::Measurement, domain.word());
        (records, scene.engine.is_sealed(domain))
    };
    assert_eq!(measurement(&scene), (vec![[0; 6]], false));
    scene.seal(claim, domain);
    let digest = scene.engine.domain_facts(domain).unwrap().measurement;
    let mut words = [0; 6];
    for (word, bytes) in words.iter_mut().zip(digest.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words[4] = 1;
    assert_ne!(digest, [0; 32]);
    assert_eq!(measurement(&scene), (vec![words], true));
}

#[test]
fn cores_are_told_by_range() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    for first in [1, 3] {
        let cores = scene.engine.derive_cores(claim, domain, first, 1).unwrap();
        scene.finish(cores).unwrap();
    }
    let (records, _) = list(&scene, domain, 0, Topic::Cores, 0);
    assert_eq!(records, [[1, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0]]);
    let runs: Vec<u64> = (0..CORES + 1)
        .filter(|core| scene.engine.may_run_on(domain, *core))
        .collect();
    assert_eq!(runs, [1, 3]);
}

#[test]
fn a_claim_gets_its_part_of_what_its_owner_has_not_used() {
    let mut scene = Scene::with_limit(1000);
    let account = |scene: &Scene| scene.engine.domain_facts(scene.first).unwrap().account;
    let before = account(&scene);
    assert!(before.used > 0, "the tables of the pool");
    let pool = 2 * POOL_PAGES;
    let claim = scene.claim(POOL, 16);
    let limit = scene.engine.claim_facts(claim).unwrap().account.limit;
    assert_eq!(limit, (before.limit - before.used) * 16 / pool);
    assert_eq!(account(&scene).passed, limit);
    assert_eq!(account(&scene).used, before.used);
}

#[test]
fn keys_that_differ_alike_in_both_halves_differ() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let key = |key| scene.engine.check_key(claim, key);
    assert_eq!(key([1, 2]), Ok(()));
    for difference in [1, 1 << 40, u64::MAX] {
        let bad = Err(Error::BadKey);
        assert_eq!(key([1 ^ difference, 2 ^ difference]), bad);
        assert_eq!(key([1, 2 ^ difference]), bad);
        assert_eq!(key([1 ^ difference, 2]), bad);
    }
}

#[test]
fn regions_are_told_with_what_they_come_from() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let vital = data() | Attributes::VITAL;
    let one = scene.carve(claim, range(POOL + pages(4), 2), into(domain, PLACE), vital);
    let place = PLACE + pages(8);
    let two = scene.share(
        claim,
        range(POOL + pages(8), 1),
        into(domain, place),
        data(),
    );
    let source = scene.engine.region_at(scene.first, POOL).unwrap().id.word();
    let clean = (vital | Attributes::CLEAN).word();
    let (records, _) = list(&scene, domain, 0, Topic::Regions, 0);
    let expected = [
        [
            one.word(),
            PLACE,
            pages(2),
            clean,
            Sharing::Exclusive as u64,
            source,
        ],
        [
            two.word(),
            place,
            pages(1),
            data().word(),
            Sharing::Shared as u64,
            source,
        ],
    ];
    assert_eq!(records, expected);
}

#[test]
fn a_claim_needs_pages_for_itself_and_for_nodes() {
    let scene = Scene::new();
    let account = scene.engine.domain_facts(scene.first).unwrap().account;
    let prepaid = account.limit - 6000;
    let one_page = |share: u64| {
        let free = share * 2 * POOL_PAGES;
        let mut scene = Scene::with_limit(account.used - prepaid + free);
        let claim = scene.engine.claim(scene.first, POOL, pages(1), [1, 2]);
        claim.map(|claim| scene.engine.claim_facts(claim).unwrap().account.limit)
    };
    assert_eq!(one_page(1), Err(Error::Quota));
    assert_eq!(one_page(2), Ok(2));
}

#[test]
fn a_root_that_is_refused_changes_no_account() {
    let mut engine = Engine::new(Pages::new(), 1, COSTS).unwrap();
    let first = engine.first_domain();
    let before = engine.domain_facts(first);
    let root = engine.add_root(Resource::Memory, POOL, pages(1), Attributes::RIGHTS);
    assert_eq!(root, Err(Error::Quota));
    assert_eq!(engine.domain_facts(first), before);
}

#[test]
fn a_region_tells_its_claim_and_when_it_is_in_place() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let target = into(domain, PLACE);
    let carve = scene
        .engine
        .carve(claim, range(POOL + pages(4), 1), target, data());
    let carve = carve.unwrap();
    let region = node(carve);
    let facts = |scene: &Scene| scene.engine.region_facts(region).unwrap();
    assert!(!facts(&scene).in_place, "it is on its way");
    scene.finish(carve).unwrap();
    assert!(facts(&scene).in_place);
    assert_eq!(facts(&scene).claim, Some(claim));
    let pool = scene.engine.region_at(scene.first, POOL).unwrap();
    assert_eq!(pool.claim, None, "domain 0's own is in no claim");
    assert_eq!(scene.engine.claim_of(domain), Some(claim));
    assert_eq!(scene.engine.claim_of(scene.first), None);
}

#[test]
fn only_the_claim_of_a_domain_tells_of_it() {
    let mut scene = Scene::new();
    let (claim, other) = (scene.claim(POOL, 16), scene.claim(POOL + pages(16), 16));
    let domain = scene.domain(claim, POOL, confidential());
    assert!(scene.engine.descends_from(domain, claim));
    assert!(!scene.engine.descends_from(domain, other));
    let subject = domain.word();
    let ask = |place| {
        let engine = &scene.engine;
        engine.enumerate(scene.first, place, Topic::Account, subject, 0)
    };
    assert!(ask(POOL).is_ok());
    assert_eq!(ask(POOL + pages(16)), Err(Error::NotFound));
}
