//! Who pays what, and that it all comes back.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::node::{NodePage, Resource};

use crate::support::pages::Pages;
use crate::support::scene::{Scene, confidential, data, into, node, pages, range};
use crate::support::{COSTS, PLAIN, POOL_PAGES, POOLS, all_rights};

const POOL: u64 = POOLS[0];

fn used(scene: &Scene, domain: adyton_capability::identity::DomainId) -> u64 {
    scene.engine.domain_facts(domain).unwrap().account.used
}

#[test]
fn each_table_is_charged_once() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 32);
    let domain = scene.domain(claim, POOL, confidential());
    let fixed = 1 + COSTS.domain + COSTS.vcpu;
    assert_eq!(used(&scene, domain), fixed);
    // Place, pages, tables afterwards.
    let placements = [
        (0x1f_f000, 1, 3),
        // The next 2 MiB begin exactly where the region before ends.
        (0x20_0000, 1, 4),
        (0x0, 1, 4),
        // Across a 1 GiB boundary: two more of the lowest, one more of the middle.
        (0x3fff_f000, 2, 7),
        // Far away: one of each.
        (0x80_0000_0000, 1, 10),
    ];
    let mut regions = Vec::new();
    let mut base = POOL + pages(4);
    let mut counts = vec![0];
    for (place, count, tables) in placements {
        regions.push(scene.carve(claim, range(base, count), into(domain, place), data()));
        base += pages(count);
        assert_eq!(used(&scene, domain), fixed + tables);
        counts.push(tables);
    }
    counts.pop();
    while let (Some(region), Some(tables)) = (regions.pop(), counts.pop()) {
        let revoke = scene.engine.revoke(claim, region).unwrap();
        scene.finish(revoke).unwrap();
        assert_eq!(used(&scene, domain), fixed + tables);
    }
}

#[test]
fn a_domain_without_pages_for_tables_gets_no_more() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let quota = 1 + COSTS.domain + 4;
    let domain = scene
        .engine
        .create(claim, POOL, confidential(), quota)
        .unwrap();
    scene.carve(claim, range(POOL + pages(4), 1), into(domain, 0), data());
    let second = range(POOL + pages(5), 1);
    let far = scene
        .engine
        .carve(claim, second, into(domain, 0x80_0000_0000), data());
    assert_eq!(far, Err(Error::Quota));
    scene.carve(claim, second, into(domain, 0x20_0000), data());
    let third = range(POOL + pages(6), 1);
    let more = scene
        .engine
        .carve(claim, third, into(domain, 0x40_0000), data());
    assert_eq!(more, Err(Error::Quota));
    scene.carve(claim, third, into(domain, PAGE_SIZE), data());
}

#[test]
fn nodes_are_paid_by_the_page_and_paid_back() {
    let mut scene = Scene::with_limit(200);
    let claim = scene.claim(POOL, POOL_PAGES);
    let account = |scene: &Scene| scene.engine.claim_facts(claim).unwrap().account;
    assert_eq!(account(&scene).used, 2);
    let limit = account(&scene).limit;
    let mut regions = Vec::new();
    let error = loop {
        match scene.engine.share(claim, range(POOL, 1), None, data()) {
            Ok(share) => regions.push(node(share)),
            Err(error) => break error,
        }
        if regions.len() > 100_000 {
            panic!("no limit");
        }
    };
    assert_eq!(error, Error::Quota);
    assert_eq!(account(&scene).used, limit);
    let slots = NodePage::SLOTS as u64;
    assert_eq!(regions.len() as u64 + 1, (limit - 1) * slots);
    scene.engine.check_invariants().unwrap();
    let taken = scene.engine.store().taken();
    let mut budget = 0;
    for region in regions {
        let revoke = scene.engine.revoke(claim, region).unwrap();
        while scene.step(revoke) == adyton_capability::operation::Progress::Again {
            budget += 1;
        }
    }
    assert!(budget > 0);
    assert_eq!(account(&scene).used, 2);
    assert_eq!(
        scene.engine.store().taken() as u64,
        taken as u64 - (limit - 2)
    );
    scene.engine.check_invariants().unwrap();
}

#[test]
fn everything_comes_back() {
    let mut scene = Scene::new();
    let first = scene.first;
    let before = scene.engine.domain_facts(first).unwrap();
    let taken = scene.engine.store().taken();
    let claim = scene.claim(POOL, POOL_PAGES);
    for index in 0..3 {
        let control = POOL + pages(index * 8);
        let domain = scene.domain(claim, control, confidential());
        let source = range(control + pages(2), 4);
        scene.carve(claim, source, into(domain, index << 32), data());
        scene.seal(claim, domain);
    }
    let release = scene.engine.release(claim).unwrap();
    scene.finish(release).unwrap();
    assert_eq!(scene.engine.domain_facts(first), Some(before));
    assert_eq!(scene.engine.store().taken(), taken);
}

/// Tables of what is no pool are prepaid, of pool they are not; what cannot be added changes no limit.
#[test]
fn only_tables_of_pool_are_charged_to_the_limit() {
    const LIMIT: u64 = 1000;
    const TABLES: u64 = 3;
    let account = |engine: &Engine<Pages>| {
        let facts = engine.domain_facts(engine.first_domain()).unwrap();
        (facts.account.limit, facts.account.used)
    };
    let room = |left| {
        let mut store = Pages::new();
        store.left = left;
        Engine::new(store, LIMIT, COSTS).unwrap()
    };
    let add = |engine: &mut Engine<Pages>, base, attributes| {
        engine.add_root(Resource::Memory, base, PAGE_SIZE, attributes)
    };
    let pool = all_rights() | Attributes::POOL;
    for attributes in [all_rights(), pool] {
        let mut full = room(Some(1));
        let before = account(&full);
        assert_eq!(add(&mut full, PLAIN, attributes), Err(Error::Exhausted));
        assert_eq!(account(&full), before);
    }
    let mut engine = room(None);
    let (_, used) = account(&engine);
    // The first brings the page for nodes.
    add(&mut engine, PLAIN, all_rights()).unwrap();
    assert_eq!(account(&engine), (LIMIT + TABLES, used + 1 + TABLES));
    add(&mut engine, 1 << 40, pool).unwrap();
    assert_eq!(account(&engine), (LIMIT + TABLES, used + 1 + 2 * TABLES));
}
