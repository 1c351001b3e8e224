//! Every refusal, and that it changes nothing.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_capability::derive::Source;
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::node::Entry;
use adyton_capability::operation::{Begin, Operation, Pending};

use crate::support::scene::{Scene, confidential, data, into, node, pages, policy, range};
use crate::support::{PLAIN, POOL_PAGES, POOLS};

const POOL: u64 = POOLS[0];

#[test]
fn claims_lie_in_one_free_range_of_pool() {
    let mut scene = Scene::new();
    let first = scene.first;
    let mut claim = |place, size| scene.engine.claim(first, place, size, [0, 0]).err();
    assert_eq!(claim(POOL + 1, pages(1)), Some(Error::Alignment));
    assert_eq!(claim(POOL, 0), Some(Error::Invalid));
    assert_eq!(
        claim(0u64.wrapping_sub(PAGE_SIZE), pages(2)),
        Some(Error::Invalid)
    );
    assert_eq!(claim(PLAIN, pages(1)), Some(Error::NotPool));
    assert_eq!(claim(POOL, pages(POOL_PAGES + 1)), Some(Error::NotPool));
    assert_eq!(claim(POOL, pages(4)), None);
    assert_eq!(claim(POOL + pages(3), pages(4)), Some(Error::Overlap));
    let nobody = DomainId::from_word(12345);
    let dead = scene.engine.claim(nobody, POOL, pages(1), [0, 0]);
    assert_eq!(dead, Err(Error::Dead));
}

#[test]
fn a_claim_that_gets_too_little_is_refused() {
    let mut scene = Scene::with_limit(60);
    let first = scene.first;
    let refused = scene.engine.claim(first, POOL, pages(1), [0, 0]);
    assert_eq!(refused, Err(Error::Quota));
}

#[test]
fn a_store_without_pages_refuses_and_loses_nothing() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 8);
    let before = scene.engine.claim_facts(claim);
    for left in 0..2 {
        scene.engine.store_mut().left = Some(left);
        let first = scene.first;
        let refused = scene.engine.claim(first, POOLS[1], pages(8), [0, 0]);
        assert_eq!(refused, Err(Error::Exhausted));
        scene.engine.check_invariants().unwrap();
    }
    scene.engine.store_mut().left = Some(0);
    let refused = scene.engine.create(claim, POOL, confidential(), 10);
    assert_eq!(refused, Err(Error::Exhausted));
    scene.engine.check_invariants().unwrap();
    assert_eq!(scene.engine.claim_facts(claim), before);
}

#[test]
fn keys_are_compared_whole() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 8);
    assert_eq!(scene.engine.check_key(claim, [1, 2]), Ok(()));
    assert_eq!(scene.engine.check_key(claim, [1, 3]), Err(Error::BadKey));
    assert_eq!(scene.engine.check_key(claim, [3, 2]), Err(Error::BadKey));
    let nothing = ClaimId::from_word(claim.word() + (1 << 24));
    assert_eq!(
        scene.engine.check_key(nothing, [1, 2]),
        Err(Error::NotFound)
    );
}

#[test]
fn a_claim_has_one_unfinished_operation() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 8);
    let carve = scene
        .engine
        .carve(claim, range(POOL, 2), None, data())
        .unwrap();
    let arguments = [5; 10];
    assert_eq!(scene.engine.begin(claim, 7, &arguments), Ok(Begin::New));
    scene.engine.set_pending(
        claim,
        Pending {
            arguments,
            token: 7,
            operation: carve,
        },
    );
    let again = scene.engine.begin(claim, 7, &arguments);
    assert_eq!(again, Ok(Begin::Continue(carve)));
    assert_eq!(scene.engine.begin(claim, 8, &arguments), Ok(Begin::Busy));
    assert_eq!(scene.engine.begin(claim, 7, &[6; 10]), Ok(Begin::Busy));
    assert_eq!(scene.engine.pending(claim), Some(carve));
    scene.finish(carve).unwrap();
    scene.engine.clear_pending(claim);
    assert_eq!(scene.engine.begin(claim, 8, &arguments), Ok(Begin::New));
}

#[test]
fn domains_need_a_free_page_of_the_claim_and_their_costs() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 8);
    let limit = scene.engine.claim_facts(claim).unwrap().account.limit;
    let mut create = |base, quota| {
        scene
            .engine
            .create(claim, base, confidential(), quota)
            .err()
    };
    assert_eq!(create(POOL + 8, 10), Some(Error::Alignment));
    assert_eq!(create(POOL + pages(8), 10), Some(Error::Invalid));
    assert_eq!(create(POOL, 3), Some(Error::Quota));
    assert_eq!(create(POOL, limit), Some(Error::Quota));
    assert_eq!(create(POOL, u64::MAX), Some(Error::Quota));
    assert_eq!(create(POOL, 4), None);
    assert_eq!(create(POOL, 4), Some(Error::Overlap));
}

#[test]
fn vcpus_are_added_before_seal_and_paid() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 8);
    let entry = Entry::default();
    let poor = scene.engine.create(claim, POOL, confidential(), 4).unwrap();
    let refused = scene.engine.add_vcpu(claim, poor, POOL + pages(1), entry);
    assert_eq!(refused, Err(Error::Quota));
    let domain = scene.domain(claim, POOL + pages(2), confidential());
    let taken = scene.engine.add_vcpu(claim, domain, POOL, entry);
    assert_eq!(taken, Err(Error::Overlap));
    scene.seal(claim, domain);
    let late = scene.engine.add_vcpu(claim, domain, POOL + pages(5), entry);
    assert_eq!(late, Err(Error::WrongState));
    let stranger = scene.claim(POOL + pages(8), 8);
    let foreign = scene
        .engine
        .add_vcpu(stranger, domain, POOL + pages(9), entry);
    assert_eq!(foreign, Err(Error::NotFound));
}

#[test]
fn derivation_refuses_what_overlaps_or_exceeds() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    scene.share(
        claim,
        range(POOL + pages(4), 2),
        into(domain, 0x10_0000),
        data(),
    );
    let mut carve = |source, place, attributes| {
        let derived = scene
            .engine
            .carve(claim, source, into(domain, place), attributes);
        derived.err()
    };
    assert_eq!(carve(range(POOL, 4), 0, data()), Some(Error::Overlap));
    assert_eq!(
        carve(range(POOL + pages(4), 1), 0, data()),
        Some(Error::Overlap)
    );
    assert_eq!(
        carve(range(POOL + pages(15), 2), 0, data()),
        Some(Error::Invalid)
    );
    let free = range(POOL + pages(8), 2);
    assert_eq!(carve(free, 8, data()), Some(Error::Alignment));
    assert_eq!(carve(free, 1 << 48, data()), Some(Error::Invalid));
    assert_eq!(carve(free, 0x10_1000, data()), Some(Error::Occupied));
    assert_eq!(carve(free, 0, Attributes::NONE), Some(Error::Invalid));
    let unwritable = Attributes::READ | Attributes::POOL;
    assert_eq!(carve(free, 0, unwritable), Some(Error::Rights));
    assert_eq!(carve(free, 0, data()), None);
    let on_carve = scene.engine.share(claim, free, None, data());
    assert_eq!(on_carve, Err(Error::Overlap));
    let again = scene
        .engine
        .share(claim, range(POOL + pages(5), 2), None, data());
    assert!(again.is_ok(), "shares may overlap");
}

#[test]
fn rights_and_attributes_never_grow() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let read = scene.carve(claim, range(POOL, 4), None, Attributes::READ);
    let whole = Source::Region {
        region: read,
        offset: 0,
        size: pages(4),
    };
    let more = scene.engine.share(claim, whole, None, data());
    assert_eq!(more, Err(Error::Rights));
    let shared = scene.share(claim, range(POOL + pages(4), 4), None, data());
    let of_shared = Source::Region {
        region: shared,
        offset: 0,
        size: pages(1),
    };
    let carve = scene.engine.carve(claim, of_shared, None, data());
    assert_eq!(carve, Err(Error::Rights));
    for attribute in [Attributes::POOL, Attributes::MEASURED, Attributes::CLEAN] {
        let source = range(POOL + pages(8), 1);
        let share = scene.engine.share(claim, source, None, data() | attribute);
        assert_eq!(share, Err(Error::Rights));
    }
}

#[test]
fn what_has_an_owner_is_not_derived_from_nor_granted() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let owned = scene.carve(claim, range(POOL + pages(4), 2), into(domain, 0), data());
    let source = Source::Region {
        region: owned,
        offset: 0,
        size: pages(1),
    };
    let derived = scene.engine.share(claim, source, None, data());
    assert_eq!(derived, Err(Error::WrongState));
    let granted = scene.engine.grant(claim, owned, domain, 0x10_0000);
    assert_eq!(granted, Err(Error::WrongState));
    let unowned = scene.carve(claim, range(POOL + pages(6), 2), None, data());
    let part = Source::Region {
        region: unowned,
        offset: pages(1),
        size: pages(1),
    };
    let beyond = Source::Region {
        region: unowned,
        offset: pages(1),
        size: pages(2),
    };
    assert_eq!(
        scene.engine.share(claim, beyond, None, data()),
        Err(Error::Invalid)
    );
    scene.share(claim, part, into(domain, 0x10_0000), data());
    let granted = scene.engine.grant(claim, unowned, domain, 0x20_0000);
    assert_eq!(granted, Err(Error::WrongState));
}

#[test]
fn nothing_is_derived_below_a_closed_region() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let unowned = scene.carve(claim, range(POOL, 4), None, data());
    let part = Source::Region {
        region: unowned,
        offset: 0,
        size: pages(2),
    };
    let share = scene.share(claim, part, None, data());
    scene.engine.close(claim, unowned).unwrap();
    assert_eq!(
        scene.engine.share(claim, part, None, data()),
        Err(Error::Closed)
    );
    let below = Source::Region {
        region: share,
        offset: 0,
        size: pages(1),
    };
    assert_eq!(
        scene.engine.share(claim, below, None, data()),
        Err(Error::Closed)
    );
    let nothing = NodeId::from_word(99);
    assert_eq!(scene.engine.close(claim, nothing), Err(Error::NotFound));
}

#[test]
fn what_is_on_its_way_is_busy_and_what_dies_is_dead() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let carve = scene
        .engine
        .carve(claim, range(POOL, 4), None, data())
        .unwrap();
    let part = Source::Region {
        region: node(carve),
        offset: 0,
        size: pages(1),
    };
    assert_eq!(
        scene.engine.share(claim, part, None, data()),
        Err(Error::Busy)
    );
    scene.finish(carve).unwrap();
    let revoke = scene.engine.revoke(claim, node(carve)).unwrap();
    assert_eq!(
        scene.engine.share(claim, part, None, data()),
        Err(Error::Dead)
    );
    let first = scene.first;
    assert_eq!(
        scene.engine.grant(claim, node(carve), first, 0),
        Err(Error::Dead)
    );
    let release = scene.engine.release(claim).unwrap();
    let late = scene
        .engine
        .carve(claim, range(POOL + pages(8), 1), None, data());
    assert_eq!(late, Err(Error::Dead));
    scene.finish(release).unwrap();
    assert_eq!(scene.finish(revoke), Ok(0), "the release has done it");
    assert_eq!(scene.finish(carve), Err(Error::Dead));
    assert_eq!(scene.engine.release(claim), Err(Error::NotFound));
    let gone = scene.engine.revoke(claim, node(carve));
    assert_eq!(gone, Err(Error::NotFound));
}

#[test]
fn pins_are_not_revoked_as_regions() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let Operation::Revoke(control) = scene.engine.destroy(claim, domain).unwrap() else {
        panic!("destroy revokes the control page");
    };
    assert_eq!(scene.engine.revoke(claim, control), Err(Error::NotFound));
    let first = scene.first;
    assert_eq!(scene.engine.destroy(claim, first), Err(Error::NotFound));
}

/// A sealed domain with a pool of eight pages at 0x8000 and these flags.
fn composer(scene: &mut Scene, flags: Flags) -> (ClaimId, DomainId) {
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, policy(flags));
    let pool = data() | Attributes::POOL;
    scene.carve(claim, range(POOL + pages(8), 8), into(domain, 0x8000), pool);
    scene.seal(claim, domain);
    (claim, domain)
}

#[test]
fn each_call_needs_its_flag() {
    let mut scene = Scene::new();
    let (_, domain) = composer(&mut scene, Flags::NONE);
    let refused = scene.engine.claim(domain, 0x8000, pages(4), [0, 0]);
    assert_eq!(refused, Err(Error::Policy));

    let mut scene = Scene::new();
    let (_, domain) = composer(&mut scene, Flags::MAY_CREATE);
    let claim = scene
        .engine
        .claim(domain, 0x8000, pages(8), [0, 0])
        .unwrap();
    let base = POOL + pages(8);
    let grown = scene
        .engine
        .create(claim, base, policy(Flags::MAY_CARVE), 5);
    assert_eq!(
        grown,
        Err(Error::Policy),
        "a child may not do more than its creator"
    );
    let child = scene
        .engine
        .create(claim, base, confidential_only(), 8)
        .unwrap();
    let carve = scene
        .engine
        .carve(claim, range(base + pages(1), 1), None, data());
    assert_eq!(carve, Err(Error::Policy));
    let share = scene
        .engine
        .share(claim, range(base + pages(1), 1), None, data());
    assert_eq!(share, Err(Error::Policy));
    let cores = scene.engine.derive_cores(claim, child, 0, 1);
    assert_eq!(cores, Err(Error::Policy));
    let grant = scene.engine.grant(claim, NodeId::from_word(9), child, 0);
    assert_eq!(grant, Err(Error::Policy));
    let expected = adyton_capability::grant::Expected {
        place: 0,
        size: pages(1),
        attributes: data(),
    };
    let accept = scene
        .engine
        .accept(domain, None, NodeId::from_word(9), expected);
    assert_eq!(accept, Err(Error::Policy));
}

fn confidential_only() -> adyton_abi::policy::Policy {
    policy(Flags::CONFIDENTIAL)
}

#[test]
fn cores_come_out_of_the_owners() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let mut cores = |first, count| scene.engine.derive_cores(claim, domain, first, count);
    assert_eq!(cores(0, 0), Err(Error::Invalid));
    assert_eq!(cores(u64::MAX, 2), Err(Error::Invalid));
    assert_eq!(cores(2, 3), Err(Error::Rights));
    let operation = cores(1, 2).unwrap();
    assert_eq!(cores(2, 1), Err(Error::Occupied));
    assert!(
        !scene.engine.may_run_on(domain, 1),
        "not before it is in place"
    );
    scene.finish(operation).unwrap();
    assert!(scene.engine.may_run_on(domain, 1));
    assert!(!scene.engine.may_run_on(domain, 3));
    let revoke = scene.engine.revoke(claim, node(operation)).unwrap();
    assert!(!scene.engine.may_run_on(domain, 1));
    scene.finish(revoke).unwrap();
    assert!(scene.machine.cores.is_empty());
}

#[test]
fn the_line_of_derivation_has_an_end() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let mut region = scene.share(claim, range(POOL, 1), None, data());
    let end = loop {
        let source = Source::Region {
            region,
            offset: 0,
            size: pages(1),
        };
        match scene.engine.share(claim, source, None, data()) {
            Ok(operation) => region = node(operation),
            Err(error) => break error,
        }
    };
    assert_eq!(end, Error::Exhausted);
    let release = scene.engine.release(claim).unwrap();
    scene.finish(release).unwrap();
    assert_eq!(scene.engine.claim_facts(claim), None);
}
