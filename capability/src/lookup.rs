//! Finding things by where they are, and saying what is known of them.

use adyton_abi::record::{DomainState, Sharing};
use adyton_abi::region::Attributes;

use crate::domain::DomainFacts;
use crate::engine::Engine;
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::node::{Kind, Link, Resource, Stage, flag};
use crate::records::Records;
use crate::store::{Page, Store};
use crate::tree::{Order, Tree, class};

/// What is known of a region or of a range of cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionFacts {
    /// Its name.
    pub id: NodeId,
    /// What it is a right over.
    pub resource: Resource,
    /// How it came to be.
    pub kind: Kind,
    /// The domain that has it.
    pub owner: Option<DomainId>,
    /// The domain that it is offered to.
    pub offered_to: Option<DomainId>,
    /// The claim that derived it; none for what the machine has.
    pub claim: Option<ClaimId>,
    /// The region that it was derived from; none for what the machine has.
    pub source: Option<NodeId>,
    /// Guest-physical address in its owner.
    pub place: u64,
    /// Host-physical address, or number of the first core.
    pub base: u64,
    /// Bytes, or cores.
    pub size: u64,
    /// Rights and attributes.
    pub attributes: Attributes,
    /// Who can reach it.
    pub sharing: Sharing,
    /// Nothing can be derived from it.
    pub closed: bool,
    /// It is neither on its way into place nor out of it.
    pub in_place: bool,
    /// A core did not answer; it is never used again.
    pub quarantined: bool,
}

impl<S: Store> Engine<S> {
    /// The region of the domain that holds guest-physical `place`.
    pub(crate) fn region_link_at(&self, domain: PageNumber, place: u64) -> Option<Link> {
        self.holding_at(domain, class::MEMORY, place)
    }

    /// The range of cores of the domain that holds core `core`.
    pub(crate) fn cores_link_at(&self, domain: PageNumber, core: u64) -> Option<Link> {
        self.holding_at(domain, class::CORE, core)
    }

    /// Of all the machine's devices that the domain has, those that hold `number`.
    pub(crate) fn machine_devices_link_at(&self, domain: PageNumber, number: u64) -> Option<Link> {
        self.holding_at(domain, class::DEVICE, number)
    }

    /// What was derived from the node and begins at `base`.
    pub(crate) fn child_at(&self, parent: Link, base: u64) -> Option<Link> {
        let children = self.store.node(parent).children;
        let tree = Tree::new(&self.store, Order::Siblings, children);
        let link = tree.at_or_after((base, 0))?;
        (self.store.node(link).base == base).then_some(link)
    }

    pub(crate) fn holding_at(&self, domain: PageNumber, class: u64, place: u64) -> Option<Link> {
        let holdings = self.store.domain(domain).holdings;
        let tree = Tree::new(&self.store, Order::Holder, holdings);
        let link = tree.before((class, place.checked_add(1)?))?;
        let node = self.store.node(link);
        let same = crate::tree::key(Order::Holder, node).0 == class;
        (same && place - node.place < node.size).then_some(link)
    }

    /// What holds `base` among the parent's children that are claims.
    pub(crate) fn claim_link_at(&self, region: Link, base: u64) -> Option<Link> {
        let children = self.store.node(region).children;
        let tree = Tree::new(&self.store, Order::Siblings, children);
        let link = tree.before((base.checked_add(1)?, 0))?;
        let node = self.store.node(link);
        (node.kind == Kind::Claim && base < node.end()).then_some(link)
    }

    /// The claim of `domain` that holds guest-physical `place`.
    #[must_use]
    pub fn claim_at(&self, domain: DomainId, place: u64) -> Option<ClaimId> {
        let page = self.store.find_domain(domain)?;
        let claim = self.claim_page_at(page, place)?;
        Some(self.store.claim(claim).id)
    }

    pub(crate) fn claim_page_at(&self, domain: PageNumber, place: u64) -> Option<PageNumber> {
        let region = self.region_link_at(domain, place)?;
        let node = self.store.node(region);
        let claim = self.claim_link_at(region, node.base + (place - node.place))?;
        Some(self.store.node(claim).payer)
    }

    /// The domain whose control page is at guest-physical `place` of `caller`, and the claim in which it lives.
    #[must_use]
    pub fn domain_at(&self, caller: DomainId, place: u64) -> Option<(ClaimId, DomainId)> {
        let page = self.store.find_domain(caller)?;
        let claim = self.claim_page_at(page, place)?;
        let claim = self.store.claim(claim);
        let node = self.store.node(claim.node());
        let base = node.base + (place - node.place);
        Some((claim.id, self.domain_by_control(claim.id, base)?))
    }

    /// The domain of the claim whose control page is host-physical `base`.
    #[must_use]
    pub fn domain_by_control(&self, claim: ClaimId, base: u64) -> Option<DomainId> {
        let claim = self.store.claim(self.store.find_claim(claim)?);
        let children = self.store.node(claim.node()).children;
        let tree = Tree::new(&self.store, Order::Siblings, children);
        let node = self.store.node(tree.at_or_after((base, 0))?);
        if node.base != base {
            return None;
        }
        Some(self.store.domain(node.target?).id).filter(|_| node.kind == Kind::Control)
    }

    /// What is known of the domain.
    #[must_use]
    pub fn domain_facts(&self, domain: DomainId) -> Option<DomainFacts> {
        let record = self.store.domain(self.store.find_domain(domain)?);
        let creator = record.claim.map(|claim| self.store.claim(claim).domain);
        let control = record.control.map(|link| self.store.node(link).base);
        Some(DomainFacts {
            id: record.id,
            state: record.state,
            policy: record.policy,
            vcpus: record.vcpus,
            epoch: record.epoch,
            regions: record.regions,
            account: record.account,
            measurement: record.measurement,
            control_base: control.unwrap_or(0),
            creator: creator.map(|page| self.store.domain(page).id),
            pool_bytes: record.pool_bytes,
            claimed_bytes: record.claimed_bytes,
            pool_regions: record.pool_regions,
        })
    }

    /// The claim in which the domain lives; none for domain 0.
    #[must_use]
    pub fn claim_of(&self, domain: DomainId) -> Option<ClaimId> {
        let page = self.store.find_domain(domain)?;
        Some(self.store.claim(self.store.domain(page).claim?).id)
    }

    /// Whether the domain may be entered on the core.
    #[must_use]
    pub fn may_run_on(&self, domain: DomainId, core: u64) -> bool {
        let found = self
            .store
            .find_domain(domain)
            .and_then(|page| self.cores_link_at(page, core));
        found.is_some_and(|link| {
            let node = self.store.node(link);
            node.stage == Stage::Live && !node.has(flag::DYING)
        })
    }

    /// Host-physical address of the exit page of a vCPU.
    #[must_use]
    pub fn exit_page(&self, domain: DomainId, vcpu: u32) -> Option<u64> {
        let page = self.store.find_domain(domain)?;
        let link = self.holding_at(page, class::EXIT, u64::from(vcpu))?;
        Some(self.store.node(link).base)
    }

    /// The region of the domain that holds guest-physical `place`. Parts of it may be carved away.
    #[must_use]
    pub fn region_at(&self, domain: DomainId, place: u64) -> Option<RegionFacts> {
        let page = self.store.find_domain(domain)?;
        Some(self.facts(self.region_link_at(page, place)?))
    }

    /// What is known of a region or a range of cores.
    #[must_use]
    pub fn region_facts(&self, region: NodeId) -> Option<RegionFacts> {
        let link = self.store.find_node(region)?;
        let kind = self.store.node(link).kind;
        matches!(kind, Kind::Root | Kind::Carve | Kind::Share).then(|| self.facts(link))
    }

    fn facts(&self, link: Link) -> RegionFacts {
        let node = self.store.node(link);
        let name = |page: PageNumber| self.store.domain(page).id;
        let claim = match self.store.page(node.payer) {
            Page::Claim(claim) => Some(claim.id),
            _ => None,
        };
        RegionFacts {
            id: node.id,
            resource: node.resource,
            kind: node.kind,
            owner: node.owner.map(name),
            offered_to: node.target.map(name),
            claim,
            source: self.lender(link).map(|link| self.store.node(link).id),
            place: node.place,
            base: node.base,
            size: node.size,
            attributes: node.attributes,
            sharing: self.sharing(link),
            closed: node.has(flag::CLOSED),
            in_place: node.stage == Stage::Live && !node.has(flag::DYING),
            quarantined: node.has(flag::QUARANTINED),
        }
    }

    pub(crate) fn sharing(&self, link: Link) -> Sharing {
        let node = self.store.node(link);
        if node.kind == Kind::Share || node.shares > 0 {
            Sharing::Shared
        } else if node.carves > 0 {
            Sharing::Lent
        } else {
            Sharing::Exclusive
        }
    }

    /// Whether `domain` lives in `claim` or was made, at whatever remove, by a domain that does.
    #[must_use]
    pub fn descends_from(&self, domain: DomainId, claim: ClaimId) -> bool {
        let (Some(mut page), Some(claim)) =
            (self.store.find_domain(domain), self.store.find_claim(claim))
        else {
            return false;
        };
        while let Some(home) = self.store.domain(page).claim {
            if home == claim {
                return true;
            }
            page = self.store.claim(home).domain;
        }
        false
    }

    /// Whether the domain is sealed and alive: it may be entered.
    #[must_use]
    pub fn is_sealed(&self, domain: DomainId) -> bool {
        let page = self.store.find_domain(domain);
        page.is_some_and(|page| self.store.domain(page).state == DomainState::Sealed)
    }
}
