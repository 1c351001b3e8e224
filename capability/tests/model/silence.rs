//! Random calls, then some domains' cores fall silent, and everything is released.

use std::collections::BTreeSet;

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_capability::effect::Budget;
use adyton_capability::identity::ClaimId;
use adyton_capability::operation::{Operation, Progress};

use crate::calls::Call;
use crate::reference::{Kind, State};
use crate::world::{World, device_pages};

/// Plays the calls, lets up to three domains fall silent, releases domain 0's claims all at once, and sees what is left.
pub fn fall(random: u64, calls: &[Call]) {
    let mut world = World::new(random);
    for call in calls {
        world.call(*call);
    }
    let mut silent = BTreeSet::new();
    for _ in 0..world.chance(4) {
        let domain = world.chance(world.reference.domains.len() as u64) as usize;
        if world.reference.domains[domain].state != State::Dead {
            silent.insert(domain);
            world
                .machine
                .silent
                .insert(world.reference.domains[domain].id);
        }
    }
    // What was on its way goes on; it may fail.
    let mut going: Vec<Operation> = world
        .flights
        .drain(..)
        .map(|flight| flight.operation)
        .collect();
    let claims: Vec<ClaimId> = (0..world.reference.claims.len())
        .map(|claim| &world.reference.claims[claim])
        .filter(|claim| claim.domain == 0)
        .map(|claim| claim.id)
        .collect();
    for claim in &claims {
        going.extend(world.engine.release(*claim));
    }
    finish(&mut world, going);
    // Silence that ends is silence all the same.
    world.machine.silent.clear();
    let mut kept = false;
    for claim in claims {
        if let Ok(operation) = world.engine.release(claim) {
            kept = true;
            assert_eq!(
                finish(&mut world, vec![operation]),
                [Err(Error::Quarantined)]
            );
        }
    }
    assert!(!kept || !silent.is_empty(), "only silence keeps a claim");
    check_kept(&world);
}

/// Carries the operations to their ends in random order.
fn finish(world: &mut World, mut going: Vec<Operation>) -> Vec<Result<u64, Error>> {
    let mut results = Vec::new();
    for _ in 0..1_000_000 {
        if going.is_empty() {
            return results;
        }
        let which = world.chance(going.len() as u64) as usize;
        let mut budget = Budget::new(1 + world.chance(20_000));
        let progress = world
            .engine
            .advance(going[which], &mut world.machine, &mut budget);
        if let Progress::Done(result) = progress {
            going.swap_remove(which);
            world.engine.check_invariants().unwrap();
            results.push(result);
        }
    }
    panic!("an operation does not end");
}

/// What is quarantined is mapped nowhere, and what is not quarantined is domain 0's again, alone.
fn check_kept(world: &World) {
    let first = world.reference.domains[0].id;
    let mut kept = BTreeSet::new();
    for node in &world.reference.nodes {
        let facts = node.id.and_then(|id| world.engine.region_facts(id));
        if facts.is_some_and(|facts| facts.quarantined) && node.kind == Kind::Carve {
            kept.extend((node.base..node.end()).step_by(PAGE_SIZE as usize));
        }
    }
    for ((domain, _), (page, _)) in &world.machine.mapped {
        assert!(!kept.contains(page), "{page:#x} is used again");
        assert_eq!(*domain, first);
    }
    for root in world
        .reference
        .living(|node| node.kind == Kind::Root && !node.core)
    {
        let root = &world.reference.nodes[root];
        let pages: Vec<u64> = if root.device {
            device_pages().collect()
        } else {
            (root.base..root.end())
                .step_by(PAGE_SIZE as usize)
                .collect()
        };
        for page in pages {
            let mapped = world.machine.mapped.contains_key(&(first, page));
            assert_eq!(mapped, !kept.contains(&page), "{page:#x}");
        }
    }
}
