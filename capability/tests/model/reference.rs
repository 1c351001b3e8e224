//! The reference: what the calls mean, said as simply as possible.
//!
//! Flat lists that are searched from end to end; nothing is kept that can be worked out. A revocation is over at
//! once. Who can reach a page is worked out from the definition: a domain reaches what it has, except where that
//! was carved away. Nodes that died stay in the list for as long as the real engine works at taking them back.

use std::collections::BTreeSet;

use adyton_abi::PAGE_SIZE;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::Sharing;
use adyton_abi::region::Attributes;
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::node::Entry;

use crate::support::COSTS;

/// How a node came to be, and what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Root,
    Claim(usize),
    Control(usize),
    Exit(Entry),
    Carve,
    Share,
}

/// A right, as in the engine.
#[derive(Clone, Debug)]
pub struct Node {
    pub id: Option<NodeId>,
    pub kind: Kind,
    pub core: bool,
    /// A device; the machine's own have no place in domain 0's memory.
    pub device: bool,
    pub parent: Option<usize>,
    pub base: u64,
    pub size: u64,
    pub place: u64,
    pub owner: Option<usize>,
    pub attributes: Attributes,
    pub closed: bool,
    pub offered: Option<usize>,
    pub claim: Option<usize>,
    pub alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Building,
    Sealed,
    Dead,
}

#[derive(Clone, Debug)]
pub struct Domain {
    pub id: DomainId,
    pub state: State,
    pub policy: Policy,
    pub claim: Option<usize>,
    pub control: Option<usize>,
    pub limit: u64,
    pub epoch: u32,
}

#[derive(Clone, Debug)]
pub struct Claim {
    pub id: ClaimId,
    pub domain: usize,
    pub node: usize,
    pub limit: u64,
    /// Pages of nodes, as the engine says; which slots are free is its own affair.
    pub pages: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub domains: Vec<Domain>,
    pub claims: Vec<Claim>,
    pub nodes: Vec<Node>,
    /// Pages that domain 0 has left, as the engine says.
    pub first_left: u64,
}

impl Node {
    pub fn end(&self) -> u64 {
        self.base + self.size
    }

    pub fn overlaps(&self, base: u64, size: u64) -> bool {
        self.base < base + size && base < self.end()
    }

    pub fn has(&self, attribute: Attributes) -> bool {
        self.attributes.contains(attribute)
    }

    pub fn rights(&self) -> Attributes {
        self.attributes.intersection(Attributes::RIGHTS)
    }

    pub fn is_region(&self) -> bool {
        matches!(self.kind, Kind::Carve | Kind::Share)
    }

    pub fn is_memory_of(&self, domain: usize) -> bool {
        let pin = matches!(self.kind, Kind::Exit(_));
        let machine = self.device && self.kind == Kind::Root;
        self.alive && self.owner == Some(domain) && !self.core && !pin && !machine
    }
}

impl Reference {
    /// Indices of the living nodes for which `holds`.
    pub fn living(&self, holds: impl Fn(&Node) -> bool) -> Vec<usize> {
        let all = self.nodes.iter().enumerate();
        let found = all.filter(|(_, node)| node.alive && holds(node));
        found.map(|(index, _)| index).collect()
    }

    /// What the node was derived from, seen through a claim.
    pub fn lender(&self, node: usize) -> Option<usize> {
        let parent = self.nodes[node].parent?;
        match self.nodes[parent].kind {
            Kind::Claim(_) => self.nodes[parent].parent,
            _ => Some(parent),
        }
    }

    /// The node and everything above it.
    pub fn line(&self, node: usize) -> Vec<usize> {
        let mut line = vec![node];
        while let Some(parent) = self.nodes[line[line.len() - 1]].parent {
            line.push(parent);
        }
        line
    }

    /// Everybody who can reach the host page: domain, place, rights.
    pub fn reach(&self, page: u64) -> BTreeSet<(usize, u64, u64)> {
        let taken = |holding: usize| {
            let carve = |node: &Node| node.kind == Kind::Carve && node.overlaps(page, PAGE_SIZE);
            let carves = self.living(carve);
            carves
                .iter()
                .any(|carve| self.lender(*carve) == Some(holding))
        };
        let covers = |node: &Node| {
            let machine = node.device && node.kind == Kind::Root;
            let holding = node.owner.is_some_and(|owner| node.is_memory_of(owner));
            (machine || holding) && node.overlaps(page, PAGE_SIZE)
        };
        let holdings = self.living(covers).into_iter();
        holdings
            .filter(|holding| !taken(*holding))
            .filter_map(|holding| {
                let node = &self.nodes[holding];
                let place = node.place + (page - node.base);
                Some((node.owner?, place, node.rights().word()))
            })
            .collect()
    }

    pub fn sharing(&self, node: usize) -> Sharing {
        let shared = |index: &usize| self.nodes[*index].kind == Kind::Share;
        let derived: Vec<usize> = self
            .living(Node::is_region)
            .into_iter()
            .filter(|derived| self.lender(*derived) == Some(node))
            .collect();
        if self.line(node).iter().any(shared) || derived.iter().any(shared) {
            Sharing::Shared
        } else if derived.is_empty() {
            Sharing::Exclusive
        } else {
            Sharing::Lent
        }
    }

    pub fn vcpus(&self, domain: usize) -> u64 {
        let exits =
            self.living(|node| matches!(node.kind, Kind::Exit(_)) && node.owner == Some(domain));
        exits.len() as u64
    }

    /// Every page table that the domain's memory needs, counted one by one.
    pub fn tables(&self, domain: usize) -> u64 {
        let mut tables = BTreeSet::new();
        for node in self.living(|node| node.is_memory_of(domain)) {
            let node = &self.nodes[node];
            let places = (node.place..node.place + node.size).step_by(PAGE_SIZE as usize);
            for place in places {
                tables.extend([21, 30, 39].map(|shift| (shift, place >> shift)));
            }
        }
        tables.len() as u64
    }

    pub fn used(&self, domain: usize) -> u64 {
        1 + COSTS.domain + COSTS.vcpu * self.vcpus(domain) + self.tables(domain)
    }

    /// What the domain's claims have of its account.
    pub fn passed(&self, domain: usize) -> u64 {
        let claims = self.claims.iter().filter(|claim| claim.domain == domain);
        let living = claims.filter(|claim| self.nodes[claim.node].alive);
        living.map(|claim| claim.limit).sum()
    }

    /// What the claim's domains have of its account.
    pub fn claim_passed(&self, claim: usize) -> u64 {
        let domains = self.domains.iter();
        let living =
            domains.filter(|domain| domain.claim == Some(claim) && domain.state != State::Dead);
        living.map(|domain| domain.limit).sum()
    }

    pub fn nodes_of(&self, claim: usize) -> u64 {
        let nodes = self.living(|node| node.claim == Some(claim));
        nodes.len() as u64
    }

    pub fn pool_bytes(&self, domain: usize) -> u64 {
        let pool = self.living(|node| node.is_memory_of(domain) && node.has(Attributes::POOL));
        pool.iter().map(|node| self.nodes[*node].size).sum()
    }

    /// Takes the node back, and all that goes with it. Returns what died.
    pub fn kill(&mut self, node: usize) -> Vec<usize> {
        let mut dead = Vec::new();
        let mut work = vec![node];
        while let Some(node) = work.pop() {
            if !self.nodes[node].alive {
                continue;
            }
            self.nodes[node].alive = false;
            dead.push(node);
            let taken = self.nodes[node].clone();
            let derived = |other: &Node| other.parent == Some(node);
            work.extend(self.living(derived));
            if let Kind::Control(domain) = taken.kind {
                self.domains[domain].state = State::Dead;
                work.extend(self.living(|other| other.owner == Some(domain)));
                for other in &mut self.nodes {
                    if other.alive && other.offered == Some(domain) {
                        other.offered = None;
                    }
                }
            }
            if let (Some(owner), true) = (taken.owner, taken.has(Attributes::VITAL)) {
                work.extend(self.domains[owner].control);
            }
        }
        dead
    }

    /// Domains above the domain.
    pub fn depth(&self, domain: usize) -> usize {
        let home = self.domains[domain].claim;
        home.map_or(0, |claim| 1 + self.depth(self.claims[claim].domain))
    }

    /// Zeroed before its maker reads it again: the carve that a confidential domain gets, or shares.
    pub fn force_clean(&mut self, node: usize, domain: usize) {
        if !self.is_confidential(domain) {
            return;
        }
        if let Some(carve) = self.carve_of(node) {
            let node = &mut self.nodes[carve];
            node.attributes = node.attributes | Attributes::CLEAN;
        }
    }

    /// The node, or the carve that it shares.
    pub fn carve_of(&self, node: usize) -> Option<usize> {
        let line = self.line(node).into_iter();
        let mut regions = line.take_while(|node| self.nodes[*node].is_region());
        regions.find(|node| self.nodes[*node].kind == Kind::Carve)
    }

    fn is_confidential(&self, domain: usize) -> bool {
        let flags = self.domains[domain].policy.flags;
        flags.contains(Flags::CONFIDENTIAL)
    }

    /// The domain's region of memory at `place`.
    pub fn region_at(&self, domain: usize, place: u64) -> Option<usize> {
        let there = |node: &Node| {
            let within = node.place <= place && place < node.place + node.size;
            node.is_memory_of(domain) && within
        };
        self.living(there).first().copied()
    }
}
