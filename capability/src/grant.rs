//! Moving what belongs to nobody to a domain: at once to one that the same claim composes, otherwise as an
//! offer that only the domain itself (or, before seal, the holder of its key) can accept.
//!
//! A region that moves has nothing derived from it, so whoever gets a carve gets it alone. It gets no `VITAL` by an
//! offer: what is vital to a domain lies in the claim that made the domain, so that no two domains can each await the
//! other's end (see [`crate::revoke`]).

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::engine::Engine;
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::node::{Link, Resource, Stage, flag};
use crate::operation::{Grant, Operation};
use crate::placement;
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, Order};

/// The place of an offer that leaves the place to the acceptor.
pub const ANY_PLACE: u64 = u64::MAX;

/// What an acceptor expects of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Guest-physical address; the offer's, unless that is [`ANY_PLACE`].
    pub place: u64,
    /// Bytes.
    pub size: u64,
    /// Rights and attributes, all of them.
    pub attributes: Attributes,
}

impl<S: Store> Engine<S> {
    /// Moves a region of the claim that belongs to nobody to `target`, or offers it. An offer is withdrawn by revoking it.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `WrongState` (has an owner, was offered, or something was derived from it), `Busy`,
    /// `Alignment`, `Invalid`, `Rights` (vital; measured for a sealed domain), `Occupied`, `Quota`.
    pub fn grant(
        &mut self,
        claim: ClaimId,
        region: NodeId,
        target: DomainId,
        place: u64,
    ) -> Result<Grant, Error> {
        let (page, _) = self.authorize(claim, Flags::MAY_GRANT)?;
        let link = self.region_of(page, region)?;
        self.check_movable(link)?;
        let domain = self.store.find_domain(target).ok_or(Error::NotFound)?;
        let record = self.store.domain(domain);
        if record.state == DomainState::Dying {
            return Err(Error::Dead);
        }
        if record.state == DomainState::Building && record.claim == Some(page) {
            self.check_place(domain, place, self.store.node(link).size)?;
            return Ok(Grant::Granted(self.move_to(link, domain, place)));
        }
        self.offer(link, domain, place)?;
        Ok(Grant::Offered)
    }

    fn check_movable(&self, link: Link) -> Result<(), Error> {
        let node = self.store.node(link);
        let free = node.resource == Resource::Memory
            && node.owner.is_none()
            && node.children.is_none()
            && !node.has(flag::OFFERED);
        if !free {
            return Err(Error::WrongState);
        }
        if node.stage != Stage::Live {
            return Err(Error::Busy);
        }
        self.check_alive(link)
    }

    /// Whether neither the node nor anything above it is being taken back.
    fn check_alive(&self, link: Link) -> Result<(), Error> {
        let mut here = Some(link);
        while let Some(at) = here {
            let node = self.store.node(at);
            if node.has(flag::DYING | flag::QUARANTINED) {
                return Err(Error::Dead);
            }
            here = node.parent;
        }
        Ok(())
    }

    fn offer(&mut self, link: Link, domain: PageNumber, place: u64) -> Result<(), Error> {
        let node = self.store.node(link);
        if place != ANY_PLACE {
            placement::Place::memory(place, node.size)?;
        }
        let sealed = self.store.domain(domain).state != DomainState::Building;
        let measured = node.attributes.contains(Attributes::MEASURED);
        if node.attributes.contains(Attributes::VITAL) || measured && sealed {
            return Err(Error::Rights);
        }
        self.force_clean(link, domain);
        let node = self.store.node_mut(link);
        node.flags |= flag::OFFERED;
        node.target = Some(domain);
        node.place = place;
        let mut root = self.store.domain(domain).offers;
        tree::insert(&mut self.store, Order::Offers, &mut root, link);
        self.store.domain_mut(domain).offers = root;
        Ok(())
    }

    fn move_to(&mut self, link: Link, domain: PageNumber, place: u64) -> Operation {
        self.force_clean(link, domain);
        self.unlist_unowned(link);
        self.store.node_mut(link).place = place;
        placement::attach(&mut self.store, link, domain);
        let node = self.store.node_mut(link);
        node.set_stage(Stage::Give);
        Operation::Place(node.id)
    }

    /// Takes an offer back from whom it was made to; it belongs to nobody as before.
    pub(crate) fn withdraw(&mut self, link: Link) {
        let node = self.store.node_mut(link);
        if !node.has(flag::OFFERED) {
            return;
        }
        node.flags &= !flag::OFFERED;
        if let Some(domain) = node.target.take() {
            let mut root = self.store.domain(domain).offers;
            tree::remove(&mut self.store, Order::Offers, &mut root, link);
            self.store.domain_mut(domain).offers = root;
        }
    }

    /// Accepts an offer to `domain`: by the domain itself once it is sealed (`composer` is none), or by the claim that
    /// composes it before. Repeated while the region is being mapped, it carries on with that.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `WrongState`, `Mismatch`, `Rights` (measured, after seal), `Alignment`, `Invalid`,
    /// `Occupied`, `Quota`.
    pub fn accept(
        &mut self,
        domain: DomainId,
        composer: Option<ClaimId>,
        offer: NodeId,
        expected: Expected,
    ) -> Result<Operation, Error> {
        let page = self.acceptor(domain, composer)?;
        let link = self.store.find_node(offer).ok_or(Error::NotFound)?;
        let node = self.store.node(link);
        let begun = node.owner == Some(page) && node.stage == Stage::Give;
        let offered = node.has(flag::OFFERED) && node.target == Some(page);
        if !begun && !offered {
            return Err(Error::NotFound);
        }
        self.check_alive(link)?;
        let anywhere = offered && node.place == ANY_PLACE;
        if expected.size != node.size
            || expected.attributes.without(Attributes::NOBODY) != node.attributes
            || expected.place != node.place && !anywhere
        {
            return Err(Error::Mismatch);
        }
        if begun {
            return Ok(Operation::Place(offer));
        }
        let sealed = self.store.domain(page).state == DomainState::Sealed;
        if sealed && node.attributes.contains(Attributes::MEASURED) {
            return Err(Error::Rights);
        }
        self.check_place(page, expected.place, expected.size)?;
        self.withdraw(link);
        if sealed {
            self.store.domain_mut(page).epoch += 1;
        }
        Ok(self.move_to(link, page, expected.place))
    }

    fn acceptor(&self, id: DomainId, composer: Option<ClaimId>) -> Result<PageNumber, Error> {
        match composer {
            Some(claim) => {
                let (claim, _) = self.authorize(claim, Flags::MAY_CREATE)?;
                self.building_in(claim, id)
            }
            None => {
                let page = self.store.find_domain(id).ok_or(Error::Dead)?;
                self.check_policy(page, Flags::MAY_ACCEPT)?;
                Ok(page)
            }
        }
    }
}
