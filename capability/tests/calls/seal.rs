//! Measurement: what is in it, and what happens when something goes away meanwhile.

use adyton_abi::error::Error;
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;
use adyton_capability::effect::Effect;
use adyton_capability::measure;
use adyton_capability::operation::Progress;

use crate::support::POOLS;
use crate::support::machine::Stream;
use crate::support::scene::{Scene, confidential, data, into, pages, range};

const POOL: u64 = POOLS[0];

fn composed() -> (
    Scene,
    adyton_capability::identity::ClaimId,
    adyton_capability::identity::DomainId,
    adyton_capability::identity::NodeId,
) {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let measured = data() | Attributes::MEASURED;
    scene.carve(
        claim,
        range(POOL + pages(4), 2),
        into(domain, 0x9000),
        measured,
    );
    scene.share(
        claim,
        range(POOL + pages(6), 1),
        into(domain, 0x5000),
        data(),
    );
    let third = range(POOL + pages(8), 1);
    let last = scene.carve(claim, third, into(domain, 0x40_0000), data());
    (scene, claim, domain, last)
}

#[test]
fn the_stream_is_header_vcpus_regions_by_place() {
    let (mut scene, claim, domain, _) = composed();
    let seal = scene.engine.seal(claim, domain).unwrap();
    let effects = scene.effects(seal);
    let clean = data() | Attributes::CLEAN;
    let mut stream = Stream::new();
    stream.put(&measure::header(confidential(), 1, 3));
    stream.put(&measure::vcpu(0, Default::default()));
    stream.put(&measure::region(0x5000, pages(1), data(), false));
    stream.put(&measure::region(
        0x9000,
        pages(2),
        clean | Attributes::MEASURED,
        true,
    ));
    stream.put_page(POOL + pages(4));
    stream.put_page(POOL + pages(5));
    stream.put(&measure::region(0x40_0000, pages(1), clean, true));
    let facts = scene.engine.domain_facts(domain).unwrap();
    assert_eq!(facts.measurement, stream.digest());
    assert_eq!(facts.state, DomainState::Sealed);
    assert_eq!(effects[0], Effect::MeasureBegin { domain });
    assert!(scene.engine.is_sealed(domain));
    let again = scene.engine.seal(claim, domain);
    assert_eq!(again, Err(Error::WrongState));
}

#[test]
fn a_domain_without_a_vcpu_is_not_sealed() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene
        .engine
        .create(claim, POOL, confidential(), 50)
        .unwrap();
    assert_eq!(scene.engine.seal(claim, domain), Err(Error::WrongState));
}

#[test]
fn nothing_is_added_while_it_is_measured() {
    let (mut scene, claim, domain, _) = composed();
    let seal = scene.engine.seal(claim, domain).unwrap();
    assert_eq!(scene.step(seal), Progress::Again);
    let source = range(POOL + pages(10), 1);
    let carve = scene
        .engine
        .carve(claim, source, into(domain, 0x80_0000), data());
    assert_eq!(carve, Err(Error::WrongState));
    assert_eq!(scene.engine.seal(claim, domain), Err(Error::WrongState));
    assert_eq!(scene.finish(seal), Ok(0));
}

#[test]
fn what_goes_away_meanwhile_is_not_measured() {
    // The region goes after each number of steps; the measurement is that of what is left.
    let (mut scene, claim, domain, last) = composed();
    let revoke = scene.engine.revoke(claim, last).unwrap();
    scene.finish(revoke).unwrap();
    scene.seal(claim, domain);
    let without = scene.engine.domain_facts(domain).unwrap().measurement;
    for steps in 0..7 {
        let (mut scene, claim, domain, last) = composed();
        let seal = scene.engine.seal(claim, domain).unwrap();
        for _ in 0..steps {
            assert_eq!(scene.step(seal), Progress::Again);
        }
        let revoke = scene.engine.revoke(claim, last).unwrap();
        scene.finish(revoke).unwrap();
        assert_eq!(scene.finish(seal), Ok(0));
        let facts = scene.engine.domain_facts(domain).unwrap();
        assert_eq!(facts.measurement, without, "after {steps} steps");
    }
}

#[test]
fn what_is_going_away_makes_seal_fail_and_composing_go_on() {
    let (mut scene, claim, domain, last) = composed();
    let revoke = scene.engine.revoke(claim, last).unwrap();
    let seal = scene.engine.seal(claim, domain).unwrap();
    assert_eq!(scene.finish(seal), Err(Error::Busy));
    let state = scene.engine.domain_facts(domain).unwrap().state;
    assert_eq!(state, DomainState::Building);
    scene.finish(revoke).unwrap();
    scene.seal(claim, domain);
}

#[test]
fn a_domain_that_dies_while_it_is_measured_is_dead() {
    let (mut scene, claim, domain, _) = composed();
    let seal = scene.engine.seal(claim, domain).unwrap();
    let _ = scene.step(seal);
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    assert_eq!(scene.finish(seal), Err(Error::Dead));
    scene.finish(destroy).unwrap();
    assert_eq!(scene.finish(seal), Err(Error::Dead));
}
