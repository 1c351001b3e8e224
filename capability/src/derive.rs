//! Deriving: carve, share, cores, and closing what may not be derived from any more.
//!
//! What may be derived with which attributes is said once, in [`Engine::check_attributes`]:
//!
//! - rights only shrink, and a region that cannot be read is none;
//! - what is shared can only be shared on, so an unbroken line of carves leads to every carve: it is exclusive;
//! - `POOL` needs a carve of pool that can be read and written, since a claim's pages are written by its owner;
//! - `MEASURED` needs a carve, since nobody else may write what is measured;
//! - `CLEAN` needs a carve, and every carve for a confidential domain gets it unasked, as does a carve that belongs to nobody once a
//!   confidential domain shares it: who made it cannot read it, and is not to find there what the sharers left;
//! - `VITAL` anybody may ask for what he places himself; an offer cannot carry it (see [`crate::grant`]).

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use crate::engine::{Draft, Engine};
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::node::{Kind, Link, Resource, Stage, flag};
use crate::operation::Operation;
use crate::placement::{self, Place};
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, Order, Tree, class};

/// What a region is derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A host-physical range inside the claim.
    Range {
        /// Host-physical address.
        base: u64,
        /// Bytes.
        size: u64,
    },
    /// A part of a region of the claim that belongs to nobody.
    Region {
        /// The region.
        region: NodeId,
        /// Bytes from its beginning.
        offset: u64,
        /// Bytes.
        size: u64,
    },
}

/// Whom a region is derived for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// A domain of the same claim that is being composed.
    pub domain: DomainId,
    /// Guest-physical address there.
    pub place: u64,
}

impl<S: Store> Engine<S> {
    /// Derives an exclusive region: who holds the source loses access to it. Without a target it belongs to nobody.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `Alignment`, `Invalid`, `Rights`, `WrongState` (source has an owner or is offered,
    /// target is sealed), `Busy` (source is not in place yet), `Closed`, `Overlap`, `Occupied`, `Quota`, `Exhausted`.
    pub fn carve(
        &mut self,
        claim: ClaimId,
        source: Source,
        target: Option<Target>,
        attributes: Attributes,
    ) -> Result<Operation, Error> {
        let (page, _) = self.authorize(claim, Flags::MAY_CARVE)?;
        self.derive(page, Kind::Carve, source, target, attributes)
    }

    /// Derives an aliased region: who holds the source keeps access. Without a target it belongs to nobody.
    ///
    /// # Errors
    /// As [`Self::carve`].
    pub fn share(
        &mut self,
        claim: ClaimId,
        source: Source,
        target: Option<Target>,
        attributes: Attributes,
    ) -> Result<Operation, Error> {
        let (page, _) = self.authorize(claim, Flags::MAY_SHARE)?;
        self.derive(page, Kind::Share, source, target, attributes)
    }

    fn derive(
        &mut self,
        claim: PageNumber,
        kind: Kind,
        source: Source,
        target: Option<Target>,
        attributes: Attributes,
    ) -> Result<Operation, Error> {
        let (parent, base, size) = self.resolve(claim, source)?;
        self.check_derivable(parent)?;
        let domain = match target {
            Some(target) => Some(self.building_in(claim, target.domain)?),
            None => None,
        };
        let attributes = self.check_attributes(parent, kind, attributes)?;
        self.check_overlap(parent, kind, base, size)?;
        let place = target.map_or(0, |target| target.place);
        if let Some(domain) = domain {
            self.check_place(domain, place, size)?;
        }
        self.check_node_room(claim, 0)?;
        let link = self.make_node(
            claim,
            Draft {
                resource: Resource::Memory,
                kind,
                base,
                size,
                place,
                attributes,
                parent: Some(parent),
            },
        )?;
        match domain {
            Some(domain) => {
                self.force_clean(link, domain);
                placement::attach(&mut self.store, link, domain);
            }
            None => self.list_unowned(link),
        }
        let taken = kind == Kind::Carve && self.holder_of_parent(link).is_some();
        self.store.node_mut(link).stage = match domain {
            _ if taken => Stage::Take,
            Some(_) => Stage::Give,
            None => Stage::Live,
        };
        Ok(Operation::Place(self.store.node(link).id))
    }

    /// The node that the source names, and the range in it.
    fn resolve(&self, claim: PageNumber, source: Source) -> Result<(Link, u64, u64), Error> {
        match source {
            Source::Range { base, size } => {
                placement::check_range(base, size)?;
                let link = self.store.claim(claim).node();
                let node = self.store.node(link);
                if base < node.base || base + size > node.end() {
                    return Err(Error::Invalid);
                }
                Ok((link, base, size))
            }
            Source::Region {
                region,
                offset,
                size,
            } => {
                placement::check_range(offset, size)?;
                let link = self.region_of(claim, region)?;
                let node = self.store.node(link);
                if node.resource != Resource::Memory || offset + size > node.size {
                    return Err(Error::Invalid);
                }
                if node.owner.is_some() || node.has(flag::OFFERED) {
                    return Err(Error::WrongState);
                }
                Ok((link, node.base + offset, size))
            }
        }
    }

    /// The region or range of cores `id`, which the claim must have derived.
    pub(crate) fn region_of(&self, claim: PageNumber, id: NodeId) -> Result<Link, Error> {
        let link = self.store.find_node(id).ok_or(Error::NotFound)?;
        let node = self.store.node(link);
        let region = matches!(node.kind, Kind::Carve | Kind::Share);
        if node.payer == claim && region {
            Ok(link)
        } else {
            Err(Error::NotFound)
        }
    }

    /// The attributes that the region gets, if it may have those that are asked for.
    fn check_attributes(
        &self,
        parent: Link,
        kind: Kind,
        asked: Attributes,
    ) -> Result<Attributes, Error> {
        let parent = self.store.node(parent);
        let asked = asked.without(Attributes::NOBODY);
        let carve = kind == Kind::Carve;
        if !asked.contains(Attributes::READ) {
            return Err(Error::Invalid);
        }
        let writable = asked.contains(Attributes::READ | Attributes::WRITE);
        let allowed = parent
            .rights()
            .contains(asked.intersection(Attributes::RIGHTS))
            && (!asked.contains(Attributes::POOL) || carve && writable && parent.is_pool())
            && (!carve || parent.kind != Kind::Share)
            && (!asked.contains(Attributes::MEASURED) || carve)
            && (!asked.contains(Attributes::CLEAN) || carve);
        if allowed {
            Ok(asked)
        } else {
            Err(Error::Rights)
        }
    }

    /// Sees to it that what a confidential domain gets with the node is zeroed before who made it can read it again: the node
    /// itself if it is a carve, otherwise the carve that it shares, if that belongs to nobody.
    pub(crate) fn force_clean(&mut self, link: Link, domain: PageNumber) {
        let policy = &self.store.domain(domain).policy;
        if !policy.flags.contains(Flags::CONFIDENTIAL) {
            return;
        }
        let mut here = Some(link);
        while let Some(at) = here {
            let node = self.store.node_mut(at);
            match node.kind {
                Kind::Carve => {
                    node.attributes = node.attributes | Attributes::CLEAN;
                    return;
                }
                Kind::Share => here = node.parent,
                _ => return,
            }
        }
    }

    /// A carve needs a range in which nothing is; a share one in which nothing is exclusive.
    pub(crate) fn check_overlap(
        &self,
        parent: Link,
        kind: Kind,
        base: u64,
        size: u64,
    ) -> Result<(), Error> {
        let children = self.store.node(parent).children;
        let siblings = Tree::new(&self.store, Order::Siblings, children);
        let taken = if kind.is_exclusive() {
            siblings.overlaps(base, base + size)
        } else {
            siblings.overlaps_exclusive(base, base + size)
        };
        if taken { Err(Error::Overlap) } else { Ok(()) }
    }

    /// Whether the domain can have something there: the place is free and the page tables are paid for.
    pub(crate) fn check_place(
        &self,
        domain: PageNumber,
        place: u64,
        size: u64,
    ) -> Result<(), Error> {
        let place = Place::memory(place, size)?;
        if !placement::is_free(&self.store, domain, place) {
            return Err(Error::Occupied);
        }
        let cost = placement::tables(&self.store, domain, place);
        if cost > self.store.domain(domain).account.available() {
            return Err(Error::Quota);
        }
        Ok(())
    }

    /// Lists the node among what its claim has for nobody.
    pub(crate) fn list_unowned(&mut self, link: Link) {
        let claim = self.store.node(link).payer;
        let mut root = self.store.claim(claim).unowned;
        tree::insert(&mut self.store, Order::Holder, &mut root, link);
        self.store.claim_mut(claim).unowned = root;
    }

    /// Takes the node from that list.
    pub(crate) fn unlist_unowned(&mut self, link: Link) {
        let claim = self.store.node(link).payer;
        let mut root = self.store.claim(claim).unowned;
        tree::remove(&mut self.store, Order::Holder, &mut root, link);
        self.store.claim_mut(claim).unowned = root;
    }

    /// Gives a domain that is being composed the right to be entered on cores on which the claim's owner may be.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `Invalid` (no cores), `Rights` (not the owner's, or not out of one capability of the
    /// owner's), `WrongState`, `Occupied`, `Quota`, `Exhausted`.
    pub fn derive_cores(
        &mut self,
        claim: ClaimId,
        domain: DomainId,
        first: u64,
        count: u64,
    ) -> Result<Operation, Error> {
        let (page, owner) = self.authorize(claim, Flags::MAY_SHARE)?;
        self.check_derivable(self.store.claim(page).node())?;
        let domain = self.building_in(page, domain)?;
        let end = first.checked_add(count).ok_or(Error::Invalid)?;
        if count == 0 {
            return Err(Error::Invalid);
        }
        let parent = self.cores_link_at(owner, first).ok_or(Error::Rights)?;
        if end > self.store.node(parent).end() {
            return Err(Error::Rights);
        }
        self.check_derivable(parent)?;
        let place = Place {
            class: class::CORE,
            start: first,
            size: count,
        };
        if !placement::is_free(&self.store, domain, place) {
            return Err(Error::Occupied);
        }
        self.check_node_room(page, 0)?;
        let draft = Draft {
            resource: Resource::Core,
            kind: Kind::Share,
            base: first,
            size: count,
            place: first,
            attributes: Attributes::NONE,
            parent: Some(parent),
        };
        let link = self.make_node(page, draft)?;
        placement::attach(&mut self.store, link, domain);
        self.store.node_mut(link).stage = Stage::Give;
        Ok(Operation::Place(self.store.node(link).id))
    }

    /// Makes the region one from which nothing can be derived, nor from what was derived from it, for good.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn close(&mut self, claim: ClaimId, region: NodeId) -> Result<(), Error> {
        let page = self.store.find_claim(claim).ok_or(Error::NotFound)?;
        let link = self.region_of(page, region)?;
        self.store.node_mut(link).flags |= flag::CLOSED;
        Ok(())
    }
}
