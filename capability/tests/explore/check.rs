//! What must hold in every state, and of every transition.
//!
//! The engine checks its records; this compares the records with what the machine really grants, page by page, and with what
//! is remembered of the states before.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::Violation;
use crate::identity::{DomainId, PageNumber};
use crate::measure;
use crate::node::{Detail, Kind, Link, Node, Resource, Stage, flag};
use crate::operation::Operation;
use crate::records::Records;
use crate::store::Page;
use crate::tree::{Order, Tree, class, key};

use super::action::Action;
use super::machine::{self, Mapping, Stale, WHOLE};
use super::search::Plant;
use super::world::{Flight, Outcome, World};

/// What does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// The engine's own check.
    Engine(Violation),
    /// A domain can reach, by its tables, what was carved away from it.
    Exclusivity,
    /// A domain can reach, by its tables, what it does not have, or with more rights, or something was mapped over it.
    Completeness,
    /// A translation may be cached that nothing accounts for any more.
    Flush,
    /// A page that may hold what was kept in a clean region is mapped to somebody else.
    Secrecy,
    /// A device was attached that had not been reset, or was reset while somebody could drive it.
    Reset,
    /// At rest, a domain cannot reach what it has.
    Agreement,
    /// A sealed domain has something that it did not accept.
    Consent,
    /// A sealed domain's policy, vCPUs or measurement changed.
    Frozen,
    /// An epoch is not the number of accepts since the seal.
    Epoch,
    /// A core runs, or may run, what it may not.
    Cores,
    /// A domain was retired while it could run or had memory.
    Retired,
    /// A call was refused and changed something.
    Refusal,
    /// An operation reported success and had not done what it was for.
    Success,
    /// An operation failed for no reason that is there.
    Failure,
    /// A measurement is not that of what the domain has.
    Measurement,
    /// A page is taken that nothing accounts for, or something is not given back in the end.
    Leak,
    /// An operation does not end.
    Stuck,
    /// The engine panicked.
    Panic,
}

impl From<Violation> for Breach {
    fn from(violation: Violation) -> Self {
        Self::Engine(violation)
    }
}

fn ensure(holds: bool, breach: Breach) -> Result<(), Breach> {
    if holds { Ok(()) } else { Err(breach) }
}

impl World {
    /// Checks the state, and what the transition left undone.
    pub fn check(&self) -> Result<(), Breach> {
        if let Some(breach) = self.ended_badly {
            return Err(breach);
        }
        self.engine.check_invariants()?;
        ensure(!self.machine.mapped_twice, Breach::Completeness)?;
        ensure(!self.machine.retired_early, Breach::Retired)?;
        ensure(!self.machine.reset_missing, Breach::Reset)?;
        for mapping in &self.machine.mapped {
            self.check_mapping(mapping)?;
        }
        for stale in &self.machine.stale {
            ensure(self.is_accounted_for(stale), Breach::Flush)?;
        }
        self.check_secrets()?;
        self.check_cores()?;
        self.check_sealed()?;
        self.check_pages()?;
        if self.is_at_rest() {
            ensure(self.is_all_mapped(), Breach::Agreement)?;
        }
        Ok(())
    }

    fn node(&self, link: Link) -> &Node {
        self.engine.store.node(link)
    }

    fn children(&self, link: Link) -> impl Iterator<Item = Link> {
        let tree = Tree::new(
            &self.engine.store,
            Order::Siblings,
            self.node(link).children,
        );
        std::iter::successors(tree.first(), move |child| tree.next(*child))
    }

    /// The region of the domain where it has something mapped, and the byte in it.
    fn region_of(&self, mapping: &Mapping) -> Option<(Link, u64)> {
        let page = self.engine.store.find_domain(mapping.domain)?;
        let link = self.link_at(page, mapping.place)?;
        let node = self.node(link);
        let offset = mapping.place - node.place;
        (node.base + offset == mapping.base).then_some((link, offset))
    }

    /// The region at `place`, or the machine's devices that have this number.
    fn link_at(&self, domain: PageNumber, place: u64) -> Option<Link> {
        let region = self.engine.region_link_at(domain, place);
        region.or_else(|| self.engine.machine_devices_link_at(domain, place))
    }

    fn check_mapping(&self, mapping: &Mapping) -> Result<(), Breach> {
        let Some((link, offset)) = self.region_of(mapping) else {
            return Err(Breach::Completeness);
        };
        let node = self.node(link);
        let there = match node.stage {
            Stage::Give => offset < node.course().offset,
            Stage::Live => true,
            Stage::Drop => offset >= node.course().offset,
            _ => false,
        };
        ensure(there, Breach::Completeness)?;
        ensure(mapping.rights == node.rights(), Breach::Completeness)?;
        let lent = self.carves_at(link, mapping.base).any(|carve| {
            let carve = self.node(carve);
            is_taken(carve, mapping.base - carve.base)
        });
        ensure(!lent, Breach::Exclusivity)
    }

    /// What was derived from the region, directly or in a claim.
    fn derived(&self, region: Link) -> impl Iterator<Item = Link> {
        self.children(region).flat_map(move |child| {
            let claim = self.node(child).kind == Kind::Claim;
            let inner = claim.then(|| self.children(child));
            std::iter::once(child).chain(inner.into_iter().flatten())
        })
    }

    /// The carves out of the region that hold `base`.
    fn carves_at(&self, region: Link, base: u64) -> impl Iterator<Item = Link> {
        self.derived(region).filter(move |link| {
            let node = self.node(*link);
            node.kind == Kind::Carve && node.base <= base && base < node.end()
        })
    }

    /// Whether somebody is still to see to it that the translation is forgotten, or a core that does not answer keeps it.
    fn is_accounted_for(&self, stale: &Stale) -> bool {
        let Some(page) = self.engine.store.find_domain(stale.domain) else {
            return false;
        };
        let Some(region) = self.link_at(page, stale.place) else {
            return false;
        };
        let node = self.node(region);
        if node.base + (stale.place - node.place) != stale.base {
            return false;
        }
        let leaves = matches!(node.stage, Stage::Drop | Stage::DropFlush);
        leaves
            || self
                .carves_at(region, stale.base)
                .any(|carve| matches!(self.node(carve).stage, Stage::Take | Stage::TakeFlush))
    }

    /// Whoever can read a page may know what is in it.
    fn check_secrets(&self) -> Result<(), Breach> {
        for mapping in &self.machine.mapped {
            let mut secrets = self.machine.secrets.iter();
            if !secrets.any(|(base, _)| *base == mapping.base) {
                continue;
            }
            let Some((link, _)) = self.region_of(mapping) else {
                return Err(Breach::Completeness);
            };
            let line: Vec<_> = self
                .line(link)
                .iter()
                .map(|link| self.node(*link).id)
                .collect();
            let kept = |(base, carve): &(u64, _)| *base != mapping.base || line.contains(carve);
            ensure(self.machine.secrets.iter().all(kept), Breach::Secrecy)?;
        }
        Ok(())
    }

    /// Whoever has a page of a clean region fills it with what others must not see.
    pub fn fill_secrets(&mut self) {
        for index in 0..self.machine.mapped.len() {
            let mapping = self.machine.mapped[index];
            let Some((link, _)) = self.region_of(&mapping) else {
                continue;
            };
            let line = self.line(link);
            let carve = line
                .iter()
                .find(|link| self.node(**link).kind == Kind::Carve);
            let clean = carve.filter(|link| self.node(**link).is_clean());
            if let Some(clean) = clean {
                let secret = (mapping.base, self.node(*clean).id);
                if !self.machine.secrets.contains(&secret) {
                    self.machine.secrets.push(secret);
                }
            }
        }
    }

    fn check_cores(&self) -> Result<(), Breach> {
        let store = &self.engine.store;
        for (domain, core) in &self.machine.allowed {
            let page = store.find_domain(*domain).ok_or(Breach::Cores)?;
            let cores = self
                .engine
                .cores_link_at(page, *core)
                .ok_or(Breach::Cores)?;
            let stage = self.node(cores).stage;
            ensure((Stage::Give..=Stage::Drop).contains(&stage), Breach::Cores)?;
        }
        for (core, domain) in self.machine.running.iter().enumerate() {
            let record = store.domain(store.find_domain(*domain).ok_or(Breach::Cores)?);
            let ended = record.stopped && self.machine.silent & 1 << core == 0;
            ensure(!ended, Breach::Cores)?;
        }
        ensure(!self.machine.given_early, Breach::Cores)?;
        self.machine.given.map_or(Ok(()), |domain| {
            ensure(self.has_core(domain), Breach::Cores)
        })
    }

    /// Whether the core that can be given away is the domain's.
    fn has_core(&self, domain: DomainId) -> bool {
        let page = self.engine.store.find_domain(domain);
        let link = page.and_then(|page| self.engine.whole_core_link_at(page, WHOLE as u64));
        let Some(link) = link else {
            return false;
        };
        let stage = self.node(link).stage;
        let lent = |child: Link| {
            let stage = self.node(child).stage;
            !matches!(stage, Stage::Take | Stage::Return | Stage::Gone)
        };
        (Stage::Give..=Stage::Drop).contains(&stage) && !self.children(link).any(lent)
    }

    fn check_sealed(&self) -> Result<(), Breach> {
        let store = &self.engine.store;
        for sealed in &self.sealed {
            let Some(page) = store.find_domain(sealed.domain) else {
                continue;
            };
            let record = store.domain(page);
            let frozen = (record.policy, record.vcpus, record.measurement)
                == (sealed.policy, sealed.vcpus, sealed.measurement)
                && matches!(record.state, DomainState::Sealed | DomainState::Dying);
            ensure(frozen, Breach::Frozen)?;
            ensure(record.epoch == sealed.epoch, Breach::Epoch)?;
            let tree = Tree::new(store, Order::Holder, record.holdings);
            let mut holdings = std::iter::successors(tree.first(), |link| tree.next(*link));
            let consented = holdings.all(|link| sealed.consented.contains(&store.node(link).id));
            ensure(consented, Breach::Consent)?;
        }
        Ok(())
    }

    /// Every page that is taken holds something that the forest leads to.
    fn check_pages(&self) -> Result<(), Breach> {
        let mut reached = 0_usize;
        self.engine.for_each_node(|link| {
            let nodes = self.engine.store.node_page(link.page());
            let node = self.node(link);
            let of_node = usize::from(nodes.first() == Some(link.slot()));
            let domain = node.kind == Kind::Control && node.target.is_some();
            let of_record = usize::from(node.kind == Kind::Claim || domain);
            reached += of_node + of_record;
            Ok(())
        })?;
        ensure(self.engine.store.taken() == reached + 1, Breach::Leak)
    }

    /// Nothing is on its way, not even something that was abandoned.
    fn is_at_rest(&self) -> bool {
        let moves = |node: &Node| node.stage != Stage::Live || node.has(flag::DYING);
        let still = self.engine.store.all().all(|(_, page)| match page {
            Page::Nodes(nodes) => (0..crate::node::NodePage::SLOTS)
                .filter_map(|slot| nodes.get(slot))
                .all(|node| !moves(node)),
            _ => true,
        });
        still && self.flights.iter().all(Option::is_none)
    }

    fn owner_of(&self, node: &Node) -> DomainId {
        node.owner.map_or(self.first, |page| self.domain_id(page))
    }

    /// Since nothing is mapped that must not be, counting tells whether everything is that must.
    fn is_all_mapped(&self) -> bool {
        let mut expected = 0;
        let (mut cores, mut whole) = (0, true);
        // The visitor never ends the walk.
        let _ = self.engine.for_each_node(|link| {
            let node = self.node(link);
            let region = matches!(node.kind, Kind::Root | Kind::Carve | Kind::Share);
            if node.owner.is_none() || !region {
                return Ok(());
            }
            if node.resource == Resource::Core {
                cores += node.size;
                return Ok(());
            }
            if node.resource == Resource::WholeCore {
                let had = self
                    .machine
                    .given
                    .map(|domain| domain == self.owner_of(node));
                whole &= node.children.is_some() || had == Some(true);
                return Ok(());
            }
            let pages = (node.base..node.end()).step_by(PAGE_SIZE as usize);
            expected += pages
                .filter(|base| self.carves_at(link, *base).next().is_none())
                .count();
            Ok(())
        });
        whole && expected == self.machine.mapped.len() && cores == self.machine.allowed.len() as u64
    }

    /// What an operation that ended leaves undone.
    pub fn judge_end(&self, flight: &Flight, result: Result<u64, Error>) -> Option<Breach> {
        let store = &self.engine.store;
        match (flight.operation, result) {
            (_, Err(Error::Quarantined)) if self.machine.silent != 0 => None,
            (Operation::Place(node), Ok(_)) => {
                let placed = store.find_node(node).map(|link| store.node(link).stage);
                (placed != Some(Stage::Live)).then_some(Breach::Success)
            }
            (Operation::Place(node), Err(Error::Dead)) => {
                let living = |link| !store.node(link).has(flag::DYING);
                let lives = store.find_node(node).is_some_and(living);
                lives.then_some(Breach::Failure)
            }
            (Operation::Revoke(node), Ok(_)) => {
                let mut mortal = flight.mortal.iter();
                let runs = |page: PageNumber| !store.domain(page).stopped;
                let outlived = mortal.any(|domain| store.find_domain(*domain).is_some_and(runs));
                (outlived || store.find_node(node).is_some()).then_some(Breach::Success)
            }
            (Operation::Seal(domain), Ok(_)) => {
                let page = store.find_domain(domain);
                let right = page.is_some_and(|page| self.is_measured(page));
                (!right).then_some(Breach::Measurement)
            }
            (Operation::Seal(domain), Err(error)) => {
                let page = store.find_domain(domain);
                let state = page.map(|page| store.domain(page).state);
                let expected = match error {
                    Error::Dead => matches!(state, None | Some(DomainState::Dying)),
                    Error::Busy => state == Some(DomainState::Building),
                    _ => false,
                };
                (!expected).then_some(Breach::Failure)
            }
            _ => Some(Breach::Failure),
        }
    }

    /// Whether the domain's measurement is that of what it has. What it had at its seal may have been taken from it since.
    fn is_measured(&self, page: PageNumber) -> bool {
        let store = &self.engine.store;
        let domain = store.domain(page);
        let tree = Tree::new(store, Order::Holder, domain.holdings);
        let holdings: Vec<&Node> = std::iter::successors(tree.first(), |link| tree.next(*link))
            .map(|link| store.node(link))
            .collect();
        let header = measure::header(domain.policy, domain.vcpus, domain.regions);
        let mut digest = machine::digest_with_record(machine::EMPTY_DIGEST, header);
        for node in &holdings {
            if let Detail::Vcpu(entry) = node.detail {
                let record = measure::vcpu(node.place, entry);
                digest = machine::digest_with_record(digest, record);
            }
        }
        for node in &holdings {
            if key(Order::Holder, node).0 != class::MEMORY {
                continue;
            }
            let exclusive = node.kind == Kind::Carve;
            let record = measure::region(node.place, node.size, node.attributes, exclusive);
            digest = machine::digest_with_record(digest, record);
            if node.attributes.contains(Attributes::MEASURED) {
                for base in (node.base..node.end()).step_by(PAGE_SIZE as usize) {
                    digest = machine::digest_with_page(digest, base);
                }
            }
        }
        domain.measurement == machine::digest_end(digest)
    }

    /// Lets every core answer and everything end, takes all back, and looks whether all is as it was in the beginning.
    pub fn check_end(mut self, plant: Option<Plant>) -> Result<(), Breach> {
        self.drain(plant)?;
        let claims: Vec<_> = self.claims_of_first();
        for claim in claims {
            let Ok(operation) = self.engine.release(claim) else {
                continue;
            };
            self.flights[0] = Some(Flight {
                operation,
                mortal: Vec::new(),
            });
            self.drain(plant)?;
        }
        if self.machine.silent != 0 {
            return Ok(());
        }
        self.check()?;
        let first = self.engine.domain_facts(self.first).ok_or(Breach::Leak)?;
        let back = first.account.passed == 0 && first.claimed_bytes == 0;
        // Domain 0's record and the page of the roots.
        ensure(back && self.engine.store.taken() == 2, Breach::Leak)
    }

    fn claims_of_first(&self) -> Vec<crate::identity::ClaimId> {
        let claims = self.engine.store.all().filter_map(|(_, page)| match page {
            Page::Claim(claim) => Some(claim),
            _ => None,
        });
        claims
            .filter(|claim| self.domain_id(claim.domain) == self.first)
            .map(|claim| claim.id)
            .collect()
    }

    fn drain(&mut self, plant: Option<Plant>) -> Result<(), Breach> {
        for round in 0..2000 {
            let core = round % self.flights.len();
            for other in 0..self.flights.len() {
                if self.machine.silent & 1 << other == 0 && self.machine.is_awaited(other) {
                    self.machine.answer(other);
                }
            }
            let before = plant.map(|plant| (plant, self.clone()));
            self.advance(core, 1);
            if let Some((plant, before)) = before {
                let action = Action::Advance(core as u8);
                plant(&before, self, action, &Outcome::Changed);
            }
            if let Some(breach) = self.ended_badly {
                return Err(breach);
            }
            self.engine.check_invariants()?;
            if self.flights.iter().all(Option::is_none) {
                return Ok(());
            }
        }
        Err(Breach::Stuck)
    }
}

/// Whether the page at this offset is out of reach of who holds what the carve was made from.
fn is_taken(carve: &Node, offset: u64) -> bool {
    match carve.stage {
        Stage::Take => offset < carve.course().offset,
        Stage::Return => offset >= carve.course().offset,
        Stage::Gone => false,
        _ => true,
    }
}
