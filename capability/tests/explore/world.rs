//! An engine, a machine, what is on its way on each core, and what must be remembered to judge the next state.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::Engine;
use crate::account::Costs;
use crate::derive::{Source, Target};
use crate::device;
use crate::domain::Domain;
use crate::effect::Budget;
use crate::grant::Expected;
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::node::{Entry, Kind, Link, Node, NodePage, Resource, Stage};
use crate::operation::{Grant, Operation, Progress};
use crate::records::Records;
use crate::store::Page;
use crate::tree::{Order, Tree};

use super::action::{Action, Alphabet, From};
use super::check::Breach;
use super::machine::{CORES, Machine, Mapping, WHOLE};
use super::pages::Pages;

/// Where the pool begins.
pub const POOL: u64 = 0x20_0000;

/// Where a domain has the registers of the device.
const REGISTERS: u64 = 0x80_0000;

/// What a domain's places are above host-physical addresses, domain 0's excepted.
const SHIFT: u64 = 0x40_0000;

/// What the platform's part costs.
const COSTS: Costs = Costs { domain: 3, vcpu: 2 };

/// Pages of monitor memory: enough for everything.
const LIMIT: u64 = 1000;

/// Pages that a domain gets from domain 0, and from another.
const QUOTAS: [u64; 2] = [120, 20];

/// What a domain is from its seal on.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub domain: DomainId,
    pub policy: Policy,
    pub vcpus: u32,
    pub measurement: [u8; 32],
    pub epoch: u32,
    /// What it had at its seal, or accepted since.
    pub consented: Vec<NodeId>,
}

/// An operation on its way.
#[derive(Clone, Debug)]
pub struct Flight {
    pub operation: Operation,
    /// Domains that must not run any more when it has ended.
    pub mortal: Vec<DomainId>,
}

/// How a transition ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Something may have changed.
    Changed,
    /// A call was refused: nothing may have changed.
    Refused(Error),
}

#[derive(Clone, Debug)]
pub struct World {
    pub engine: Engine<Pages>,
    pub machine: Machine,
    pub flights: [Option<Flight>; CORES],
    pub sealed: Vec<Sealed>,
    pub first: DomainId,
    /// What an operation that has ended in this transition leaves undone.
    pub ended_badly: Option<Breach>,
}

impl World {
    /// Domain 0 alone, with a pool of so many pages and all cores.
    pub fn new(pool_pages: u64) -> Self {
        let mut engine = Engine::new(Pages::default(), LIMIT, COSTS).unwrap();
        let size = pool_pages * PAGE_SIZE;
        let attributes = Attributes::RIGHTS | Attributes::POOL;
        engine
            .add_root(Resource::Memory, POOL, size, attributes)
            .unwrap();
        engine
            .add_root(Resource::Core, 0, CORES as u64, Attributes::NONE)
            .unwrap();
        let first = engine.first_domain();
        let device = device::number(0);
        let data = Attributes::READ | Attributes::WRITE;
        engine
            .add_root(Resource::Device, device, PAGE_SIZE, data)
            .unwrap();
        engine
            .add_root(Resource::WholeCore, WHOLE as u64, 1, Attributes::NONE)
            .unwrap();
        let mut machine = Machine::new(first);
        machine.mapped.push(Mapping {
            domain: first,
            place: device,
            base: device,
            rights: data,
        });
        for base in (POOL..POOL + size).step_by(PAGE_SIZE as usize) {
            machine.mapped.push(Mapping {
                domain: first,
                place: base,
                base,
                rights: Attributes::RIGHTS,
            });
        }
        machine.allowed = (0..CORES as u64).map(|core| (first, core)).collect();
        Self {
            engine,
            machine,
            flights: [const { None }; CORES],
            sealed: Vec::new(),
            first,
            ended_badly: None,
        }
    }

    /// The number of a pool page.
    pub fn page_index(&self, base: u64) -> u8 {
        ((base - POOL) / PAGE_SIZE) as u8
    }

    /// Where a domain has what lies at `base`.
    fn place(&self, domain: DomainId, base: u64) -> u64 {
        if domain == self.first {
            base
        } else {
            base + SHIFT
        }
    }

    pub fn domain_id(&self, page: PageNumber) -> DomainId {
        self.engine.store.domain(page).id
    }

    fn claim_id(&self, page: PageNumber) -> ClaimId {
        self.engine.store.claim(page).id
    }

    /// The name of the node, and of the claim that may command it.
    fn region(&self, link: Link) -> (ClaimId, NodeId) {
        let node = self.engine.store.node(link);
        (self.claim_id(node.payer), node.id)
    }

    /// The claim in which the domain lives, and the domain.
    fn child(&self, page: PageNumber) -> Option<(ClaimId, DomainId)> {
        let domain = self.engine.store.domain(page);
        Some((self.claim_id(domain.claim?), domain.id))
    }

    /// Whether some core of domain 0's has nothing on its way.
    pub fn has_caller(&self) -> bool {
        (0..CORES).any(|core| self.is_caller(core))
    }

    fn is_caller(&self, core: usize) -> bool {
        let given = core == WHOLE && self.machine.given != Some(self.first);
        self.flights[core].is_none() && !given
    }

    /// Whether domain 0 can spare the core that can be given away, and another caller is left.
    pub fn is_offline(&self) -> bool {
        let runs = self.machine.running[WHOLE] == self.first;
        let loud = self.machine.silent & 1 << WHOLE == 0;
        runs && loud && self.flights[WHOLE].is_none() && self.is_caller(1 - WHOLE)
    }

    /// Whether a vCPU of the domain may be started on the core that it has.
    pub fn may_start(&self, domain: &Domain) -> bool {
        let store = &self.engine.store;
        let page = store.find_domain(domain.id);
        let link = page.and_then(|page| self.engine.whole_core_link_at(page, WHOLE as u64));
        let region = link.map(|link| store.node(link).id);
        domain.claim.is_some()
            && self.machine.running[WHOLE] == self.first
            && self.engine.is_sealed(domain.id)
            && region.is_some_and(|region| self.engine.whole_core(domain.id, region).is_some())
    }

    /// Whether a core that runs domain 0 may be made to run the domain.
    pub fn may_enter(&self, domain: &Domain, core: u64) -> bool {
        let at = core as usize;
        let mut above = domain.claim;
        while let Some(claim) = above {
            let creator = self
                .engine
                .store
                .domain(self.engine.store.claim(claim).domain);
            if creator.state != DomainState::Sealed {
                return false;
            }
            above = creator.claim;
        }
        domain.claim.is_some()
            && self.machine.running[at] == self.first
            && self.is_caller(at)
            && self.machine.silent & 1 << core == 0
            && self.engine.is_sealed(domain.id)
            && self.engine.may_run_on(domain.id, core)
    }

    /// Lets the action happen.
    pub fn apply(&mut self, action: Action, alphabet: &Alphabet) -> Outcome {
        self.ended_badly = None;
        let outcome = match action {
            Action::Advance(core) => {
                self.advance(core.into(), 1);
                Outcome::Changed
            }
            Action::Answer(core) => self.changed(|world| world.machine.answer(core.into())),
            Action::Exit(core) => {
                let first = self.first;
                self.changed(|world| world.machine.leave(core.into(), first))
            }
            Action::Abandon(core) => self.changed(|world| world.flights[usize::from(core)] = None),
            Action::Silence(core) => self.changed(|world| world.machine.silent |= 1 << core),
            Action::Enter(core, page) => {
                let domain = self.domain_id(page);
                self.changed(|world| world.machine.leave(core.into(), domain))
            }
            Action::Start(page) => {
                let domain = self.domain_id(page);
                self.changed(|world| world.machine.start(domain))
            }
            call => match self.call(call, alphabet) {
                Some(Ok(())) => Outcome::Changed,
                Some(Err(error)) => Outcome::Refused(error),
                None => Outcome::Refused(Error::NotFound),
            },
        };
        self.remember_seals();
        outcome
    }

    fn changed(&mut self, change: impl FnOnce(&mut Self)) -> Outcome {
        change(self);
        Outcome::Changed
    }

    fn call(&mut self, action: Action, alphabet: &Alphabet) -> Option<Result<(), Error>> {
        match action {
            Action::Carve { .. } | Action::Share { .. } => return self.derive(action, alphabet),
            Action::Claim { .. } | Action::Create { .. } | Action::Vcpu { .. } => {
                return Some(self.compose(action));
            }
            _ => {}
        }
        let operation = match action {
            Action::Release(claim) => self.engine.release(self.claim_id(claim)),
            Action::Cores(domain) => {
                let (claim, domain) = self.child(domain)?;
                self.engine.derive_cores(claim, domain, 0, CORES as u64)
            }
            Action::Grant(region, target) => {
                let (claim, region) = self.region(region);
                let base = self.engine.region_facts(region)?.base;
                let target = self.domain_id(target);
                let place = self.place(target, base);
                match self.engine.grant(claim, region, target, place) {
                    Ok(Grant::Granted(operation)) => Ok(operation),
                    Ok(Grant::Offered) => return Some(Ok(())),
                    Err(error) => Err(error),
                }
            }
            Action::Accept {
                domain,
                offer,
                composed,
            } => self.accept(domain, offer, composed),
            Action::Assign(domain) => {
                let (claim, domain) = self.child(domain)?;
                let data = Attributes::READ | Attributes::WRITE;
                let target = Target {
                    domain,
                    place: REGISTERS,
                };
                self.engine
                    .assign(claim, device::number(0), PAGE_SIZE, target, data)
            }
            Action::CarveCore(domain) => {
                let (claim, domain) = self.child(domain)?;
                let carve = self.engine.carve_core(claim, WHOLE as u64, domain);
                if carve.is_ok() {
                    // Whoever asks for it has made sure first that domain 0 does not use it any more.
                    self.machine.given = None;
                }
                carve
            }
            Action::Close(region) => {
                let (claim, region) = self.region(region);
                return Some(self.engine.close(claim, region));
            }
            Action::Revoke(region) => {
                let (claim, region) = self.region(region);
                self.engine.revoke(claim, region)
            }
            Action::Seal(domain) => {
                let (claim, domain) = self.child(domain)?;
                self.engine.seal(claim, domain)
            }
            Action::Destroy(domain) => {
                let (claim, domain) = self.child(domain)?;
                self.engine.destroy(claim, domain)
            }
            _ => return None,
        };
        Some(operation.map(|operation| self.begin(operation)))
    }

    fn compose(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::Claim {
                domain,
                first,
                count,
            } => {
                let domain = self.domain_id(domain);
                let place = self.place(domain, POOL + u64::from(first) * PAGE_SIZE);
                let size = u64::from(count) * PAGE_SIZE;
                self.engine.claim(domain, place, size, [1, 2])?;
            }
            Action::Create { claim, first } => {
                let base = self.base_in(claim, first);
                let policy = Policy {
                    flags: Flags::CONFIDENTIAL | Flags::MAY_COMPOSE,
                    exceptions: 0,
                };
                self.create(claim, base, policy)?;
            }
            Action::Vcpu {
                claim,
                domain,
                first,
            } => {
                let base = self.base_in(claim, first);
                let (claim, domain) = (self.claim_id(claim), self.domain_id(domain));
                self.engine
                    .add_vcpu(claim, domain, base, Entry::default())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Creates a domain in the claim; the machine learns whose child it is.
    pub fn create(
        &mut self,
        claim: PageNumber,
        base: u64,
        policy: Policy,
    ) -> Result<DomainId, Error> {
        let creator = self.domain_id(self.engine.store.claim(claim).domain);
        let quota = QUOTAS[usize::from(creator != self.first)];
        let domain = self
            .engine
            .create(self.claim_id(claim), base, policy, quota)?;
        self.machine.creators.push((domain, creator));
        Ok(domain)
    }

    fn base_in(&self, claim: PageNumber, page: u8) -> u64 {
        let node = self.engine.store.claim(claim).node();
        self.engine.store.node(node).base + u64::from(page) * PAGE_SIZE
    }

    fn derive(&mut self, action: Action, alphabet: &Alphabet) -> Option<Result<(), Error>> {
        let (claim, from, target) = match action {
            Action::Carve {
                claim,
                from,
                target,
                ..
            }
            | Action::Share {
                claim,
                from,
                target,
            } => (claim, from, target),
            _ => return None,
        };
        let (base, source) = self.source(claim, from);
        let target = target.map(|page| {
            let domain = self.domain_id(page);
            Target {
                domain,
                place: self.place(domain, base),
            }
        });
        let claim = self.claim_id(claim);
        let operation = match action {
            Action::Carve { attributes, .. } => {
                let attributes = *alphabet.attributes.get(usize::from(attributes))?;
                self.engine.carve(claim, source, target, attributes)
            }
            _ => {
                let attributes = alphabet
                    .attributes
                    .first()?
                    .intersection(Attributes::RIGHTS);
                self.engine.share(claim, source, target, attributes)
            }
        };
        Some(operation.map(|operation| self.begin(operation)))
    }

    fn source(&self, claim: PageNumber, from: From) -> (u64, Source) {
        match from {
            From::Range { first, count } => {
                let base = self.base_in(claim, first);
                let size = u64::from(count) * PAGE_SIZE;
                (base, Source::Range { base, size })
            }
            From::Region { region, count } => {
                let node = self.engine.store.node(region);
                let source = Source::Region {
                    region: node.id,
                    offset: 0,
                    size: u64::from(count) * PAGE_SIZE,
                };
                (node.base, source)
            }
        }
    }

    fn accept(
        &mut self,
        domain: PageNumber,
        offer: Link,
        composed: bool,
    ) -> Result<Operation, Error> {
        let node = self.engine.store.node(offer);
        let expected = Expected {
            place: node.place,
            size: node.size,
            attributes: node.attributes,
        };
        let offer = node.id;
        let record = self.engine.store.domain(domain);
        let claim = record.claim.map(|claim| self.claim_id(claim));
        let id = record.id;
        let operation = self
            .engine
            .accept(id, claim.filter(|_| composed), offer, expected)?;
        if let Some(sealed) = self.sealed.iter_mut().find(|sealed| sealed.domain == id) {
            sealed.consented.push(offer);
            sealed.epoch += 1;
        }
        Ok(operation)
    }

    /// Puts the operation on a core that has none.
    pub fn begin(&mut self, operation: Operation) {
        let mortal = match operation {
            Operation::Revoke(node) => self.mortal(node),
            _ => Vec::new(),
        };
        if let Some(free) = (0..CORES).find(|core| self.is_caller(*core)) {
            self.flights[free] = Some(Flight { operation, mortal });
        }
    }

    /// Domains that cannot outlive the node: those to which something below it is vital, or whose control page is there.
    fn mortal(&self, node: NodeId) -> Vec<DomainId> {
        let mut mortal = Vec::new();
        let Some(top) = self.engine.store.find_node(node) else {
            return mortal;
        };
        // The walk ends early only if the visitor says so.
        let _ = self.engine.for_each_node(|link| {
            if !self.line(link).contains(&top) {
                return Ok(());
            }
            let node = self.engine.store.node(link);
            let vital = node.attributes.contains(Attributes::VITAL);
            mortal.extend(
                node.owner
                    .filter(|_| vital)
                    .map(|page| self.domain_id(page)),
            );
            mortal.extend(
                node.target
                    .filter(|_| node.kind == Kind::Control)
                    .map(|page| self.domain_id(page)),
            );
            Ok(())
        });
        mortal
    }

    /// The node and all above it.
    pub fn line(&self, link: Link) -> Vec<Link> {
        let above = |link: &Link| self.engine.store.node(*link).parent;
        std::iter::successors(Some(link), above).collect()
    }

    /// Carries the operation of a core on.
    pub fn advance(&mut self, core: usize, units: u64) {
        let Some(flight) = self.flights[core].take() else {
            return;
        };
        self.machine.core = core;
        let mut budget = Budget::new(units);
        let progress = self
            .engine
            .advance(flight.operation, &mut self.machine, &mut budget);
        self.machine.core = 0;
        self.forget_tickets();
        match progress {
            Progress::Again => self.flights[core] = Some(flight),
            Progress::Done(result) => self.ended_badly = self.judge_end(&flight, result),
        }
    }

    /// Nobody waits for a flush that no node asks about any more.
    fn forget_tickets(&mut self) {
        let mut tickets = core::mem::take(&mut self.machine.tickets);
        for (index, ticket) in tickets.iter_mut().enumerate() {
            if ticket.waiting != 0 && !self.asks_about(index as u64 + 1) {
                ticket.waiting = 0;
            }
        }
        self.machine.tickets = tickets;
    }

    fn asks_about(&self, word: u64) -> bool {
        let asks = |node: &Node| {
            let waits = matches!(node.stage, Stage::TakeFlush | Stage::DropFlush);
            waits && node.course().offset == word
        };
        self.engine.store.all().any(|(_, page)| match page {
            Page::Nodes(nodes) => (0..NodePage::SLOTS)
                .filter_map(|slot| nodes.get(slot))
                .any(asks),
            _ => false,
        })
    }

    /// What a domain has when it becomes sealed is what it consented to.
    fn remember_seals(&mut self) {
        let store = &self.engine.store;
        self.sealed
            .retain(|sealed| store.find_domain(sealed.domain).is_some());
        for (page, record) in store.all() {
            let Page::Domain(domain) = record else {
                continue;
            };
            let known = self.sealed.iter().any(|sealed| sealed.domain == domain.id);
            if domain.claim.is_none() || domain.state != DomainState::Sealed || known {
                continue;
            }
            let tree = Tree::new(store, Order::Holder, store.domain(page).holdings);
            let links = std::iter::successors(tree.first(), |link| tree.next(*link));
            self.sealed.push(Sealed {
                domain: domain.id,
                policy: domain.policy,
                vcpus: domain.vcpus,
                measurement: domain.measurement,
                epoch: domain.epoch,
                consented: links.map(|link| store.node(link).id).collect(),
            });
        }
    }
}
