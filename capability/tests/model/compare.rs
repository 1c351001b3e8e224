//! The engine, the machine and the reference, compared while nothing is on its way.

use std::collections::BTreeSet;

use adyton_abi::PAGE_SIZE;
use adyton_abi::record::{DomainState, Topic};
use adyton_abi::region::Attributes;
use adyton_capability::identity::DomainId;

use crate::reference::{Kind, Node, State};
use crate::support::{PLAIN, POOL_PAGES, POOLS};
use crate::world::{World, device_pages};

impl World {
    /// Everything that can be compared.
    pub fn compare(&self) {
        self.engine.check_invariants().unwrap();
        self.compare_reach();
        self.compare_cores();
        self.compare_accounts();
        for domain in 0..self.reference.domains.len() {
            if self.reference.domains[domain].state != State::Dead {
                self.compare_regions(domain);
                self.compare_pool(domain);
                self.compare_offers(domain);
            }
        }
        for claim in 0..self.reference.claims.len() {
            if self.reference.nodes[self.reference.claims[claim].node].alive {
                self.compare_claim(claim);
            }
        }
    }

    /// The mappings that the effects left are those that the reference works out: agreement and exclusivity.
    fn compare_reach(&self) {
        assert_eq!(self.machine.stale, []);
        let mut pages: Vec<u64> = (0..16).map(|page| PLAIN + page * PAGE_SIZE).collect();
        for pool in POOLS {
            pages.extend((0..POOL_PAGES).map(|page| pool + page * PAGE_SIZE));
        }
        pages.extend(device_pages());
        for page in pages {
            let mapped = self.machine.mapped.iter();
            let here = mapped.filter(|(_, (base, _))| *base == page);
            let seen: BTreeSet<_> = here
                .map(|((domain, place), (_, rights))| (self.index(*domain), *place, rights.word()))
                .collect();
            assert_eq!(seen, self.reference.reach(page), "page {page:#x}");
        }
    }

    pub fn index(&self, domain: DomainId) -> usize {
        let mut domains = self.reference.domains.iter();
        domains.position(|record| record.id == domain).unwrap()
    }

    fn compare_cores(&self) {
        let mut expected = BTreeSet::new();
        for node in self
            .reference
            .living(|node| node.core && node.kind != Kind::Root)
        {
            let node = &self.reference.nodes[node];
            let domain = self.reference.domains[node.owner.unwrap()].id;
            for core in node.base..node.end() {
                assert!(self.engine.may_run_on(domain, core));
                expected.insert((domain, core));
            }
        }
        assert_eq!(self.machine.cores, expected);
    }

    fn compare_accounts(&self) {
        for (index, domain) in self.reference.domains.iter().enumerate() {
            let facts = self.engine.domain_facts(domain.id);
            if domain.state == State::Dead {
                assert_eq!(facts, None);
                continue;
            }
            let facts = facts.unwrap();
            let state = match domain.state {
                State::Building => DomainState::Building,
                _ => DomainState::Sealed,
            };
            assert_eq!((facts.state, facts.epoch), (state, domain.epoch));
            assert_eq!(facts.account.passed, self.reference.passed(index));
            assert_eq!(facts.pool_bytes, self.reference.pool_bytes(index));
            if index > 0 {
                assert_eq!(facts.account.limit, domain.limit);
                assert_eq!(facts.account.used, self.reference.used(index));
            }
        }
        for (index, claim) in self.reference.claims.iter().enumerate() {
            let facts = self.engine.claim_facts(claim.id);
            if !self.reference.nodes[claim.node].alive {
                assert_eq!(facts, None);
                continue;
            }
            let account = facts.unwrap().account;
            assert_eq!(account.limit, claim.limit);
            assert_eq!(account.passed, self.reference.claim_passed(index));
        }
    }

    /// Every record of the topic, asked for by `domain` about `place` and `subject`.
    fn list(&self, domain: usize, place: u64, topic: Topic, subject: u64) -> Vec<[u64; 6]> {
        let caller = self.reference.domains[domain].id;
        let (mut records, mut cursor) = (Vec::new(), 0);
        for _ in 0..10_000 {
            let listing = self.engine.enumerate(caller, place, topic, subject, cursor);
            let listing = listing.unwrap();
            records.extend(listing.record);
            cursor = listing.next;
            if cursor == 0 {
                return records;
            }
        }
        panic!("{topic:?} does not end");
    }

    fn sorted(&self, holds: impl Fn(&Node) -> bool, by: impl Fn(&Node) -> u64) -> Vec<usize> {
        let mut nodes = self.reference.living(holds);
        nodes.sort_by_key(|node| by(&self.reference.nodes[*node]));
        nodes
    }

    fn name(&self, node: Option<usize>) -> u64 {
        let id = node.and_then(|node| self.reference.nodes[node].id);
        id.map_or(0, |id| id.word())
    }

    fn compare_regions(&self, domain: usize) {
        let expected: Vec<[u64; 6]> = self
            .sorted(|node| node.is_memory_of(domain), |node| node.place)
            .into_iter()
            .map(|index| {
                let node = &self.reference.nodes[index];
                [
                    self.name(Some(index)),
                    node.place,
                    node.size,
                    node.attributes.word(),
                    self.reference.sharing(index) as u64,
                    self.name(self.reference.lender(index)),
                ]
            })
            .collect();
        assert_eq!(self.list(domain, 0, Topic::Regions, 0), expected);
    }

    /// Pool, children, and from above the same by the claim that holds the domain.
    fn compare_pool(&self, domain: usize) {
        let pool = self.sorted(
            |node| node.is_memory_of(domain) && node.has(Attributes::POOL),
            |node| node.place,
        );
        let listed = self.list(domain, 0, Topic::Pool, 0);
        let places: Vec<u64> = listed.iter().map(|record| record[0]).collect();
        let expected = pool.iter().map(|node| self.reference.nodes[*node].place);
        assert_eq!(places, expected.collect::<Vec<_>>());

        let mut children: Vec<u64> = Vec::new();
        for child in &self.reference.domains {
            let home = child.claim.map(|claim| self.reference.claims[claim].domain);
            if child.state != State::Dead && home == Some(domain) {
                children.push(child.id.word());
            }
        }
        let listed = self.list(domain, 0, Topic::Children, 0);
        let mut listed: Vec<u64> = listed.iter().map(|record| record[0]).collect();
        listed.sort_unstable();
        children.sort_unstable();
        assert_eq!(listed, children);
        if let Some(claim) = self.reference.domains[domain].claim {
            let claim = &self.reference.claims[claim];
            let place = self.reference.nodes[claim.node].place;
            let subject = self.reference.domains[domain].id.word();
            let from_above = self.list(claim.domain, place, Topic::Children, subject);
            assert_eq!(from_above.len(), children.len());
        }
    }

    fn compare_offers(&self, domain: usize) {
        let offers = self.reference.living(|node| node.offered == Some(domain));
        let listed = self.list(domain, 0, Topic::Offers, 0);
        let listed: Vec<u64> = listed.iter().map(|record| record[0]).collect();
        let names = offers.iter().map(|node| self.name(Some(*node)));
        let mut names: Vec<u64> = names.collect();
        names.sort_unstable();
        assert_eq!(listed, names);
    }

    fn compare_claim(&self, claim: usize) {
        let record = &self.reference.claims[claim];
        let home = &self.reference.nodes[record.node];
        let (domain, place) = (record.domain, home.place);
        let caller = self.reference.domains[domain].id;
        assert_eq!(self.engine.claim_at(caller, place), Some(record.id));

        let mine =
            |node: &Node| node.claim == Some(claim) && node.is_region() && node.owner.is_none();
        let unowned = self.sorted(mine, |node| node.id.map_or(0, |id| id.word()));
        let described = |node: &usize| {
            let attributes = self.reference.nodes[*node].attributes;
            (
                self.name(Some(*node)),
                attributes.word(),
                self.reference.sharing(*node) as u64,
            )
        };
        let expected: Vec<_> = unowned.iter().map(described).collect();
        let listed = self.list(domain, place, Topic::Unowned, 0);
        let listed: Vec<_> = listed
            .iter()
            .map(|record| (record[0], record[3], record[4]))
            .collect();
        assert_eq!(listed, expected);

        let pins = self.sorted(
            |node| node.claim == Some(claim) && matches!(node.kind, Kind::Control(_)),
            |node| node.base,
        );
        let listed = self.list(domain, place, Topic::Domains, 0);
        assert_eq!(listed.len(), pins.len());
        for (record, pin) in listed.iter().zip(pins) {
            let pin = &self.reference.nodes[pin];
            let Kind::Control(child) = pin.kind else {
                panic!("a control page");
            };
            assert_eq!(record[0], self.reference.domains[child].id.word());
            assert_eq!(record[1], pin.base - home.base);
            let found = self.engine.domain_at(caller, place + record[1]);
            assert_eq!(found.map(|(_, id)| id.word()), Some(record[0]));
        }
        let around = self.reference.nodes[home.parent.unwrap()].place;
        let claims = self.list(domain, around, Topic::Claims, 0);
        assert!(
            claims
                .iter()
                .any(|record| record[0] == place - around && record[1] == home.size)
        );
    }
}
