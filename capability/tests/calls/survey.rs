//! A survey tells one state of the engine or says that there is none.

use adyton_abi::error::Error;
use adyton_abi::region::Attributes;
use adyton_capability::derive::Source;
use adyton_capability::identity::{ClaimId, DomainId};
use adyton_capability::survey::{Sharing, Statement, Step, Survey};

use crate::support::POOLS;
use crate::support::scene::{Scene, confidential, data, into, pages, range};

const POOL: u64 = POOLS[0];

/// Up to the next statement.
fn next(scene: &mut Scene, survey: &mut Survey) -> Step {
    loop {
        let step = scene.engine.survey_step(survey);
        if step != Step::Onward {
            return step;
        }
    }
}

#[test]
fn any_change_ends_it_and_looking_does_not() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let region = scene.carve(claim, range(POOL + pages(2), 1), None, data());
    let mut survey = scene.engine.survey(domain).unwrap();
    let begin = Step::Tell(Statement::Begin(2));
    assert_eq!(next(&mut scene, &mut survey), begin);
    let _looked = scene.engine.domain_facts(domain);
    let _looked = scene.engine.claim_at(scene.first, POOL);
    assert!(matches!(next(&mut scene, &mut survey), Step::Tell(_)));
    scene.engine.close(claim, region).unwrap();
    assert_eq!(next(&mut scene, &mut survey), Step::Changed);
    assert_eq!(next(&mut scene, &mut survey), Step::Changed);
}

#[test]
fn a_new_one_ends_the_one_before() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let mut first = scene.engine.survey(domain).unwrap();
    let mut second = scene.engine.survey(domain).unwrap();
    assert_eq!(scene.engine.survey_step(&mut first), Step::Changed);
    assert_eq!(
        next(&mut scene, &mut second),
        Step::Tell(Statement::Begin(2))
    );
}

#[test]
fn there_is_none_of_domain_0_and_of_the_dead() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let first = scene.first;
    assert_eq!(
        scene.engine.survey(first).map(drop),
        Err(Error::Unsupported)
    );
    let end = scene.engine.destroy(claim, domain).unwrap();
    scene.finish(end).unwrap();
    assert_eq!(scene.engine.survey(domain).map(drop), Err(Error::Dead));
}

/// While a carve is being taken, who loses it still reaches it: nobody may be told that it is exclusive.
#[test]
fn what_is_being_taken_is_told_as_shared() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 16);
    let domain = scene.domain(claim, POOL, confidential());
    let target = into(domain, 0x40_0000);
    let carve = scene
        .engine
        .carve(claim, range(POOL + pages(2), 1), target, data())
        .unwrap();
    assert_eq!(sharing(&mut scene, domain), (Sharing::Shared, 1));
    scene.finish(carve).unwrap();
    assert_eq!(sharing(&mut scene, domain), (Sharing::Exclusive, 0));
}

/// How the first region of the domain is shared, and with how many.
fn sharing(scene: &mut Scene, domain: DomainId) -> (Sharing, u64) {
    let mut survey = scene.engine.survey(domain).unwrap();
    loop {
        match next(scene, &mut survey) {
            Step::Tell(Statement::Region(extent)) => return (extent.sharing, extent.peers),
            Step::Tell(Statement::End) | Step::Changed => panic!("no region"),
            _ => {}
        }
    }
}

/// A sealed domain that has claimed its pool, eight pages from the eighth of [`POOL`].
fn nest() -> (Scene, DomainId, ClaimId) {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 32);
    let outer = scene.domain(claim, POOL, confidential());
    let attributes = data() | Attributes::POOL | Attributes::CLEAN;
    let source = range(POOL + pages(8), 8);
    scene.carve(claim, source, into(outer, 0), attributes);
    scene.seal(claim, outer);
    let inner_claim = scene.engine.claim(outer, 0, pages(8), [3, 4]).unwrap();
    (scene, outer, inner_claim)
}

/// What a domain has cut something out of for domains of its own is told as lent, until that is back.
#[test]
fn what_is_carved_away_is_told_as_lent() {
    let (mut scene, outer, inner_claim) = nest();
    assert_eq!(sharing(&mut scene, outer), (Sharing::Exclusive, 0));
    let clean = data() | Attributes::CLEAN;
    let away = scene.carve(inner_claim, range(POOL + pages(10), 1), None, clean);
    assert_eq!(sharing(&mut scene, outer), (Sharing::Lent, 0));
    let back = scene.engine.revoke(inner_claim, away).unwrap();
    scene.finish(back).unwrap();
    assert_eq!(sharing(&mut scene, outer), (Sharing::Exclusive, 0));
    // Prepared for sharing, and nobody has it yet.
    scene.share(inner_claim, range(POOL + pages(10), 1), None, data());
    assert_eq!(sharing(&mut scene, outer), (Sharing::Shared, 0));
}

/// While something is being cut out for another domain, both reach it.
#[test]
fn what_is_being_carved_away_is_told_as_shared() {
    let (mut scene, outer, inner_claim) = nest();
    let control = POOL + pages(8);
    let inner = scene
        .engine
        .create(inner_claim, control, confidential(), 20)
        .unwrap();
    assert_eq!(sharing(&mut scene, outer), (Sharing::Exclusive, 0));
    let (part, target) = (range(POOL + pages(12), 1), into(inner, 0));
    let clean = data() | Attributes::CLEAN;
    let carve = scene
        .engine
        .carve(inner_claim, part, target, clean)
        .unwrap();
    assert_eq!(sharing(&mut scene, outer), (Sharing::Shared, 1));
    scene.finish(carve).unwrap();
    assert_eq!(sharing(&mut scene, outer), (Sharing::Lent, 0));
}

/// A domain that is being destroyed has the measurement that it had, if it was sealed.
#[test]
fn the_dying_keep_their_measurement() {
    for sealed in [true, false] {
        let mut scene = Scene::new();
        let claim = scene.claim(POOL, 32);
        let domain = scene.domain(claim, POOL, confidential());
        let region = range(POOL + pages(4), 1);
        scene.carve(claim, region, into(domain, 0), data() | Attributes::CLEAN);
        if sealed {
            scene.seal(claim, domain);
        }
        let measured = |scene: &mut Scene| {
            let mut survey = scene.engine.survey(domain).unwrap();
            loop {
                match next(scene, &mut survey) {
                    Step::Tell(Statement::Domain(member)) => return member.measurement,
                    Step::Tell(Statement::End) | Step::Changed => panic!("not told of"),
                    _ => {}
                }
            }
        };
        let before = measured(&mut scene);
        assert_eq!(before.is_some(), sealed);
        let _begun = scene.engine.destroy(claim, domain).unwrap();
        assert_eq!(measured(&mut scene), before);
    }
}

/// What anybody may still be given is open; closed or being taken back it is shared, also while nobody else has it.
#[test]
fn a_share_is_told_as_open_or_shared() {
    for (others, is_closed) in [(0, true), (1, true), (0, false), (1, false)] {
        let mut scene = Scene::new();
        let claim = scene.claim(POOL, 32);
        let channel = scene.carve(claim, range(POOL + pages(8), 1), None, data());
        let domains: Vec<DomainId> = (0..=others)
            .map(|index| {
                let domain = scene.domain(claim, POOL + pages(2 * index), confidential());
                let source = Source::Region {
                    region: channel,
                    offset: 0,
                    size: pages(1),
                };
                scene.share(claim, source, into(domain, 0x40_0000), data());
                domain
            })
            .collect();
        assert_eq!(sharing(&mut scene, domains[0]), (Sharing::Open, others));
        if is_closed {
            scene.engine.close(claim, channel).unwrap();
        } else {
            let _begun = scene.engine.revoke(claim, channel).unwrap();
        }
        assert_eq!(sharing(&mut scene, domains[0]), (Sharing::Shared, others));
    }
}

/// Who has a share of the same bytes is told of, whoever cut it off and wherever it stands below what was shared; who has one of the bytes
/// beside them is not.
#[test]
fn everybody_who_reaches_the_same_bytes_is_told_of() {
    let mut scene = Scene::new();
    let claim = scene.claim(POOL, 32);
    let domains =
        [0, 1, 2].map(|index| scene.domain(claim, POOL + pages(2 * index), confidential()));
    let channel = scene.carve(claim, range(POOL + pages(8), 2), None, data());
    let [asked, sharer, neighbour] = domains;
    for (domain, first, count) in [(asked, 0, 1), (sharer, 0, 2), (neighbour, 1, 1)] {
        let source = Source::Region {
            region: channel,
            offset: pages(first),
            size: pages(count),
        };
        scene.share(claim, source, into(domain, 0x40_0000), data());
    }
    let told = |scene: &mut Scene, subject| {
        let mut survey = scene.engine.survey(subject).unwrap();
        let mut peers = Vec::new();
        loop {
            match next(scene, &mut survey) {
                Step::Tell(Statement::Peer(index, _)) => peers.push(index),
                // Of the subject, which is the first.
                Step::Tell(Statement::Complete) => break,
                Step::Tell(Statement::End) | Step::Changed => panic!("not complete"),
                _ => {}
            }
        }
        let numbered = domains.map(|domain| scene.engine.number(&survey, domain));
        numbered.map(|number| number.is_some_and(|number| peers.contains(&number)))
    };
    assert_eq!(told(&mut scene, asked), [false, true, false]);
    assert_eq!(told(&mut scene, sharer), [true, false, true]);
    assert_eq!(told(&mut scene, neighbour), [false, true, false]);
}

/// Looks at pages of the store for a survey of `count` domains that share a channel with the first.
fn looks(count: u64) -> u64 {
    let mut scene = Scene::with_limit(60_000);
    let claim = scene.claim(POOL, 48);
    let hub = scene.domain(claim, POOL, confidential());
    for index in 0..count {
        let at = POOL + pages(2 + 3 * index);
        let leaf = scene.domain(claim, at, confidential());
        let channel = scene.carve(claim, range(at + pages(2), 1), None, data());
        for (domain, place) in [(hub, pages(index)), (leaf, 0)] {
            let source = Source::Region {
                region: channel,
                offset: 0,
                size: pages(1),
            };
            let share = scene
                .engine
                .share(claim, source, into(domain, place), data())
                .unwrap();
            scene.finish(share).unwrap();
        }
    }
    let before = scene.engine.store().looks.get();
    let mut survey = scene.engine.survey(hub).unwrap();
    while next(&mut scene, &mut survey) != Step::Tell(Statement::End) {}
    scene.engine.store().looks.get() - before
}

#[test]
fn its_cost_grows_as_the_closure_does() {
    let [few, many] = [3, 12].map(looks);
    assert!(many < 5 * few, "{few} looks for 4 domains, {many} for 13");
}
