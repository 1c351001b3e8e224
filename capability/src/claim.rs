//! Claims: ranges of a pool in which a domain makes other domains, each with a key.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;

use crate::account::Account;
use crate::engine::{Draft, Engine};
use crate::identity::{ClaimId, DomainId, PageNumber};
use crate::node::{Kind, Link, Resource, flag};
use crate::operation::{Begin, Operation, Pending};
use crate::placement;
use crate::records::Records;
use crate::store::{Page, Store};
use crate::tree::{Order, Tree};

/// The record of one claim.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub struct Claim {
    pub(crate) id: ClaimId,
    /// The domain that made it.
    pub(crate) domain: PageNumber,
    node: Option<Link>,
    pub(crate) key: [u64; 2],
    pub(crate) account: Account,
    /// First of its pages of nodes that have room.
    pub(crate) open_pages: Option<PageNumber>,
    /// What it derived for nobody, ordered by name.
    pub(crate) unowned: Option<Link>,
    /// Domains that live in it.
    pub(crate) domains: u32,
    pub(crate) pending: Option<Pending>,
}

impl Claim {
    /// Its node; every claim has one from its making on.
    pub(crate) fn node(&self) -> Link {
        self.node.expect("a claim has a node")
    }

    /// Whether `key` is the claim's, in a time that does not depend on where they differ.
    pub(crate) fn key_matches(&self, key: [u64; 2]) -> bool {
        let difference = (self.key[0] ^ key[0]) | (self.key[1] ^ key[1]);
        core::hint::black_box(difference) == 0
    }
}

/// What others may know of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimFacts {
    /// Its name.
    pub id: ClaimId,
    /// The domain that made it.
    pub domain: DomainId,
    /// Guest-physical address in that domain.
    pub place: u64,
    /// Host-physical address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// Its account.
    pub account: Account,
    /// Domains that live in it.
    pub domains: u32,
    /// It is being released, by itself or with something above it that was reached already.
    pub dying: bool,
}

/// Pages without which a claim is of no use: its record and one page of nodes.
const LEAST_LIMIT: u64 = 2;

impl<S: Store> Engine<S> {
    /// Claims `place .. place + size` of the domain's pool, with `key`. The domain keeps its access.
    ///
    /// The claim's account gets the part of the domain's that the range is of its pool, or what is left if that is less.
    ///
    /// # Errors
    /// `Alignment`, `Invalid`, `Dead`, `Policy`, `NotPool` (also where the range is not inside one pool region),
    /// `Busy` (the region is not in place yet), `Closed`, `Overlap`, `Quota`, `Exhausted`.
    pub fn claim(
        &mut self,
        domain: DomainId,
        place: u64,
        size: u64,
        key: [u64; 2],
    ) -> Result<ClaimId, Error> {
        placement::check_range(place, size)?;
        let owner = self.store.find_domain(domain).ok_or(Error::Dead)?;
        self.check_policy(owner, Flags::MAY_CREATE)?;
        let region = self.pool_at(owner, place, size).ok_or(Error::NotPool)?;
        self.check_derivable(region)?;
        let node = self.store.node(region);
        let base = node.base + (place - node.place);
        if Tree::new(&self.store, Order::Siblings, node.children).overlaps(base, base + size) {
            return Err(Error::Overlap);
        }
        let limit = self.share_of_account(owner, size);
        if limit < LEAST_LIMIT {
            return Err(Error::Quota);
        }
        if !self.generations.remain() {
            return Err(Error::Exhausted);
        }
        let draft = Draft {
            resource: Resource::Memory,
            kind: Kind::Claim,
            base,
            size,
            place,
            attributes: node.attributes,
            parent: Some(region),
        };
        self.make_claim(owner, draft, key, limit)
    }

    fn make_claim(
        &mut self,
        owner: PageNumber,
        draft: Draft,
        key: [u64; 2],
        limit: u64,
    ) -> Result<ClaimId, Error> {
        let size = draft.size;
        let page = self.store.allocate().ok_or(Error::Exhausted)?;
        let id = ClaimId::from_word(self.generations.next(page));
        let mut account = Account::new(limit);
        account.charge(1);
        *self.store.page_mut(page) = Page::Claim(Claim {
            id,
            domain: owner,
            node: None,
            key,
            account,
            open_pages: None,
            unowned: None,
            domains: 0,
            pending: None,
        });
        match self.make_node(page, draft) {
            Ok(link) => self.store.claim_mut(page).node = Some(link),
            Err(error) => {
                self.drop_page(page);
                return Err(error);
            }
        }
        let domain = self.store.domain_mut(owner);
        domain.account.pass(limit);
        domain.claimed_bytes += size;
        Ok(id)
    }

    /// The domain's pool region in which the whole range lies.
    fn pool_at(&self, domain: PageNumber, place: u64, size: u64) -> Option<Link> {
        let region = self.region_link_at(domain, place)?;
        let node = self.store.node(region);
        let inside = place.checked_add(size)? <= node.place + node.size;
        (inside && node.is_pool()).then_some(region)
    }

    pub(crate) fn share_of_account(&self, domain: PageNumber, size: u64) -> u64 {
        let domain = self.store.domain(domain);
        let whole = domain.account.limit - domain.account.used;
        let share = u128::from(whole) * u128::from(size) / u128::from(domain.pool_bytes.max(1));
        domain
            .account
            .available()
            .min(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// Destroys everything in the claim, and frees its range. Repeated, it carries on with the same.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn release(&mut self, claim: ClaimId) -> Result<Operation, Error> {
        let page = self.store.find_claim(claim).ok_or(Error::NotFound)?;
        let link = self.store.claim(page).node();
        Ok(self.begin_revoke(link))
    }

    /// Whether `key` is the claim's.
    ///
    /// # Errors
    /// `NotFound`, `BadKey`.
    pub fn check_key(&self, claim: ClaimId, key: [u64; 2]) -> Result<(), Error> {
        let page = self.store.find_claim(claim).ok_or(Error::NotFound)?;
        if self.store.claim(page).key_matches(key) {
            Ok(())
        } else {
            Err(Error::BadKey)
        }
    }

    /// What a call with these arguments and this token meets in the claim.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn begin(&self, claim: ClaimId, token: u64, arguments: &[u64; 10]) -> Result<Begin, Error> {
        let page = self.store.find_claim(claim).ok_or(Error::NotFound)?;
        Ok(match &self.store.claim(page).pending {
            None => Begin::New,
            Some(pending) if pending.token == token && pending.arguments == *arguments => {
                Begin::Continue(pending.operation)
            }
            Some(_) => Begin::Busy,
        })
    }

    /// Remembers the operation that a call has begun in the claim.
    pub fn set_pending(&mut self, claim: ClaimId, pending: Pending) {
        if let Some(page) = self.store.find_claim(claim) {
            self.store.claim_mut(page).pending = Some(pending);
        }
    }

    /// Forgets the unfinished operation of the claim: it has ended, and its caller knows how.
    pub fn clear_pending(&mut self, claim: ClaimId) {
        if let Some(page) = self.store.find_claim(claim) {
            self.store.claim_mut(page).pending = None;
        }
    }

    /// The unfinished operation of the claim. Whoever abandons its caller advances it to its end, then clears it.
    #[must_use]
    pub fn pending(&self, claim: ClaimId) -> Option<Operation> {
        let page = self.store.find_claim(claim)?;
        Some(self.store.claim(page).pending.as_ref()?.operation)
    }

    /// What others may know of the claim.
    #[must_use]
    pub fn claim_facts(&self, claim: ClaimId) -> Option<ClaimFacts> {
        let page = self.store.find_claim(claim)?;
        let record = self.store.claim(page);
        let node = self.store.node(record.node());
        Some(ClaimFacts {
            id: record.id,
            domain: self.store.domain(record.domain).id,
            place: node.place,
            base: node.base,
            size: node.size,
            account: record.account,
            domains: record.domains,
            dying: node.has(flag::DYING),
        })
    }

    /// Drops the record and the node of a claim in which nothing is left.
    pub(crate) fn drop_claim(&mut self, link: Link) {
        let node = self.store.node(link);
        let (page, size) = (node.payer, node.size);
        self.drop_node(link);
        let claim = self.store.claim(page);
        let (owner, limit) = (claim.domain, claim.account.limit);
        debug_assert_eq!((claim.account.used, claim.account.passed), (1, 0));
        self.drop_page(page);
        let domain = self.store.domain_mut(owner);
        domain.account.take_back(limit);
        domain.claimed_bytes -= size;
    }
}
