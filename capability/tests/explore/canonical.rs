//! One key for all states that differ only in names.
//!
//! Names, generations, places in the store, shapes of trees, keys and epochs are not part of it: nodes, domains and claims are
//! numbered in the order of the forest. The two cores are interchangeable, so of both ways to number them the lesser key is
//! taken. What decides the order of work stays: siblings are ordered by where they begin, what nobody has and offers by age.

use crate::identity::{DomainId, NodeId};
use crate::node::{Detail, Kind, Link, Node, Stage};
use crate::operation::Operation;
use crate::records::Records;
use crate::seal::Measuring;
use crate::store::Page;
use crate::tree::{Order, Tree};

use super::machine::{CORES, CoreSet};
use super::world::World;

/// Pages of the store that a world may have.
const PAGES: usize = 32;

/// A running hash.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    fn put(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word) * 0xa076_1d64_78bd_642f_u128;
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.0 = (low ^ high)
            .rotate_left(23)
            .wrapping_add(0x2545_f491_4f6c_dd1d);
    }

    fn put_all(&mut self, words: &[u64]) {
        words.iter().for_each(|word| self.put(*word));
    }

    fn of(words: &[u64]) -> u64 {
        let mut hash = Self::new();
        hash.put_all(words);
        hash.0
    }
}

/// Numbers in the order of the forest; 0 is nothing, or what is gone.
struct Numbers<'a> {
    world: &'a World,
    nodes: [[u8; 32]; PAGES],
    /// Of domains and claims, by their record's page.
    records: [u8; PAGES],
    order: Vec<Link>,
}

/// The key of a state.
pub fn key(world: &World) -> u64 {
    let numbers = Numbers::new(world);
    let mut hash = Hash::new();
    for link in &numbers.order {
        numbers.put_node(&mut hash, world.engine.store.node(*link));
    }
    for (number, page) in world.engine.store.all() {
        numbers.put_record(&mut hash, number.number() as usize, page);
    }
    numbers.put_memory(&mut hash);
    let straight = numbers.cores([0, 1]);
    let given = numbers.given();
    hash.put(given);
    // Where one of them is a domain's, they are not the same.
    let swapped = if given == 0 {
        numbers.cores([1, 0])
    } else {
        u64::MAX
    };
    hash.put(straight.min(swapped));
    hash.0
}

impl<'a> Numbers<'a> {
    fn new(world: &'a World) -> Self {
        let mut numbers = Self {
            world,
            nodes: [[0; 32]; PAGES],
            records: [0; PAGES],
            order: Vec::with_capacity(32),
        };
        let store = &world.engine.store;
        let first = store.find_domain(world.first);
        if let Some(first) = first {
            numbers.records[first.number() as usize] = 1;
        }
        let mut records = 1;
        // The visitor never ends the walk.
        let _ = world.engine.for_each_node(|link| {
            numbers.order.push(link);
            numbers.nodes[link.page().number() as usize][link.slot()] = numbers.order.len() as u8;
            let node = store.node(link);
            let record = match node.kind {
                Kind::Claim => Some(node.payer),
                Kind::Control => node.target,
                _ => None,
            };
            if let Some(record) = record {
                records += 1;
                numbers.records[record.number() as usize] = records;
            }
            Ok(())
        });
        numbers
    }

    fn link(&self, link: Link) -> u64 {
        self.nodes[link.page().number() as usize][link.slot()].into()
    }

    fn name(&self, name: NodeId) -> u64 {
        let link = self.world.engine.store.find_node(name);
        link.map_or(0, |link| self.link(link))
    }

    fn record(&self, page: Option<crate::identity::PageNumber>) -> u64 {
        page.map_or(0, |page| self.records[page.number() as usize].into())
    }

    fn domain(&self, domain: DomainId) -> u64 {
        self.record(self.world.engine.store.find_domain(domain))
    }

    fn put_node(&self, hash: &mut Hash, node: &Node) {
        let parent = node.parent.map_or(0, |parent| self.link(parent));
        hash.put_all(&[
            parent | node.base << 8,
            node.size | node.kind as u64 | (node.stage as u64) << 4 | u64::from(node.flags) << 52,
            node.place,
            node.attributes.word()
                | self.record(node.owner) << 8
                | self.record(node.target) << 16
                | self.record(Some(node.payer)) << 24,
        ]);
        if let Detail::Course(course) = node.detail {
            let waits = matches!(node.stage, Stage::TakeFlush | Stage::DropFlush);
            hash.put_all(&[
                if waits {
                    u64::from(course.offset != 0)
                } else {
                    course.offset
                },
                self.name(NodeId::from_word(course.cursor))
                    | self.name(NodeId::from_word(course.back)) << 8
                    | self.domain(DomainId::from_word(course.awaits)) << 16,
            ]);
        }
    }

    fn put_record(&self, hash: &mut Hash, page: usize, record: &Page) {
        let number = u64::from(self.records[page]);
        let (account, tree, words) = match record {
            Page::Domain(domain) => {
                let (step, place, offset) = match domain.measuring {
                    Measuring::Begin => (0, 0, 0),
                    Measuring::Header => (1, 0, 0),
                    Measuring::Vcpu(index) => (2, index, 0),
                    Measuring::Region(place) => (3, place, 0),
                    Measuring::Contents(place, offset) => (4, place, offset),
                    Measuring::End => (5, 0, 0),
                };
                let state = domain.state as u64
                    | u64::from(domain.stopped) << 4
                    | u64::from(domain.unanswered) << 5
                    | domain.policy.flags.word() << 8
                    | u64::from(domain.vcpus) << 16;
                let tree = (Order::Offers, domain.offers);
                let seal = Hash::of(&[step, place, offset]);
                (domain.account, tree, [state, seal])
            }
            Page::Claim(claim) => {
                let tree = (Order::Holder, claim.unowned);
                (claim.account, tree, [u64::from(claim.domains), 0])
            }
            _ => return,
        };
        // Records come in the order of the store: each is hashed alone, and the sum does not know the order.
        let mut own = Hash::new();
        own.put_all(&[number, account.limit, account.used, account.passed]);
        own.put_all(&words);
        let tree = Tree::new(&self.world.engine.store, tree.0, tree.1);
        let mut here = tree.first();
        while let Some(link) = here {
            own.put(self.link(link));
            here = tree.next(link);
        }
        hash.0 = hash.0.wrapping_add(own.0);
    }

    /// What the machine has mapped, keeps secret and measures, in no order.
    fn put_memory(&self, hash: &mut Hash) {
        let machine = &self.world.machine;
        let mut sum = 0_u64;
        let mut add = |words: &[u64]| sum = sum.wrapping_add(Hash::of(words));
        for mapping in &machine.mapped {
            add(&[
                1,
                self.domain(mapping.domain),
                mapping.place,
                mapping.base | mapping.rights.word(),
            ]);
        }
        for (base, carve) in &machine.secrets {
            add(&[2, *base, self.name(*carve)]);
        }
        for base in &machine.reset {
            add(&[6, *base]);
        }
        for (domain, digest) in &machine.streams {
            add(&[3, self.domain(*domain), *digest]);
        }
        for domain in &machine.stopped {
            add(&[4, self.domain(*domain)]);
        }
        for sealed in &self.world.sealed {
            let numbers = sealed.consented.iter().map(|node| self.name(*node));
            for number in numbers.filter(|number| *number != 0) {
                add(&[5, self.domain(sealed.domain), number]);
            }
        }
        hash.put(sum);
    }

    /// Whose the core is that can be given away, 0 if it is domain 0's.
    fn given(&self) -> u64 {
        let machine = &self.world.machine;
        let root = |domain| self.domain(domain) | u64::from(machine.started) << 8;
        let given = machine.given.map_or(u64::MAX, root);
        if machine.given == Some(self.world.first) {
            0
        } else {
            given
        }
    }

    /// What is about cores, when they are numbered so.
    fn cores(&self, order: [usize; CORES]) -> u64 {
        let machine = &self.world.machine;
        let set = |cores: CoreSet| -> u64 {
            let bits = order.iter().enumerate();
            bits.fold(0, |set, (new, old)| {
                set | u64::from(cores >> old & 1) << new
            })
        };
        let mut hash = Hash::new();
        for core in order {
            let (kind, subject) = match self.world.flights[core].as_ref().map(|f| f.operation) {
                None => (0, 0),
                Some(Operation::Place(node)) => (1, self.name(node)),
                Some(Operation::Revoke(node)) => (2, self.name(node)),
                Some(Operation::Seal(domain)) => (3, self.domain(domain)),
            };
            let running = self.domain(machine.running[core]);
            hash.put(kind | subject << 8 | running << 16);
        }
        hash.put(set(machine.silent));
        self.put_tickets(&mut hash, &set);
        let mut sum = 0_u64;
        for stale in &machine.stale {
            sum = sum.wrapping_add(Hash::of(&[
                self.domain(stale.domain),
                stale.place,
                stale.base | set(stale.cores) | u64::from(stale.covered) << 8,
            ]));
        }
        for (domain, core) in &machine.allowed {
            let new = order.iter().position(|old| *old as u64 == *core);
            let new = new.unwrap_or(CORES) as u64;
            sum = sum.wrapping_add(Hash::of(&[self.domain(*domain), new]));
        }
        hash.put(sum);
        hash.0
    }

    /// Whom the flushes that nodes wait for wait for. The words themselves are names.
    fn put_tickets(&self, hash: &mut Hash, set: &impl Fn(CoreSet) -> u64) {
        for link in &self.order {
            let node = self.world.engine.store.node(*link);
            let waits = matches!(node.stage, Stage::TakeFlush | Stage::DropFlush);
            let word = node.course().offset as usize;
            if let (true, Some(index)) = (waits, word.checked_sub(1)) {
                let ticket = self.world.machine.tickets[index];
                hash.put_all(&[self.link(*link), set(ticket.waiting)]);
            }
        }
    }
}
