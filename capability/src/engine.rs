//! The engine itself: its beginning, the records it makes and drops, the checks that many calls share.

use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::account::{Account, Costs};
use crate::domain::Domain;
use crate::identity::{ClaimId, DomainId, Generations, NodeId, PageNumber};
use crate::node::{Course, Detail, Kind, Link, Node, NodePage, Resource, Stage, flag};
use crate::placement::{self, Place};
use crate::records::Records;
use crate::seal::Measuring;
use crate::store::{Counted, Page, Store};
use crate::survey::Mark;
use crate::tree::{self, Order, TreeLinks};

/// Units of a [`Budget`](crate::effect::Budget) that one step of the engine costs: about what the steps that take one node out of a
/// forest of 16,000 come to, each.
pub(crate) const STEP: u64 = 3000;

/// Nodes on the longest line of derivation; it bounds every walk towards the root.
pub(crate) const MAX_DEPTH: u8 = 250;

/// The capability engine over the records in a store.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Engine<S> {
    pub(crate) store: Counted<S>,
    pub(crate) costs: Costs,
    pub(crate) generations: Generations,
    pub(crate) first_domain: PageNumber,
    /// Surveys begun so far.
    pub(crate) surveys: u64,
}

/// A node that is about to be made.
pub(crate) struct Draft {
    pub(crate) resource: Resource,
    pub(crate) kind: Kind,
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) place: u64,
    pub(crate) attributes: Attributes,
    pub(crate) parent: Option<Link>,
}

impl<S: Store> Engine<S> {
    /// An engine that knows domain 0, with `limit` pages of monitor memory for everything, and no resources yet.
    ///
    /// # Errors
    /// `Exhausted` if the store has no page.
    pub fn new(store: S, limit: u64, costs: Costs) -> Result<Self, Error> {
        let mut store = Counted::new(store);
        let first_domain = store.allocate().ok_or(Error::Exhausted)?;
        let mut generations = Generations::new();
        let mut account = Account::new(limit.max(1));
        account.charge(1);
        let domain = Domain {
            id: DomainId::from_word(generations.next(first_domain)),
            state: DomainState::Sealed,
            policy: Policy {
                flags: Flags::MAY_COMPOSE | Flags::MAY_ATTEST,
                exceptions: 0,
            },
            claim: None,
            control: None,
            account,
            ..Domain::EMPTY
        };
        *store.page_mut(first_domain) = Page::Domain(domain);
        Ok(Self {
            store,
            costs,
            generations,
            first_domain,
            surveys: 0,
        })
    }

    /// Gives domain 0 a part of the machine: memory (bytes; at its place, host-physical and guest-physical
    /// are the same), cores (by number), devices ([`crate::device`]) or one whole core ([`crate::whole_core`]). What may be claimed
    /// bears `POOL`.
    ///
    /// Tables of memory that is no pool are not charged to the limit: the monitor has built them already, and
    /// nothing in it is ever derived.
    ///
    /// # Errors
    /// `Alignment`, `Invalid`, `Occupied`, `Quota`, `Exhausted`.
    pub fn add_root(
        &mut self,
        resource: Resource,
        base: u64,
        size: u64,
        attributes: Attributes,
    ) -> Result<NodeId, Error> {
        let domain = self.first_domain;
        let place = match resource {
            Resource::Memory => Place::memory(base, size)?,
            _ => Place {
                class: tree::class_for(Kind::Root, resource),
                start: base,
                size,
            },
        };
        if !placement::is_free(&self.store, domain, place) {
            return Err(Error::Occupied);
        }
        let cost = placement::tables(&self.store, domain, place);
        let prepaid = !attributes.contains(Attributes::POOL);
        if prepaid {
            self.store.domain_mut(domain).account.limit += cost;
        }
        let made = self.make_root(domain, cost, resource, base, size, attributes);
        if made.is_err() && prepaid {
            self.store.domain_mut(domain).account.limit -= cost;
        }
        made
    }

    fn make_root(
        &mut self,
        domain: PageNumber,
        cost: u64,
        resource: Resource,
        base: u64,
        size: u64,
        attributes: Attributes,
    ) -> Result<NodeId, Error> {
        self.check_node_room(domain, cost)?;
        let link = self.make_node(
            domain,
            Draft {
                resource,
                kind: Kind::Root,
                base,
                size,
                place: base,
                attributes,
                parent: None,
            },
        )?;
        placement::attach(&mut self.store, link, domain);
        Ok(self.store.node(link).id)
    }

    /// Domain 0.
    #[must_use]
    pub fn first_domain(&self) -> DomainId {
        self.store.domain(self.first_domain).id
    }

    /// Looks at the store.
    #[must_use]
    pub const fn store(&self) -> &S {
        self.store.inner()
    }

    /// Lets the platform reach what it keeps beside the records.
    pub const fn store_mut(&mut self) -> &mut S {
        self.store.inner_mut()
    }

    /// The claim `id`, its owner, and that this owner may do what `needed` says.
    pub(crate) fn authorize(
        &self,
        id: ClaimId,
        needed: Flags,
    ) -> Result<(PageNumber, PageNumber), Error> {
        let claim = self.store.find_claim(id).ok_or(Error::NotFound)?;
        let domain = self.store.claim(claim).domain;
        self.check_policy(domain, needed)?;
        Ok((claim, domain))
    }

    /// Whether the domain runs and its policy has `needed`.
    pub(crate) fn check_policy(&self, domain: PageNumber, needed: Flags) -> Result<(), Error> {
        let domain = self.store.domain(domain);
        match domain.state {
            DomainState::Sealed if domain.policy.flags.contains(needed) => Ok(()),
            DomainState::Sealed => Err(Error::Policy),
            DomainState::Dying => Err(Error::Dead),
            DomainState::Building | DomainState::Sealing => Err(Error::WrongState),
        }
    }

    /// The domain `id`, which must live in the claim.
    pub(crate) fn domain_in(&self, claim: PageNumber, id: DomainId) -> Result<PageNumber, Error> {
        let domain = self.store.find_domain(id).ok_or(Error::NotFound)?;
        if self.store.domain(domain).claim == Some(claim) {
            Ok(domain)
        } else {
            Err(Error::NotFound)
        }
    }

    /// As [`Self::domain_in`], and still being composed.
    pub(crate) fn building_in(&self, claim: PageNumber, id: DomainId) -> Result<PageNumber, Error> {
        let domain = self.domain_in(claim, id)?;
        match self.store.domain(domain).state {
            DomainState::Building => Ok(domain),
            DomainState::Dying => Err(Error::Dead),
            DomainState::Sealing | DomainState::Sealed => Err(Error::WrongState),
        }
    }

    /// Whether something may be derived from the node: it and all above it are in use, and none is closed.
    pub(crate) fn check_derivable(&self, link: Link) -> Result<(), Error> {
        if self.store.node(link).depth >= MAX_DEPTH {
            return Err(Error::Exhausted);
        }
        if self.store.node(link).stage != Stage::Live {
            return Err(Error::Busy);
        }
        let mut here = Some(link);
        while let Some(at) = here {
            let node = self.store.node(at);
            if node.has(flag::DYING | flag::QUARANTINED) {
                return Err(Error::Dead);
            }
            if node.has(flag::CLOSED) {
                return Err(Error::Closed);
            }
            here = node.parent;
        }
        Ok(())
    }

    /// Whether the account has `more` pages and room for one node.
    pub(crate) fn check_node_room(&self, payer: PageNumber, more: u64) -> Result<(), Error> {
        let page = u64::from(self.store.open_pages(payer).is_none());
        if self.store.account(payer).available() < more.saturating_add(page) {
            return Err(Error::Quota);
        }
        if self.generations.remain() {
            Ok(())
        } else {
            Err(Error::Exhausted)
        }
    }

    /// Makes a node among its parent's children. Room was checked; it fails only if the store does.
    pub(crate) fn make_node(&mut self, payer: PageNumber, draft: Draft) -> Result<Link, Error> {
        let page = self.open_page(payer)?;
        let above = draft.parent.map(|parent| self.store.node(parent).depth);
        let node = Node {
            id: NodeId::from_word(self.generations.next(page)),
            base: draft.base,
            size: draft.size,
            place: draft.place,
            reach: 0,
            exclusive_reach: 0,
            detail: Detail::Course(Course::default()),
            links: [TreeLinks::default(); 3],
            owner: None,
            target: None,
            payer,
            parent: draft.parent,
            children: None,
            carves: 0,
            shares: 0,
            resource: draft.resource,
            kind: draft.kind,
            stage: Stage::Live,
            attributes: draft.attributes,
            flags: 0,
            depth: above.map_or(0, |depth| depth + 1),
        };
        let slot = self.store.node_page_mut(page).insert(node);
        let link = Link::new(page, slot);
        if self.store.node_page(page).is_full() {
            self.unlist_page(page);
        }
        if let Some(parent) = draft.parent {
            let mut root = self.store.node(parent).children;
            tree::insert(&mut self.store, Order::Siblings, &mut root, link);
            self.store.node_mut(parent).children = root;
            self.count_derived(link, true);
        }
        Ok(link)
    }

    /// Drops a node that nothing hangs on any more, and its page with the last node in it.
    pub(crate) fn drop_node(&mut self, link: Link) {
        if let Some(parent) = self.store.node(link).parent {
            self.count_derived(link, false);
            let mut root = self.store.node(parent).children;
            tree::remove(&mut self.store, Order::Siblings, &mut root, link);
            self.store.node_mut(parent).children = root;
        }
        let page = link.page();
        let was_full = self.store.node_page(page).is_full();
        self.store.node_page_mut(page).remove(link.slot());
        if was_full {
            self.list_page(page);
        }
        if self.store.node_page(page).is_empty() {
            let payer = self.store.node_page(page).payer;
            self.unlist_page(page);
            self.drop_page(page);
            self.store.account_mut(payer).refund(1);
        }
    }

    /// Gives a page of the store back.
    pub(crate) fn drop_page(&mut self, page: PageNumber) {
        *self.store.page_mut(page) = Page::Empty;
        self.store.release(page);
    }

    /// Counts the node, or counts it no more, where the sharing of its parent's holder is kept.
    fn count_derived(&mut self, link: Link, more: bool) {
        let kind = self.store.node(link).kind;
        let Some(lender) = self.lender(link) else {
            return;
        };
        let node = self.store.node_mut(lender);
        let count = match kind {
            Kind::Carve => &mut node.carves,
            Kind::Share => &mut node.shares,
            _ => return,
        };
        *count = if more { *count + 1 } else { *count - 1 };
    }

    /// The region that the node was derived from, through the claim that lies between.
    pub(crate) fn lender(&self, link: Link) -> Option<Link> {
        let parent = self.store.node(link).parent?;
        let node = self.store.node(parent);
        if node.kind == Kind::Claim {
            node.parent
        } else {
            Some(parent)
        }
    }

    /// A page of the payer's with room for a node; charged if it is new.
    fn open_page(&mut self, payer: PageNumber) -> Result<PageNumber, Error> {
        if let Some(page) = self.store.open_pages(payer) {
            return Ok(page);
        }
        let page = self.store.allocate().ok_or(Error::Exhausted)?;
        *self.store.page_mut(page) = Page::Nodes(NodePage::new(payer));
        self.store.account_mut(payer).charge(1);
        self.list_page(page);
        Ok(page)
    }

    fn list_page(&mut self, page: PageNumber) {
        let payer = self.store.node_page(page).payer;
        let first = self.store.open_pages(payer);
        let nodes = self.store.node_page_mut(page);
        nodes.previous = None;
        nodes.next = first;
        if let Some(first) = first {
            self.store.node_page_mut(first).previous = Some(page);
        }
        self.store.set_open_pages(payer, Some(page));
    }

    fn unlist_page(&mut self, page: PageNumber) {
        let nodes = self.store.node_page_mut(page);
        let (payer, previous, next) = (nodes.payer, nodes.previous.take(), nodes.next.take());
        match previous {
            Some(previous) => self.store.node_page_mut(previous).next = next,
            None => self.store.set_open_pages(payer, next),
        }
        if let Some(next) = next {
            self.store.node_page_mut(next).previous = previous;
        }
    }
}

impl Domain {
    pub(crate) const EMPTY: Self = Self {
        id: DomainId::from_word(0),
        state: DomainState::Building,
        policy: Policy {
            flags: Flags::NONE,
            exceptions: 0,
        },
        claim: None,
        control: None,
        account: Account::new(0),
        holdings: None,
        offers: None,
        open_pages: None,
        vcpus: 0,
        regions: 0,
        pool_regions: 0,
        epoch: 0,
        pool_bytes: 0,
        claimed_bytes: 0,
        measuring: Measuring::BEGIN,
        measurement: [0; 32],
        stopped: false,
        unanswered: false,
        mark: Mark::NONE,
    };
}
