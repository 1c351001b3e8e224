//! What a domain reaches by what the engine says, part by part.

use adyton_abi::region::Attributes;
use adyton_capability::identity::DomainId;
use adyton_capability::reach::Reach;

use crate::support::scene::{Scene, confidential, data, into, node, pages, range};
use crate::support::{POOL_PAGES, POOLS, all_rights};

const POOL: u64 = POOLS[0];
const PLACE: u64 = 0x4000_0000;

/// Place, pages from the pool's beginning, pages, rights, whether it is settled; of what lies in the first pool.
type Part = (u64, u64, u64, Attributes, bool);

fn reach(scene: &Scene, domain: DomainId) -> Vec<Part> {
    let mut parts = Vec::new();
    scene.engine.for_each_reach(domain, |part: Reach| {
        if (POOL..POOL + pages(POOL_PAGES)).contains(&part.base) {
            let from = (part.base - POOL) / pages(1);
            let count = part.size / pages(1);
            parts.push((part.place, from, count, part.rights, part.settled));
        }
    });
    parts
}

#[test]
fn what_is_carved_is_out_of_reach_and_what_is_shared_is_not() {
    let mut scene = Scene::new();
    let first = scene.first;
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let share = range(POOL + pages(8), 1);
    scene.share(claim, share, into(domain, PLACE + pages(2)), data());
    let target = into(domain, PLACE);
    let carve = scene
        .engine
        .carve(claim, range(POOL + pages(4), 2), target, data());
    let carve = carve.unwrap();
    let shared = (PLACE + pages(2), 8, 1, data(), true);
    let own = |settled| (PLACE, 4, 2, data(), settled);
    let owner = |settled| {
        [
            (POOL, 0, 4, all_rights(), true),
            (POOL + pages(4), 4, 2, Attributes::NONE, settled),
            (POOL + pages(6), 6, POOL_PAGES - 6, all_rights(), true),
        ]
    };
    assert_eq!(reach(&scene, domain), [own(false), shared]);
    assert_eq!(reach(&scene, first), owner(false));
    scene.finish(carve).unwrap();
    assert_eq!(reach(&scene, domain), [own(true), shared]);
    assert_eq!(reach(&scene, first), owner(true));
    let revoke = scene.engine.revoke(claim, node(carve)).unwrap();
    scene.finish(revoke).unwrap();
    assert_eq!(reach(&scene, domain), [shared]);
    let whole = (POOL, 0, POOL_PAGES, all_rights(), true);
    assert_eq!(reach(&scene, first), [whole]);
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    scene.finish(destroy).unwrap();
    assert_eq!(reach(&scene, domain), [], "of what is gone nothing is told");
}

#[test]
fn places_are_the_domains_own() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 32);
    let outer = scene.domain(claim, POOL, confidential());
    let source = range(POOL + pages(8), 8);
    let pool = data() | Attributes::POOL;
    scene.carve(claim, source, into(outer, PLACE), pool);
    scene.seal(claim, outer);
    let inner_claim = scene.engine.claim(outer, PLACE, pages(8), [3, 4]);
    let inner_claim = inner_claim.unwrap();
    let control = POOL + pages(8);
    let inner = scene
        .engine
        .create(inner_claim, control, confidential(), 30)
        .unwrap();
    let source = range(POOL + pages(10), 1);
    scene.carve(inner_claim, source, into(inner, 0), data());
    let parts = [
        (PLACE, 8, 2, data(), true),
        (PLACE + pages(2), 10, 1, Attributes::NONE, true),
        (PLACE + pages(3), 11, 5, data(), true),
    ];
    assert_eq!(reach(&scene, outer), parts);
}

/// The last page of the space is a place like any other, and behind it there is none.
#[test]
fn the_space_has_an_end() {
    const END: u64 = 1 << 48;
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let two = range(POOL + pages(4), 2);
    let beyond = into(domain, END - pages(1));
    let refused = scene.engine.carve(claim, two, beyond, data());
    assert_eq!(refused, Err(adyton_abi::error::Error::Invalid));
    let last = into(domain, END - pages(2));
    scene.carve(claim, two, last, data());
    assert_eq!(
        reach(&scene, domain),
        [(END - pages(2), 4, 2, data(), true)]
    );
}

/// Pages of nodes are counted also where the first node of one is gone.
#[test]
fn nodes_go_in_any_order() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 48);
    let regions: Vec<_> = (0..46)
        .map(|page| scene.carve(claim, range(POOL + pages(page), 1), None, data()))
        .collect();
    for region in regions {
        let revoke = scene.engine.revoke(claim, region).unwrap();
        scene.finish(revoke).unwrap();
    }
}

#[test]
fn nothing_is_told_of_no_bytes() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, POOL_PAGES);
    let last = POOL_PAGES - 1;
    for page in [0, last] {
        scene.carve(claim, range(POOL + pages(page), 1), None, data());
    }
    let parts = [
        (POOL, 0, 1, Attributes::NONE, true),
        (POOL + pages(1), 1, last - 1, all_rights(), true),
        (POOL + pages(last), last, 1, Attributes::NONE, true),
    ];
    assert_eq!(reach(&scene, scene.first), parts);
}
