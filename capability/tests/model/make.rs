//! Calls played to both sides; what they made is entered into the reference.

use adyton_abi::PAGE_SIZE;
use adyton_abi::policy::Policy;
use adyton_abi::region::Attributes;
use adyton_capability::derive::{Source, Target};
use adyton_capability::node::Entry;
use adyton_capability::operation::Operation;

use crate::reference::{Claim, Domain, Kind, Node, State};
use crate::verdict::From;
use crate::world::{Aim, World};

impl World {
    pub fn make_claim(&mut self, domain: usize, place: u64, size: u64) -> Option<()> {
        let id = self.reference.domains[domain].id;
        let ((region, base), claim) = self.play(
            |reference| reference.claim(domain, place, size),
            |engine| engine.claim(id, place, size, [7, 9]),
        )?;
        let facts = self.engine.claim_facts(claim)?;
        let index = self.reference.claims.len();
        let record = Claim {
            id: claim,
            domain,
            node: self.reference.nodes.len(),
            limit: facts.account.limit,
            pages: 1,
        };
        let parent = &self.reference.nodes[region];
        let node = Node {
            id: None,
            kind: Kind::Claim(index),
            parent: Some(region),
            base,
            size,
            place,
            owner: None,
            claim: Some(index),
            closed: false,
            offered: None,
            ..parent.clone()
        };
        self.add_claim(record, node);
        self.count("claim");
        if domain != 0 {
            self.count("claim in a domain");
        }
        Some(())
    }

    pub fn pin(
        &self,
        claim: usize,
        kind: Kind,
        base: u64,
        owner: Option<usize>,
        place: u64,
    ) -> Node {
        Node {
            id: None,
            kind,
            core: false,
            device: false,
            parent: Some(self.reference.claims[claim].node),
            base,
            size: PAGE_SIZE,
            place,
            owner,
            attributes: Attributes::NONE,
            closed: false,
            offered: None,
            claim: Some(claim),
            alive: true,
        }
    }

    pub fn make_domain(
        &mut self,
        claim: usize,
        base: u64,
        policy: Policy,
        quota: u64,
    ) -> Option<()> {
        let id = self.reference.claims[claim].id;
        let ((), domain) = self.play(
            |reference| reference.create(claim, base, policy, quota),
            |engine| engine.create(id, base, policy, quota),
        )?;
        let index = self.reference.domains.len();
        self.reference.domains.push(Domain {
            id: domain,
            state: State::Building,
            policy,
            claim: Some(claim),
            control: Some(self.reference.nodes.len()),
            limit: quota,
            epoch: 0,
        });
        let pin = self.pin(claim, Kind::Control(index), base, None, 0);
        self.reference.nodes.push(pin);
        self.learn();
        self.count("create");
        if self.reference.depth(index) >= 3 {
            self.count("create at depth 3");
        }
        Some(())
    }

    pub fn make_vcpu(
        &mut self,
        claim: usize,
        domain: usize,
        base: u64,
        entry: Entry,
    ) -> Option<()> {
        let id = self.reference.claims[claim].id;
        let child = self.reference.domains[domain].id;
        let ((), index) = self.play(
            |reference| reference.vcpu(claim, domain, base),
            |engine| engine.add_vcpu(id, child, base, entry),
        )?;
        assert_eq!(u64::from(index), self.reference.vcpus(domain));
        assert_eq!(self.engine.exit_page(child, index), Some(base));
        let pin = self.pin(
            claim,
            Kind::Exit(entry),
            base,
            Some(domain),
            u64::from(index),
        );
        self.reference.nodes.push(pin);
        self.learn();
        self.count("vcpu");
        Some(())
    }

    pub fn make_region(
        &mut self,
        claim: usize,
        kind: Kind,
        (from, source): (From, Source),
        target: Option<(usize, u64)>,
        attributes: Attributes,
    ) -> Option<()> {
        let goal = target.map(|(domain, place)| Target {
            domain: self.reference.domains[domain].id,
            place,
        });
        let id = self.reference.claims[claim].id;
        let (node, operation) = self.play(
            |reference| reference.derive(claim, kind, from, target, attributes),
            |engine| match kind {
                Kind::Carve => engine.carve(id, source, goal, attributes),
                _ => engine.share(id, source, goal, attributes),
            },
        )?;
        self.count(if kind == Kind::Carve {
            "carve"
        } else {
            "share"
        });
        if let From::Region(..) = from {
            self.count("derive from a region");
        }
        self.add_region(node, operation);
        Some(())
    }

    pub fn add_region(&mut self, node: Node, operation: Operation) {
        let Operation::Place(id) = operation else {
            panic!("a derivation places a node");
        };
        let index = self.reference.nodes.len();
        self.reference.nodes.push(Node {
            id: Some(id),
            ..node
        });
        if let Some(owner) = self.reference.nodes[index].owner {
            self.reference.force_clean(index, owner);
        }
        self.begin(operation, Aim::Place(index));
        self.learn();
    }

    pub fn make_sealed(&mut self, claim: usize, domain: usize) -> Option<()> {
        let id = self.reference.claims[claim].id;
        let child = self.reference.domains[domain].id;
        self.drain();
        let ((), operation) = self.play(
            |reference| reference.seal(claim, domain),
            |engine| engine.seal(id, child),
        )?;
        self.reference.domains[domain].state = State::Sealed;
        self.count("seal");
        self.begin(operation, Aim::Seal(domain, true));
        Some(())
    }

    pub fn revoked(&mut self, node: usize, operation: Operation) {
        let dead = self.reference.kill(node);
        let subject = &self.reference.nodes[node];
        let vital =
            subject.is_region() && subject.has(Attributes::VITAL) && subject.owner.is_some();
        if vital {
            self.count("death by a vital region");
        }
        self.begin(operation, Aim::Revoke(dead));
    }
}
