//! The driver: plays one call at a time to the engine and to the reference, and carries what is on its way on in random order.

use std::collections::BTreeMap;

use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::device;
use adyton_capability::effect::Budget;
use adyton_capability::identity::NodeId;
use adyton_capability::measure;
use adyton_capability::operation::{Operation, Progress};

use crate::reference::{Claim, Domain, Kind, Node, Reference, State};
use crate::support::machine::{Machine, Stream};
use crate::support::pages::Pages;
use crate::support::{
    CORES, DEVICE_PAGES, DEVICES, PLAIN, POOL_PAGES, POOLS, all_rights, small_engine,
};
use crate::watch::{Context, Secrets, Watch};
use adyton_abi::PAGE_SIZE;

/// What an operation on its way is about.
#[derive(Clone, Debug)]
pub enum Aim {
    Place(usize),
    /// What died with the subject, the subject first.
    Revoke(Vec<usize>),
    /// The domain, and whether nothing was revoked meanwhile.
    Seal(usize, bool),
}

pub struct Flight {
    pub operation: Operation,
    pub aim: Aim,
}

pub struct World {
    pub engine: Engine<Pages>,
    pub machine: Machine,
    pub reference: Reference,
    pub secrets: Secrets,
    pub flights: Vec<Flight>,
    /// What happened how often.
    pub tally: BTreeMap<&'static str, u64>,
    random: u64,
}

/// Every page of devices that tests look at.
pub fn device_pages() -> impl Iterator<Item = u64> {
    (0..DEVICES * DEVICE_PAGES).map(|page| {
        let device = (page / DEVICE_PAGES) as u16;
        device::number(device) + page % DEVICE_PAGES * PAGE_SIZE
    })
}

impl World {
    pub fn new(random: u64) -> Self {
        let engine = small_engine(6000);
        let first = engine.first_domain();
        let mut world = Self {
            engine,
            machine: Machine::new(random | 1),
            reference: Reference::default(),
            secrets: Secrets::new(),
            flights: Vec::new(),
            tally: BTreeMap::new(),
            random: random | 1,
        };
        world.reference.domains.push(Domain {
            id: first,
            state: State::Sealed,
            policy: Policy {
                flags: Flags::MAY_COMPOSE | Flags::MAY_ATTEST,
                exceptions: 0,
            },
            claim: None,
            control: None,
            limit: 0,
            epoch: 0,
        });
        let pool = all_rights() | Attributes::POOL;
        world.add_root(false, PLAIN, 16 * PAGE_SIZE, all_rights());
        world.add_root(false, POOLS[0], POOL_PAGES * PAGE_SIZE, pool);
        world.add_root(false, POOLS[1], POOL_PAGES * PAGE_SIZE, pool);
        world.add_root(true, 0, CORES, Attributes::NONE);
        world.add_devices();
        world.learn();
        world
    }

    fn add_root(&mut self, core: bool, base: u64, size: u64, attributes: Attributes) {
        let first = self.reference.domains[0].id;
        let mut id = None;
        if !core {
            id = self.engine.region_at(first, base).map(|facts| facts.id);
            for page in (base..base + size).step_by(PAGE_SIZE as usize) {
                self.machine.mapped.insert(
                    (first, page),
                    (page, attributes.intersection(Attributes::RIGHTS)),
                );
            }
        }
        self.reference.nodes.push(Node {
            id,
            kind: Kind::Root,
            core,
            device: false,
            parent: None,
            base,
            size,
            place: base,
            owner: Some(0),
            attributes,
            closed: false,
            offered: None,
            claim: None,
            alive: true,
        });
    }

    fn add_devices(&mut self) {
        let rights = Attributes::READ | Attributes::WRITE;
        let first = self.reference.domains[0].id;
        self.add_root(true, device::number(0), DEVICES * device::SPAN, rights);
        if let Some(root) = self.reference.nodes.last_mut() {
            (root.core, root.device) = (false, true);
        }
        for base in device_pages() {
            self.machine.mapped.insert((first, base), (base, rights));
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    pub fn chance(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % limit
    }

    /// Takes over from the engine what the reference does not work out.
    pub fn learn(&mut self) {
        for claim in &mut self.reference.claims {
            if let Some(facts) = self.engine.claim_facts(claim.id) {
                claim.pages = facts.account.used - 1;
            }
        }
        let first = self
            .engine
            .domain_facts(self.reference.domains[0].id)
            .unwrap();
        self.reference.first_left = first.account.available();
    }

    pub fn begin(&mut self, operation: Operation, aim: Aim) {
        if let Aim::Revoke(_) = aim {
            for flight in &mut self.flights {
                if let Aim::Seal(_, undisturbed) = &mut flight.aim {
                    *undisturbed = false;
                }
            }
        }
        self.flights.push(Flight { operation, aim });
    }

    /// Carries one operation on by one slice.
    pub fn step(&mut self) {
        let which = self.chance(self.flights.len() as u64) as usize;
        let units = if self.chance(2) == 0 { 1 } else { 20_000 };
        let flight = &self.flights[which];
        let context = match flight.aim {
            Aim::Place(node) => Context::Place(node),
            Aim::Revoke(_) => Context::Revoke,
            Aim::Seal(..) => Context::Seal,
        };
        let mut watch = Watch {
            machine: &mut self.machine,
            reference: &self.reference,
            secrets: &mut self.secrets,
            context,
        };
        let operation = flight.operation;
        let progress = self
            .engine
            .advance(operation, &mut watch, &mut Budget::new(units));
        if let Progress::Done(result) = progress {
            let flight = self.flights.swap_remove(which);
            self.finish(flight.aim, result);
        }
    }

    fn finish(&mut self, aim: Aim, result: Result<u64, Error>) {
        match aim {
            Aim::Place(node) => {
                let node = &self.reference.nodes[node];
                match result {
                    Ok(name) => assert_eq!(Some(NodeId::from_word(name)), node.id),
                    Err(error) => assert!(error == Error::Dead && !node.alive),
                }
            }
            Aim::Revoke(dead) => {
                assert_eq!(result, Ok(0));
                self.check_complete(&dead);
            }
            Aim::Seal(domain, undisturbed) => match result {
                Ok(_) if undisturbed => self.check_measurement(domain),
                Ok(_) => {}
                Err(Error::Dead) => assert_eq!(self.reference.domains[domain].state, State::Dead),
                Err(error) => {
                    assert!(error == Error::Busy && !undisturbed);
                    if self.reference.domains[domain].state == State::Sealed {
                        self.reference.domains[domain].state = State::Building;
                    }
                }
            },
        }
    }

    /// Nothing that was derived from the subject is there or can be reached, not even by a stale translation.
    fn check_complete(&self, dead: &[usize]) {
        for index in dead {
            if !self.reference.line(*index).contains(&dead[0]) {
                continue;
            }
            let node = &self.reference.nodes[*index];
            if let Some(id) = node.id {
                assert_eq!(self.engine.region_facts(id), None);
            }
            let Some(owner) = node.owner.filter(|_| node.is_region() && !node.core) else {
                continue;
            };
            let domain = self.reference.domains[owner].id;
            for page in (0..node.size).step_by(PAGE_SIZE as usize) {
                let at = (domain, node.place + page);
                let living = self.reference.region_at(owner, at.1).is_some();
                let stale = self.machine.stale.iter().any(|stale| {
                    (stale.domain, stale.place, stale.base) == (at.0, at.1, node.base + page)
                });
                assert!(!stale, "revoked, and a translation may be cached");
                assert!(living || !self.machine.mapped.contains_key(&at));
            }
        }
    }

    fn check_measurement(&self, domain: usize) {
        let record = &self.reference.domains[domain];
        let Some(facts) = self.engine.domain_facts(record.id) else {
            return;
        };
        let mut regions = self.reference.living(|node| node.is_memory_of(domain));
        regions.sort_by_key(|node| self.reference.nodes[*node].place);
        let mut exits = self
            .reference
            .living(|node| node.owner == Some(domain) && matches!(node.kind, Kind::Exit(_)));
        exits.sort_by_key(|node| self.reference.nodes[*node].place);
        let mut stream = Stream::new();
        stream.put(&measure::header(
            record.policy,
            exits.len() as u32,
            regions.len() as u32,
        ));
        for exit in exits {
            let exit = &self.reference.nodes[exit];
            if let Kind::Exit(entry) = exit.kind {
                stream.put(&measure::vcpu(exit.place, entry));
            }
        }
        for region in regions {
            let line = self.reference.line(region);
            let exclusive = line
                .iter()
                .all(|node| self.reference.nodes[*node].kind != Kind::Share);
            let node = &self.reference.nodes[region];
            stream.put(&measure::region(
                node.place,
                node.size,
                node.attributes,
                exclusive,
            ));
            if node.has(Attributes::MEASURED) {
                for page in (0..node.size).step_by(PAGE_SIZE as usize) {
                    stream.put_page(node.base + page);
                }
            }
        }
        assert_eq!(facts.measurement, stream.digest());
    }

    /// Carries everything to its end.
    pub fn drain(&mut self) {
        for _ in 0..1_000_000 {
            if self.flights.is_empty() {
                self.learn();
                return;
            }
            self.step();
        }
        panic!("an operation does not end");
    }

    /// Plays a call: the reference judges, the engine must agree. While something is on its way the engine may refuse more,
    /// and what the reference refuses is played only once nothing is.
    pub fn play<J, R>(
        &mut self,
        judge: impl Fn(&Reference) -> Result<J, Error>,
        call: impl Fn(&mut Engine<Pages>) -> Result<R, Error>,
    ) -> Option<(J, R)> {
        if judge(&self.reference).is_err() {
            self.drain();
        }
        let mut answer = call(&mut self.engine);
        if answer.is_err() && !self.flights.is_empty() {
            self.drain();
            answer = call(&mut self.engine);
        }
        let verdict = judge(&self.reference);
        match (verdict, answer) {
            (Ok(verdict), Ok(answer)) => Some((verdict, answer)),
            (Err(expected), Err(error)) => {
                assert_eq!(error, expected);
                None
            }
            (Ok(_), Err(error)) => panic!("the engine refused: {error:?}"),
            (Err(error), Ok(_)) => panic!("the engine allowed what is {error:?}"),
        }
    }

    pub fn add_claim(&mut self, claim: Claim, node: Node) {
        self.reference.claims.push(claim);
        self.reference.nodes.push(node);
        self.learn();
    }
}
