//! Offers: what the acceptor must say, and that nothing happens before.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::record::Topic;
use adyton_abi::region::Attributes;
use adyton_capability::derive::Source;
use adyton_capability::grant::{ANY_PLACE, Expected};
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::operation::{Grant, Operation};

use crate::support::POOLS;
use crate::support::scene::{Scene, confidential, data, into, node, pages, range};

const POOL: u64 = POOLS[0];
const PLACE: u64 = 0x40_0000;

/// A sealed confidential domain, and a region of two pages that belongs to nobody.
fn scene() -> (Scene, ClaimId, DomainId, NodeId) {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    scene.carve(claim, range(POOL + pages(2), 1), into(domain, 0), data());
    scene.seal(claim, domain);
    let region = scene.carve(claim, range(POOL + pages(4), 2), None, data());
    (scene, claim, domain, region)
}

fn expected() -> Expected {
    Expected {
        place: PLACE,
        size: pages(2),
        attributes: data() | Attributes::CLEAN,
    }
}

#[test]
fn a_sealed_domain_gets_nothing_without_its_call() {
    let (mut scene, claim, domain, region) = scene();
    let before = scene.machine.mapped.clone();
    let epoch = scene.engine.domain_facts(domain).unwrap().epoch;
    let late = range(POOL + pages(8), 1);
    let direct = scene
        .engine
        .carve(claim, late, into(domain, 0x80_0000), data());
    assert_eq!(direct, Err(Error::WrongState));
    let grant = scene.engine.grant(claim, region, domain, PLACE);
    assert_eq!(grant, Ok(Grant::Offered));
    assert_eq!(scene.machine.mapped, before);
    assert_eq!(scene.engine.domain_facts(domain).unwrap().epoch, epoch);
    let by_composer = scene.engine.accept(domain, Some(claim), region, expected());
    assert_eq!(by_composer, Err(Error::WrongState));
    let accept = scene.engine.accept(domain, None, region, expected());
    scene.finish(accept.unwrap()).unwrap();
    assert_eq!(scene.engine.domain_facts(domain).unwrap().epoch, epoch + 1);
    assert!(
        scene
            .machine
            .mapped
            .contains_key(&(domain, PLACE + PAGE_SIZE))
    );
}

#[test]
fn everything_must_be_as_expected() {
    let (mut scene, claim, domain, region) = scene();
    scene.engine.grant(claim, region, domain, PLACE).unwrap();
    let mut accept = |change: fn(&mut Expected)| {
        let mut expected = expected();
        change(&mut expected);
        scene.engine.accept(domain, None, region, expected).err()
    };
    assert_eq!(accept(|e| e.size = pages(1)), Some(Error::Mismatch));
    assert_eq!(accept(|e| e.place = 0), Some(Error::Mismatch));
    assert_eq!(accept(|e| e.attributes = data()), Some(Error::Mismatch));
    assert_eq!(accept(|_| ()), None);
    let first = scene.first;
    let stranger = scene.engine.accept(first, None, region, expected());
    assert_eq!(stranger, Err(Error::NotFound));
}

#[test]
fn the_acceptor_may_be_left_the_place() {
    let (mut scene, claim, domain, region) = scene();
    scene
        .engine
        .grant(claim, region, domain, ANY_PLACE)
        .unwrap();
    let at = |place| Expected {
        place,
        ..expected()
    };
    let occupied = scene.engine.accept(domain, None, region, at(0));
    assert_eq!(occupied, Err(Error::Occupied));
    let nowhere = scene.engine.accept(domain, None, region, at(ANY_PLACE));
    assert_eq!(nowhere, Err(Error::Alignment));
    scene
        .engine
        .accept(domain, None, region, at(0x9000))
        .unwrap();
}

#[test]
fn an_offer_is_listed_until_it_is_withdrawn() {
    let (mut scene, claim, domain, region) = scene();
    scene.engine.grant(claim, region, domain, PLACE).unwrap();
    let listing = |scene: &Scene| {
        let listing = scene.engine.enumerate(domain, 0, Topic::Offers, 0, 0);
        listing.unwrap().record
    };
    let giver = scene.first.word();
    let attributes = expected().attributes.word();
    let record = [region.word(), pages(2), attributes, giver, PLACE, 0];
    assert_eq!(listing(&scene), Some(record));
    let second = scene.engine.grant(claim, region, domain, PLACE);
    assert_eq!(second, Err(Error::WrongState));
    let source = Source::Region {
        region,
        offset: 0,
        size: pages(1),
    };
    let derived = scene.engine.share(claim, source, None, data());
    assert_eq!(derived, Err(Error::WrongState));
    let revoke = scene.engine.revoke(claim, region).unwrap();
    scene.finish(revoke).unwrap();
    assert_eq!(listing(&scene), None);
    let late = scene.engine.accept(domain, None, region, expected());
    assert_eq!(late, Err(Error::NotFound));
}

#[test]
fn what_is_vital_or_measured_is_not_offered() {
    let (mut scene, claim, domain, _) = scene();
    for attribute in [Attributes::VITAL, Attributes::MEASURED] {
        let source = range(POOL + pages(8), 1);
        let region = scene.carve(claim, source, None, data() | attribute);
        let offer = scene.engine.grant(claim, region, domain, PLACE);
        assert_eq!(offer, Err(Error::Rights));
        let revoke = scene.engine.revoke(claim, region).unwrap();
        scene.finish(revoke).unwrap();
    }
}

#[test]
fn a_domain_that_dies_leaves_its_offers_to_the_giver() {
    let (mut scene, claim, domain, region) = scene();
    scene.engine.grant(claim, region, domain, PLACE).unwrap();
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    scene.finish(destroy).unwrap();
    let facts = scene.engine.region_facts(region).unwrap();
    assert_eq!((facts.owner, facts.offered_to), (None, None));
    assert!(facts.in_place);
}

#[test]
fn an_offer_that_is_being_withdrawn_is_not_accepted() {
    let (mut scene, claim, domain, region) = scene();
    scene.engine.grant(claim, region, domain, PLACE).unwrap();
    let revoke = scene.engine.revoke(claim, region).unwrap();
    let accept = scene.engine.accept(domain, None, region, expected());
    assert_eq!(accept, Err(Error::Dead));
    scene.finish(revoke).unwrap();
}

/// What a domain has already, or has nobody offered, is no offer.
#[test]
fn only_offers_are_accepted() {
    let (mut scene, claim, domain, region) = scene();
    let own = scene.engine.region_at(domain, 0).unwrap();
    let had = Expected {
        place: own.place,
        size: own.size,
        attributes: own.attributes,
    };
    let again = scene.engine.accept(domain, None, own.id, had);
    assert_eq!(again, Err(Error::NotFound));
    let unoffered = scene.engine.accept(domain, None, region, expected());
    assert_eq!(unoffered, Err(Error::NotFound));
    let other = scene.domain(claim, POOL + pages(8), confidential());
    let source = range(POOL + pages(10), 1);
    let carve = scene
        .engine
        .carve(claim, source, into(other, PLACE), data());
    // On its way into another domain.
    let coming = node(carve.unwrap());
    for _ in 0..20 {
        let theirs = scene.engine.accept(domain, None, coming, expected());
        assert_eq!(theirs, Err(Error::NotFound));
        scene.step(Operation::Place(coming));
    }
}
