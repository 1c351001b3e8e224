//! What calls cost as the forest grows: looks at pages of the store, which is the same on every machine. A look comes to
//! some 50 instructions with what is done about it, so 600 are well below the bound on a call.

use adyton_abi::PAGE_SIZE;
use adyton_abi::record::Topic;
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::account::Costs;
use adyton_capability::derive::Source;
use adyton_capability::effect::Budget;
use adyton_capability::identity::{ClaimId, DomainId};
use adyton_capability::node::Resource;
use adyton_capability::operation::{Operation, Progress};

use crate::support::machine::Machine;
use crate::support::pages::Pages;
use crate::support::scene::{confidential, data, into, node, pages, range};

const BASE: u64 = 1 << 30;

/// A claim with a domain that has `count` regions, and `count` regions more that belong to nobody.
fn forest(count: u64) -> (Engine<Pages>, ClaimId, DomainId) {
    let mut engine = Engine::new(Pages::new(), 1 << 22, Costs::default()).unwrap();
    let size = pages(4 * count + 16);
    let pool = Attributes::RIGHTS | Attributes::POOL;
    engine.add_root(Resource::Memory, BASE, size, pool).unwrap();
    let first = engine.first_domain();
    let claim = engine.claim(first, BASE, size, [0, 0]).unwrap();
    let domain = engine.create(claim, BASE, confidential(), 1 << 20).unwrap();
    for index in 0..count {
        let owned = range(BASE + pages(8 + 2 * index), 1);
        let place = pages(3 * index);
        engine
            .carve(claim, owned, into(domain, place), data())
            .unwrap();
        let unowned = range(BASE + pages(9 + 2 * index), 1);
        engine.share(claim, unowned, None, data()).unwrap();
    }
    (engine, claim, domain)
}

fn looks<T>(engine: &mut Engine<Pages>, action: impl FnOnce(&mut Engine<Pages>) -> T) -> u64 {
    let before = engine.store().looks.get();
    action(engine);
    engine.store().looks.get() - before
}

/// Looks of one of each call, the dearest first step of a revocation included.
fn costs(count: u64) -> Vec<(&'static str, u64)> {
    let (mut engine, claim, domain) = forest(count);
    let mut machine = Machine::new(0);
    let middle = BASE + pages(8 + count);
    let free = range(BASE + pages(10 + 2 * count), 1);
    let first = engine.first_domain();
    let mut costs = Vec::new();
    let place = pages(3 * (count / 2) + 1);
    let mut carved = None;
    let carve = looks(&mut engine, |engine| {
        carved = engine.carve(claim, free, into(domain, place), data()).ok();
    });
    costs.push(("carve", carve));
    let overlap = range(middle, 1);
    let refused = looks(&mut engine, |engine| {
        engine.carve(claim, overlap, None, data())
    });
    costs.push(("refuse", refused));
    let Some(carved) = carved else {
        panic!("the carve was refused");
    };
    let region = node(carved);
    let part = Source::Region {
        region,
        offset: 0,
        size: PAGE_SIZE,
    };
    costs.push((
        "name",
        looks(&mut engine, |engine| {
            engine.share(claim, part, None, data())
        }),
    ));
    for topic in [Topic::Regions, Topic::Domains, Topic::Unowned] {
        let subject = domain.word();
        let list = |engine: &mut Engine<Pages>| engine.enumerate(first, BASE, topic, subject, 0);
        costs.push(("list", looks(&mut engine, list)));
    }
    let revoke = engine.revoke(claim, region).unwrap();
    let (mut dearest, mut done) = (0, false);
    while !done {
        let step = looks(&mut engine, |engine| {
            done = step(engine, revoke, &mut machine);
        });
        dearest = dearest.max(step);
    }
    costs.push(("step of a revocation", dearest));
    costs
}

fn step(engine: &mut Engine<Pages>, operation: Operation, machine: &mut Machine) -> bool {
    let progress = engine.advance(operation, machine, &mut Budget::new(1));
    matches!(progress, Progress::Done(_))
}

#[test]
fn calls_cost_the_logarithm_of_what_there_is() {
    // 2^7 and 2^14 regions: twice the depth of the trees.
    let (small, large) = (costs(1 << 7), costs(1 << 14));
    for ((what, small), (_, large)) in small.iter().zip(&large) {
        assert!(
            *large <= 2 * small + 40,
            "{what}: {small} looks, then {large}"
        );
        assert!(*large <= 600, "{what}: {large} looks");
    }
}
