//! Whole cores: giving one to a domain, which then has it alone.
//!
//! The right to be entered on cores ([`Resource::Core`]) is shared by many and says nothing about who else runs there. A whole core is the
//! core itself. The platform announces each as a root of its own, as long as the core has threads (numbers of threads are the platform's):
//! so a core goes through the same forest and stages as memory, goes back before what it was derived from, and *all its threads go
//! together*, since a derivation takes all of its parent. Which of them domain 0 can spare the platform finds out beforehand.
//! It goes only to a domain that is being composed, as everything that has no offer.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::region::Attributes;

use crate::engine::{Draft, Engine};
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::lookup::RegionFacts;
use crate::node::{Kind, Link, Node, Resource, Stage, flag};
use crate::operation::Operation;
use crate::records::Records;
use crate::store::Store;
use crate::tree::{Order, Tree, class, key};

impl<S: Store> Engine<S> {
    /// Gives the core of which `thread` is one, with all its threads, to a domain that is being composed. The claim's owner loses it
    /// meanwhile.
    ///
    /// # Errors
    /// `NotFound` (no such domain), `Dead`, `Policy`, `Rights` (the core is not the owner's), `WrongState`, `Busy`, `Closed`,
    /// `Overlap` (it is somebody's), `Quota`, `Exhausted`.
    pub fn carve_core(
        &mut self,
        claim: ClaimId,
        thread: u64,
        domain: DomainId,
    ) -> Result<Operation, Error> {
        let (page, owner) = self.authorize(claim, Flags::MAY_CARVE)?;
        self.check_derivable(self.store.claim(page).node())?;
        let domain = self.building_in(page, domain)?;
        let parent = self
            .whole_core_link_at(owner, thread)
            .ok_or(Error::Rights)?;
        self.check_derivable(parent)?;
        let node = self.store.node(parent);
        let (base, size) = (node.base, node.size);
        self.check_overlap(parent, Kind::Carve, base, size)?;
        let draft = Draft {
            resource: Resource::WholeCore,
            kind: Kind::Carve,
            base,
            size,
            place: base,
            attributes: Attributes::NONE,
            parent: Some(parent),
        };
        self.place_carve(page, domain, draft)
    }

    /// The whole core of the domain that has this thread.
    pub(crate) fn whole_core_link_at(&self, domain: PageNumber, thread: u64) -> Option<Link> {
        self.holding_at(domain, class::WHOLE_CORE, thread)
    }

    /// The whole core `region`, if it is the domain's to run on now: in place, and not given on.
    #[must_use]
    pub fn whole_core(&self, domain: DomainId, region: NodeId) -> Option<RegionFacts> {
        let link = self.store.find_node(region)?;
        let facts = self.region_facts(region)?;
        let whole = facts.resource == Resource::WholeCore && facts.owner == Some(domain);
        (whole && is_usable(self.store.node(link))).then_some(facts)
    }

    /// The first of the domain's whole cores whose threads begin at or behind `thread`.
    pub(crate) fn whole_core_at_or_after(&self, domain: PageNumber, thread: u64) -> Option<&Node> {
        let holdings = self.store.domain(domain).holdings;
        let holdings = Tree::new(&self.store, Order::Holder, holdings);
        let node = self
            .store
            .node(holdings.at_or_after((class::WHOLE_CORE, thread))?);
        (key(Order::Holder, node).0 == class::WHOLE_CORE).then_some(node)
    }
}

/// Whether its holder can run there now.
pub(crate) fn is_usable(core: &Node) -> bool {
    core.stage == Stage::Live && !core.has(flag::DYING | flag::QUARANTINED) && core.carves == 0
}
