//! Domains: what the engine knows of each.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::account::Account;
use crate::engine::{Draft, Engine};
use crate::identity::{ClaimId, DomainId, PageNumber};
use crate::node::{Detail, Entry, Kind, Link, Resource};
use crate::operation::Operation;
use crate::placement;
use crate::records::Records;
use crate::seal::Measuring;
use crate::store::{Page, Store};
use crate::survey::Mark;
use crate::tree::{Order, Tree};

/// The record of one domain.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Domain {
    pub(crate) id: DomainId,
    pub(crate) state: DomainState,
    pub(crate) policy: Policy,
    /// The claim it lives in; none for domain 0.
    pub(crate) claim: Option<PageNumber>,
    /// Its control page; none for domain 0.
    pub(crate) control: Option<Link>,
    pub(crate) account: Account,
    /// What it has, ordered by resource and place.
    pub(crate) holdings: Option<Link>,
    /// What it is offered, ordered by name.
    pub(crate) offers: Option<Link>,
    /// First of the pages of nodes that it pays for itself (the roots) and that have room.
    pub(crate) open_pages: Option<PageNumber>,
    pub(crate) vcpus: u32,
    /// Regions of memory that it has.
    pub(crate) regions: u32,
    pub(crate) pool_regions: u32,
    /// Raised by each accept after seal.
    pub(crate) epoch: u32,
    /// Bytes of pool that it has.
    pub(crate) pool_bytes: u64,
    /// Of them, bytes in claims.
    pub(crate) claimed_bytes: u64,
    pub(crate) measuring: Measuring,
    /// Valid once it is sealed.
    pub(crate) measurement: [u8; 32],
    /// No core runs it, and none will.
    pub(crate) stopped: bool,
    /// A core that may run it did not answer.
    pub(crate) unanswered: bool,
    /// What the survey under way has noted.
    pub(crate) mark: Mark,
}

/// What others may know of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainFacts {
    /// Its name.
    pub id: DomainId,
    /// Where it is in its life.
    pub state: DomainState,
    /// Its policy.
    pub policy: Policy,
    /// vCPUs that were added.
    pub vcpus: u32,
    /// Raised by each accept after seal.
    pub epoch: u32,
    /// Regions of memory that it has.
    pub regions: u32,
    /// Its account.
    pub account: Account,
    /// SHA-256 of its measured stream; zero before it is sealed.
    pub measurement: [u8; 32],
    /// Host-physical address of its control page (0 for domain 0).
    pub control_base: u64,
    /// The domain in whose claim it lives; none for domain 0.
    pub creator: Option<DomainId>,
    /// Bytes of pool that it has, of them bytes in claims.
    pub pool_bytes: u64,
    /// Bytes of its pool that are in claims.
    pub claimed_bytes: u64,
    /// Regions that are pool.
    pub pool_regions: u32,
}

impl<S: Store> Engine<S> {
    /// Makes a domain whose control page is host-physical `control_base`, with `quota` pages out of the claim's account.
    ///
    /// The domain pays its record, the platform's part, its vCPUs and its page tables out of them. It may do
    /// nothing that its creator may not.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `Alignment`, `Invalid` (not in the claim), `Closed`, `Overlap`, `Quota`, `Exhausted`.
    pub fn create(
        &mut self,
        claim: ClaimId,
        control_base: u64,
        policy: Policy,
        quota: u64,
    ) -> Result<DomainId, Error> {
        let (page, owner) = self.authorize(claim, Flags::MAY_CREATE)?;
        let allowed = self.store.domain(owner).policy.flags;
        let seen = Flags::CONFIDENTIAL | Flags::DEBUG;
        if !(allowed | seen).contains(policy.flags) {
            return Err(Error::Policy);
        }
        let draft = self.draft_pin(page, Kind::Control, control_base, 0)?;
        let own = 1 + self.costs.domain;
        if quota < own {
            return Err(Error::Quota);
        }
        self.check_node_room(page, quota)?;
        let record = self.store.allocate().ok_or(Error::Exhausted)?;
        let control = match self.make_node(page, draft) {
            Ok(link) => link,
            Err(error) => {
                self.store.release(record);
                return Err(error);
            }
        };
        let id = DomainId::from_word(self.generations.next(record));
        let mut account = Account::new(quota);
        account.charge(own);
        *self.store.page_mut(record) = Page::Domain(Domain {
            id,
            policy,
            claim: Some(page),
            control: Some(control),
            account,
            ..Domain::EMPTY
        });
        self.store.node_mut(control).target = Some(record);
        let claim = self.store.claim_mut(page);
        claim.account.pass(quota);
        claim.domains += 1;
        Ok(id)
    }

    /// Adds a vCPU, with its exit page at host-physical `exit_base`; returns its index.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `WrongState` (not being composed), `Alignment`, `Invalid`, `Closed`, `Overlap`,
    /// `Quota`, `Exhausted`.
    pub fn add_vcpu(
        &mut self,
        claim: ClaimId,
        domain: DomainId,
        exit_base: u64,
        entry: Entry,
    ) -> Result<u32, Error> {
        let (page, _) = self.authorize(claim, Flags::MAY_CREATE)?;
        let domain = self.building_in(page, domain)?;
        let index = self.store.domain(domain).vcpus;
        let draft = self.draft_pin(page, Kind::Exit, exit_base, u64::from(index))?;
        if self.store.domain(domain).account.available() < self.costs.vcpu {
            return Err(Error::Quota);
        }
        self.check_node_room(page, 0)?;
        let link = self.make_node(page, draft)?;
        self.store.node_mut(link).detail = Detail::Vcpu(entry);
        placement::attach(&mut self.store, link, domain);
        let record = self.store.domain_mut(domain);
        record.account.charge(self.costs.vcpu);
        record.vcpus += 1;
        Ok(index)
    }

    /// Ends the domain and takes back all that it has. Repeated, it carries on with the same.
    ///
    /// # Errors
    /// `NotFound` (also for domain 0, which lives in no claim).
    pub fn destroy(&mut self, claim: ClaimId, domain: DomainId) -> Result<Operation, Error> {
        let page = self.store.find_claim(claim).ok_or(Error::NotFound)?;
        let domain = self.domain_in(page, domain)?;
        let control = self.store.domain(domain).control.ok_or(Error::NotFound)?;
        Ok(self.begin_revoke(control))
    }

    /// A node for a page of the claim that is kept from everything else.
    fn draft_pin(
        &self,
        claim: PageNumber,
        kind: Kind,
        base: u64,
        place: u64,
    ) -> Result<Draft, Error> {
        placement::check_range(base, PAGE_SIZE)?;
        let parent = self.store.claim(claim).node();
        self.check_derivable(parent)?;
        let node = self.store.node(parent);
        if base < node.base || base + PAGE_SIZE > node.end() {
            return Err(Error::Invalid);
        }
        let siblings = Tree::new(&self.store, Order::Siblings, node.children);
        if siblings.overlaps(base, base + PAGE_SIZE) {
            return Err(Error::Overlap);
        }
        Ok(Draft {
            resource: Resource::Memory,
            kind,
            base,
            size: PAGE_SIZE,
            place,
            attributes: Attributes::NONE,
            parent: Some(parent),
        })
    }

    /// Drops the record of a domain that holds nothing any more; its claim gets all of the quota back.
    pub(crate) fn drop_domain(&mut self, domain: PageNumber) {
        let record = self.store.domain(domain);
        let (claim, control, limit) = (record.claim, record.control, record.account.limit);
        debug_assert_eq!(
            record.account.used,
            1 + self.costs.domain + u64::from(record.vcpus) * self.costs.vcpu
        );
        self.drop_page(domain);
        if let Some(control) = control {
            self.store.node_mut(control).target = None;
        }
        if let Some(claim) = claim {
            let claim = self.store.claim_mut(claim);
            claim.account.take_back(limit);
            claim.domains -= 1;
        }
    }
}
