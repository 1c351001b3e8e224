//! Devices: given, handed on, taken back, each time reset in between.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;
use adyton_capability::derive::Target;
use adyton_capability::device::{self, SPAN};
use adyton_capability::effect::Effect;
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::operation::Operation;

use crate::support::POOLS;
use crate::support::scene::{Scene, confidential, data, into, node, pages, policy, range};

const PLACE: u64 = 0x10_0000;
const REGISTERS: u64 = 2 * PAGE_SIZE;

/// A scene, a claim, and a domain in it that is being composed. Devices have been reset once.
fn scene() -> (Scene, ClaimId, DomainId) {
    let mut scene = Scene::new();
    for function in 0..3 {
        let number = device::number(function);
        for base in (number..number + REGISTERS).step_by(PAGE_SIZE as usize) {
            scene
                .machine
                .mapped
                .insert((scene.first, base), (base, data()));
        }
    }
    let claim = scene.claim(POOLS[0], 32);
    let domain = scene.domain(claim, POOLS[0], confidential());
    (scene, claim, domain)
}

impl Scene {
    fn assign(&mut self, claim: ClaimId, function: u16, domain: DomainId) -> Result<NodeId, Error> {
        let target = Target {
            domain,
            place: PLACE,
        };
        let number = device::number(function);
        let operation = self
            .engine
            .assign(claim, number, REGISTERS, target, data())?;
        self.finish(operation)?;
        Ok(node(operation))
    }

    /// Who drives the function.
    fn drivers(&self, function: u16) -> Vec<DomainId> {
        let reach = self.machine.accessors(device::number(function));
        reach.into_iter().map(|(domain, _)| domain).collect()
    }
}

#[test]
fn a_device_is_reset_on_its_way_in_and_on_its_way_out() {
    let (mut scene, claim, domain) = scene();
    let (first, number) = (scene.first, device::number(1));
    let target = Target {
        domain,
        place: PLACE,
    };
    let operation = scene
        .engine
        .assign(claim, number, REGISTERS, target, data())
        .unwrap();
    let size = REGISTERS;
    let attached = |domain, place| Effect::Attach {
        domain,
        device: number,
        place,
        size,
    };
    let detached = |domain, place| Effect::Detach {
        domain,
        device: number,
        place,
        size,
    };
    let reset = Effect::Reset {
        device: number,
        size,
    };
    assert_eq!(
        scene.effects(operation),
        [
            detached(first, number),
            Effect::Flush { domain: first },
            reset,
            attached(domain, PLACE)
        ]
    );
    assert_eq!(scene.drivers(1), [domain]);
    let back = scene.engine.revoke(claim, node(operation)).unwrap();
    assert_eq!(
        scene.effects(back),
        [
            detached(domain, PLACE),
            Effect::Flush { domain },
            reset,
            attached(first, number)
        ]
    );
    assert_eq!(scene.drivers(1), [first]);
}

#[test]
fn a_device_is_one_domain_s_and_whole() {
    let (mut scene, claim, domain) = scene();
    scene.assign(claim, 0, domain).unwrap();
    let other = scene.domain(claim, POOLS[0] + pages(2), policy(Flags::MAY_COMPOSE));
    assert_eq!(scene.assign(claim, 0, other), Err(Error::Overlap));
    let mut ask = |place, size, at, attributes| {
        let target = Target {
            domain: other,
            place: at,
        };
        scene.engine.assign(claim, place, size, target, attributes)
    };
    let one = device::number(1);
    assert_eq!(
        ask(one + PAGE_SIZE, PAGE_SIZE, PLACE, data()),
        Err(Error::Invalid)
    );
    assert_eq!(
        ask(one, SPAN + PAGE_SIZE, PLACE, data()),
        Err(Error::Invalid)
    );
    assert_eq!(ask(one, 1, PLACE, data()), Err(Error::Alignment));
    assert_eq!(ask(one, 0, PLACE, data()), Err(Error::Invalid));
    assert_eq!(
        ask(device::number(3), PAGE_SIZE, PLACE, data()),
        Err(Error::NotFound)
    );
    assert_eq!(
        ask(POOLS[0], PAGE_SIZE, PLACE, data()),
        Err(Error::NotFound)
    );
    assert_eq!(
        ask(one, PAGE_SIZE, PLACE, Attributes::READ),
        Err(Error::Invalid)
    );
    for more in [Attributes::EXECUTE, Attributes::POOL, Attributes::MEASURED] {
        assert_eq!(
            ask(one, PAGE_SIZE, PLACE, data() | more),
            Err(Error::Rights)
        );
    }
    assert!(ask(one, PAGE_SIZE, PLACE, data() | Attributes::VITAL).is_ok());
    assert_eq!(
        ask(device::number(2), PAGE_SIZE, PLACE, data()),
        Err(Error::Occupied)
    );
}

#[test]
fn a_device_s_registers_and_memory_do_not_share_a_place() {
    let (mut scene, claim, domain) = scene();
    scene.assign(claim, 0, domain).unwrap();
    let source = range(POOLS[0] + pages(8), 1);
    let carve = |scene: &mut Scene, place| {
        scene
            .engine
            .carve(claim, source, into(domain, place), data())
    };
    assert_eq!(carve(&mut scene, PLACE + PAGE_SIZE), Err(Error::Occupied));
    assert!(carve(&mut scene, PLACE + REGISTERS).is_ok());
}

#[test]
fn a_sealed_domain_gets_no_device() {
    let (mut scene, claim, domain) = scene();
    let seal = scene.engine.seal(claim, domain).unwrap();
    scene.finish(seal).unwrap();
    assert_eq!(scene.assign(claim, 0, domain), Err(Error::WrongState));
}

#[test]
fn a_device_is_measured_with_its_place() {
    let measured = |place| {
        let (mut scene, claim, domain) = scene();
        if let Some(place) = place {
            let target = Target { domain, place };
            let operation =
                scene
                    .engine
                    .assign(claim, device::number(0), REGISTERS, target, data());
            scene.finish(operation.unwrap()).unwrap();
        }
        let seal = scene.engine.seal(claim, domain).unwrap();
        scene.finish(seal).unwrap();
        scene.engine.domain_facts(domain).unwrap().measurement
    };
    assert_ne!(measured(None), measured(Some(PLACE)));
    assert_ne!(measured(Some(0)), measured(Some(PLACE)));
}

#[test]
fn a_destroyed_domain_s_device_comes_back_before_its_memory() {
    let (mut scene, claim, domain) = scene();
    scene.assign(claim, 2, domain).unwrap();
    let destroy = scene.engine.destroy(claim, domain).unwrap();
    scene.finish(destroy).unwrap();
    assert_eq!(scene.drivers(2), [scene.first]);
    assert_eq!(scene.engine.device_facts(device::number(2)), None);
}

#[test]
fn a_released_claim_gives_its_devices_back() {
    let (mut scene, claim, domain) = scene();
    scene.assign(claim, 2, domain).unwrap();
    let release = scene.engine.release(claim).unwrap();
    scene.finish(release).unwrap();
    assert_eq!(scene.drivers(2), [scene.first]);
}

/// A domain hands its device on to a child, and gets it back, reset.
#[test]
fn devices_nest() {
    let (mut scene, claim, _) = scene();
    let outer = scene.domain(claim, POOLS[0] + pages(2), policy(Flags::MAY_COMPOSE));
    let pool = data() | Attributes::POOL;
    let source = range(POOLS[0] + pages(8), 8);
    let carve = scene.engine.carve(claim, source, into(outer, 0), pool);
    scene.finish(carve.unwrap()).unwrap();
    scene.assign(claim, 1, outer).unwrap();
    let seal = scene.engine.seal(claim, outer).unwrap();
    scene.finish(seal).unwrap();
    let inside = scene.engine.claim(outer, 0, pages(8), [3, 4]).unwrap();
    let inner = scene
        .engine
        .create(inside, POOLS[0] + pages(8), policy(Flags::NONE), 10);
    let target = Target {
        domain: inner.unwrap(),
        place: 0x5000,
    };
    let mut ask = |place, size| scene.engine.assign(inside, place, size, target, data());
    assert_eq!(ask(device::number(1), REGISTERS), Err(Error::NotFound));
    assert_eq!(ask(PLACE + PAGE_SIZE, PAGE_SIZE), Err(Error::NotFound));
    assert_eq!(ask(PLACE, PAGE_SIZE), Err(Error::Invalid));
    let operation = ask(PLACE, REGISTERS).unwrap();
    scene.finish(operation).unwrap();
    assert_eq!(scene.drivers(1), [target.domain]);
    let facts = scene.engine.device_at(target.domain, 0x6000).unwrap();
    assert_eq!((facts.base, facts.place), (device::number(1), 0x5000));
    let back = scene.engine.revoke(inside, node(operation)).unwrap();
    scene.finish(back).unwrap();
    assert_eq!(scene.drivers(1), [outer]);
    // Once more, and all is taken back at once.
    let operation = scene
        .engine
        .assign(inside, PLACE, REGISTERS, target, data())
        .unwrap();
    scene.finish(operation).unwrap();
    let release = scene.engine.release(claim).unwrap();
    scene.finish(release).unwrap();
    assert_eq!(scene.drivers(1), [scene.first]);
}

/// What does not let go of a device keeps it from everybody.
#[test]
fn a_device_whose_holder_does_not_answer_is_quarantined() {
    let (mut scene, claim, domain) = scene();
    let region = scene.assign(claim, 0, domain).unwrap();
    scene.machine.silent.insert(domain);
    let back: Operation = scene.engine.revoke(claim, region).unwrap();
    assert_eq!(scene.finish(back), Err(Error::Quarantined));
    assert!(!scene.drivers(0).contains(&scene.first));
    scene.machine.silent.clear();
    let other = scene.domain(claim, POOLS[0] + pages(2), policy(Flags::NONE));
    assert_eq!(scene.assign(claim, 0, other), Err(Error::Overlap));
}
