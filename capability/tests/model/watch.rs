//! The machine, watched: what may be mapped when, by what the reference knows.

use std::collections::{BTreeMap, BTreeSet};

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::Attributes;
use adyton_capability::effect::{Applied, Budget, Effect, Platform};
use adyton_capability::identity::DomainId;

use crate::reference::{Kind, Reference};
use crate::support::machine::Machine;

/// On behalf of what an effect is applied.
#[derive(Clone, Copy, Debug)]
pub enum Context {
    /// This node is being put in place.
    Place(usize),
    /// Something is being taken back.
    Revoke,
    Seal,
}

/// By host page, the clean regions whose contents are in it.
pub type Secrets = BTreeMap<u64, BTreeSet<usize>>;

/// A platform that asserts before it does.
pub struct Watch<'a> {
    pub machine: &'a mut Machine,
    pub reference: &'a Reference,
    pub secrets: &'a mut Secrets,
    pub context: Context,
}

fn pages(base: u64, size: u64) -> impl Iterator<Item = u64> {
    (base..base + size).step_by(PAGE_SIZE as usize)
}

impl Watch<'_> {
    fn before_map(&mut self, domain: DomainId, place: u64, base: u64, from: u64, size: u64) {
        for page in pages(base + from, size - from) {
            match self.context {
                Context::Place(node) => self.before_give(node, page),
                Context::Revoke => self.before_return(domain, place + (page - base), page),
                Context::Seal => panic!("a seal maps something"),
            }
        }
        if let Context::Revoke = self.context {
            self.check_returned(base, size, from);
        }
    }

    /// Nobody but the new owner reaches a carve, and nobody else's secrets are in it.
    fn before_give(&mut self, node: usize, page: u64) {
        let given = &self.reference.nodes[node];
        if given.kind == Kind::Carve {
            let reach = self.machine.accessors(page);
            assert!(reach.is_empty(), "{reach:?} still reach a carve");
        }
        let secrets = self.secrets.entry(page).or_default();
        let line = self.reference.line(node);
        assert!(secrets.iter().all(|secret| line.contains(secret)));
        let carve = self.reference.carve_of(node);
        secrets.extend(carve.filter(|carve| self.reference.nodes[*carve].has(Attributes::CLEAN)));
    }

    /// What comes back holds no secrets but those of what it comes back into.
    fn before_return(&self, domain: DomainId, place: u64, page: u64) {
        let none = BTreeSet::new();
        let secrets = self.secrets.get(&page).unwrap_or(&none);
        let holders = self.holders(domain, place, page);
        let kept = |holder: &usize| {
            let line = self.reference.line(*holder);
            secrets.iter().all(|secret| line.contains(secret))
        };
        assert!(
            holders.iter().any(kept),
            "secrets of a clean region come back"
        );
    }

    /// Regions, living or dying, by which the domain has the page at that place.
    fn holders(&self, domain: DomainId, place: u64, page: u64) -> Vec<usize> {
        let nodes = self.reference.nodes.iter().enumerate();
        let holding = nodes.filter(|(_, node)| {
            let owner = node.owner.map(|owner| self.reference.domains[owner].id);
            let there = node.base <= page && page < node.end();
            owner == Some(domain) && !node.core && there && node.place + (page - node.base) == place
        });
        holding.map(|(index, _)| index).collect()
    }

    /// Nobody below a carve that comes back reaches it any more, unless by another right.
    fn check_returned(&self, base: u64, size: u64, from: u64) {
        let nodes = &self.reference.nodes;
        let carves = (0..nodes.len()).filter(|carve| {
            let node = &nodes[*carve];
            node.kind == Kind::Carve && !node.alive && (node.base, node.size) == (base, size)
        });
        for carve in carves {
            let below = (0..nodes.len()).filter(|node| self.reference.line(*node).contains(&carve));
            for node in below.filter(|node| !nodes[*node].alive) {
                for page in pages(base + from, size - from) {
                    self.check_gone(node, page);
                }
            }
        }
    }

    fn check_gone(&self, node: usize, page: u64) {
        let node = &self.reference.nodes[node];
        let (Some(owner), true) = (node.owner, node.overlaps(page, PAGE_SIZE)) else {
            return;
        };
        let place = node.place + (page - node.base);
        let domain = self.reference.domains[owner].id;
        let living = |holder: &usize| self.reference.nodes[*holder].alive;
        let reached = self.machine.accessors(page).contains(&(domain, place));
        let otherwise = self.holders(domain, place, page).iter().any(living);
        assert!(!reached || otherwise, "given back while it can be reached");
    }
}

impl Platform for Watch<'_> {
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied {
        if let Effect::Map {
            domain,
            place,
            base,
            size,
            ..
        }
        | Effect::Attach {
            domain,
            place,
            device: base,
            size,
        } = *effect
        {
            self.before_map(domain, place, base, from, size);
        }
        let applied = self.machine.apply(effect, from, budget);
        if let Effect::Scrub { .. } | Effect::Reset { .. } = effect {
            let zeroed = &self.machine.zeroed;
            self.secrets.retain(|page, _| !zeroed.contains(page));
        }
        applied
    }
}
