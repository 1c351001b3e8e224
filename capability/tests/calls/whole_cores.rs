//! Whole cores: given with all their threads, to one domain at a time, handed on, taken back.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::record::Topic;
use adyton_abi::region::Attributes;
use adyton_capability::effect::Effect;
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::node::Resource;
use adyton_capability::survey::{Statement, Step};

use crate::support::POOLS;
use crate::support::scene::{Scene, confidential, data, into, node, pages, policy, range};

/// The first threads of cores of two threads each, and a core that has one.
const PAIRS: [u64; 2] = [10, 12];
const SINGLE: u64 = 20;

/// A scene with three cores, a claim, and a domain in it that is being composed.
fn scene() -> (Scene, ClaimId, DomainId) {
    let mut scene = Scene::new();
    for (first, threads) in [(PAIRS[0], 2), (PAIRS[1], 2), (SINGLE, 1)] {
        let none = Attributes::NONE;
        let root = scene
            .engine
            .add_root(Resource::WholeCore, first, threads, none);
        root.unwrap();
        for thread in first..first + threads {
            scene.machine.whole.insert(thread, scene.first);
        }
    }
    let claim = scene.claim(POOLS[0], 32);
    let domain = scene.domain(claim, POOLS[0], confidential());
    (scene, claim, domain)
}

impl Scene {
    fn carve_core(&mut self, claim: ClaimId, thread: u64, to: DomainId) -> Result<NodeId, Error> {
        let operation = self.engine.carve_core(claim, thread, to)?;
        self.finish(operation)?;
        Ok(node(operation))
    }

    /// Threads of each whole core that a survey tells of the domain.
    fn told(&mut self, domain: DomainId) -> Vec<u64> {
        let mut survey = self.engine.survey(domain).unwrap();
        let (mut announced, mut told, mut subject) = ([0; 2], Vec::new(), false);
        loop {
            match self.engine.survey_step(&mut survey) {
                Step::Tell(Statement::Domain(member)) if member.index == 0 => {
                    (subject, announced[0]) = (true, member.whole_cores);
                }
                Step::Tell(Statement::Domain(_)) => subject = false,
                Step::Tell(Statement::WholeCores(count)) if subject => announced[1] = count,
                Step::Tell(Statement::WholeCore(threads)) if subject => told.push(threads),
                Step::Tell(Statement::End) => break,
                Step::Tell(_) | Step::Onward => {}
                Step::Changed => panic!("nothing was changed"),
            }
        }
        assert_eq!(announced, [told.len() as u64; 2]);
        told
    }

    fn holders(&self, threads: [u64; 2]) -> [Option<DomainId>; 2] {
        threads.map(|thread| self.machine.whole.get(&thread).copied())
    }
}

#[test]
fn a_core_goes_with_all_its_threads_and_comes_back_so() {
    let (mut scene, claim, domain) = scene();
    let first = scene.first;
    // Named by its second thread.
    let operation = scene
        .engine
        .carve_core(claim, PAIRS[1] + 1, domain)
        .unwrap();
    let (threads, count) = (PAIRS[1], 2);
    let taken = |domain| Effect::TakeCore {
        domain,
        first: threads,
        count,
    };
    let given = |domain| Effect::GiveCore {
        domain,
        first: threads,
        count,
    };
    assert_eq!(scene.effects(operation), [taken(first), given(domain)]);
    assert_eq!(scene.holders([12, 13]), [Some(domain); 2]);
    assert_eq!(
        scene.holders([10, 11]),
        [Some(first); 2],
        "its neighbour stays"
    );
    let facts = scene.engine.whole_core(domain, node(operation)).unwrap();
    assert_eq!((facts.base, facts.size), (12, 2));
    let back = scene.engine.revoke(claim, node(operation)).unwrap();
    let usable = scene.engine.whole_core(domain, node(operation));
    assert_eq!(usable, None, "from the beginning of the end");
    assert_eq!(scene.effects(back), [taken(domain), given(first)]);
    assert_eq!(scene.engine.whole_core(domain, node(operation)), None);
}

#[test]
fn a_core_is_one_domain_s() {
    let (mut scene, claim, domain) = scene();
    let other = scene.domain(claim, POOLS[0] + pages(2), confidential());
    scene.carve_core(claim, 10, domain).unwrap();
    for thread in [10, 11] {
        assert_eq!(scene.carve_core(claim, thread, other), Err(Error::Overlap));
    }
    let region = scene.carve_core(claim, SINGLE, other).unwrap();
    assert_eq!(
        scene.engine.whole_core(domain, region),
        None,
        "another's is not one's own"
    );
    for unknown in [0, 14, 19, 21, u64::MAX] {
        assert_eq!(scene.carve_core(claim, unknown, other), Err(Error::Rights));
    }
}

#[test]
fn nothing_else_can_be_done_with_one() {
    let (mut scene, claim, domain) = scene();
    let region = scene.carve_core(claim, 10, domain).unwrap();
    let grant = scene.engine.grant(claim, region, domain, 0);
    assert!(matches!(grant, Err(Error::WrongState)), "{grant:?}");
    let source = adyton_capability::derive::Source::Region {
        region,
        offset: 0,
        size: pages(1),
    };
    let derived = scene.engine.share(claim, source, None, data());
    assert!(matches!(derived, Err(Error::Invalid)), "{derived:?}");
    scene.seal(claim, domain);
    let after = scene.carve_core(claim, SINGLE, domain);
    assert_eq!(after, Err(Error::WrongState), "nothing comes after seal");
}

#[test]
fn the_domain_s_end_gives_it_back() {
    let (mut scene, claim, domain) = scene();
    scene.carve_core(claim, 10, domain).unwrap();
    let operation = scene.engine.destroy(claim, domain).unwrap();
    scene.finish(operation).unwrap();
    assert_eq!(scene.holders([10, 11]), [Some(scene.first); 2]);
    let operation = scene.engine.release(claim).unwrap();
    scene.finish(operation).unwrap();
}

/// A domain that has a core, and one in its pool.
struct Nest {
    scene: Scene,
    claim: ClaimId,
    outer: DomainId,
    inside: ClaimId,
    inner: DomainId,
}

fn nest() -> Nest {
    let (mut scene, claim, outer) = scene();
    let pool = data() | Attributes::POOL;
    scene.carve(claim, range(POOLS[0] + pages(8), 8), into(outer, 0), pool);
    scene.carve_core(claim, 10, outer).unwrap();
    scene.seal(claim, outer);
    let inside = scene.engine.claim(outer, 0, pages(8), [3, 4]).unwrap();
    let control = POOLS[0] + pages(8);
    let allowed = policy(Flags::MAY_COMPOSE);
    let inner = scene.engine.create(inside, control, allowed, 20).unwrap();
    Nest {
        scene,
        claim,
        outer,
        inside,
        inner,
    }
}

#[test]
fn who_has_one_can_hand_it_on_and_has_it_back_before_it_goes_back() {
    let Nest {
        mut scene,
        claim,
        outer,
        inside,
        inner,
    } = nest();
    let region = scene.carve_core(inside, 11, inner).unwrap();
    assert_eq!(scene.holders([10, 11]), [Some(inner); 2]);
    let held = scene.engine.region_facts(region).unwrap().source.unwrap();
    assert_eq!(
        scene.engine.whole_core(outer, held),
        None,
        "what was handed on is not run on"
    );
    let single = scene.carve_core(inside, SINGLE, inner);
    assert_eq!(single, Err(Error::Rights), "not the owner's");
    let operation = scene.engine.revoke(inside, region).unwrap();
    scene.finish(operation).unwrap();
    assert_eq!(scene.holders([10, 11]), [Some(outer); 2]);
    scene.carve_core(inside, 10, inner).unwrap();
    let operation = scene.engine.destroy(claim, outer).unwrap();
    scene.finish(operation).unwrap();
    assert_eq!(scene.holders([10, 11]), [Some(scene.first); 2]);
}

#[test]
fn who_was_to_get_one_that_its_holder_does_not_leave_is_not_held_up() {
    let Nest {
        mut scene,
        outer,
        inside,
        inner,
        ..
    } = nest();
    scene.machine.stuck.insert(10);
    let refused = scene.carve_core(inside, 10, inner);
    assert_eq!(refused, Err(Error::Quarantined));
    scene.machine.stuck.clear();
    let operation = scene.engine.destroy(inside, inner).unwrap();
    scene.finish(operation).unwrap();
    assert_eq!(scene.holders([10, 11]), [Some(outer); 2], "never left");
}

#[test]
fn a_core_that_does_not_come_back_is_nobody_s() {
    let (mut scene, claim, domain) = scene();
    let region = scene.carve_core(claim, 10, domain).unwrap();
    scene.machine.stuck.insert(11);
    let operation = scene.engine.revoke(claim, region).unwrap();
    assert_eq!(scene.finish(operation), Err(Error::Quarantined));
    scene.machine.stuck.clear();
    assert_eq!(scene.holders([10, 11]), [Some(domain); 2], "not given back");
    assert_eq!(scene.engine.whole_core(domain, region), None, "nor run on");
    let other = scene.domain(claim, POOLS[0] + pages(2), confidential());
    assert_eq!(scene.carve_core(claim, 10, other), Err(Error::Overlap));
}

/// Only cores that the domain can run on are told of: neither what is on its way to it or from it, nor what it has given on.
#[test]
fn a_survey_tells_of_cores_that_are_there() {
    let (mut scene, claim, domain) = scene();
    assert_eq!(scene.told(domain), []);
    let begun = scene.engine.carve_core(claim, 10, domain).unwrap();
    assert_eq!(scene.told(domain), [], "on its way");
    scene.finish(begun).unwrap();
    let single = scene.carve_core(claim, SINGLE, domain).unwrap();
    assert_eq!(scene.told(domain), [2, 1]);
    let back = scene.engine.revoke(claim, single).unwrap();
    assert_eq!(scene.told(domain), [2], "on its way back");
    scene.finish(back).unwrap();
    assert_eq!(scene.told(domain), [2]);
}

#[test]
fn a_core_that_was_given_on_is_told_of_who_has_it_now() {
    let Nest {
        mut scene,
        outer,
        inside,
        inner,
        ..
    } = nest();
    assert_eq!((scene.told(outer), scene.told(inner)), (vec![2], vec![]));
    let region = scene.carve_core(inside, 10, inner).unwrap();
    assert_eq!((scene.told(outer), scene.told(inner)), (vec![], vec![2]));
    let back = scene.engine.revoke(inside, region).unwrap();
    scene.finish(back).unwrap();
    assert_eq!((scene.told(outer), scene.told(inner)), (vec![2], vec![]));
}

#[test]
fn the_listing_says_which_cores_a_domain_has() {
    let Nest {
        mut scene,
        outer,
        inside,
        inner,
        ..
    } = nest();
    let list = |scene: &Scene, who: DomainId| {
        let topic = Topic::WholeCores;
        let listing = scene.engine.enumerate(who, 0, topic, 0, 0).unwrap();
        assert_eq!(listing.next, 0);
        listing.record.map(|record| record[1..4].to_vec())
    };
    assert_eq!(list(&scene, outer), Some(vec![10, 2, 1]));
    scene.carve_core(inside, 10, inner).unwrap();
    assert_eq!(list(&scene, outer), Some(vec![10, 2, 0]), "given on");
    assert_eq!(list(&scene, inner), Some(vec![10, 2, 1]));
}
