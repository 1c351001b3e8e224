//! Taking back: revoke, release, destroy, and the death of domains.
//!
//! All three revoke one node: a region, a claim's node, or a domain's control page. The work goes depth first without
//! recursion. Each visit to a node marks it as dying (nothing new is derived below) and then either goes on to something
//! that must go first, or does the next step on the node itself:
//!
//! - what was derived from it goes before it, domains first;
//! - a control page goes after its domain, and a domain after all that it has, wherever that was derived;
//! - a region that was vital to a domain goes back after that domain is gone.
//!
//! Where the work stands is kept by names in the nodes: in the subject the node that is being worked at, and in a node that
//! was reached other than from its parent, where to go back to. A name that resolves no more means that somebody else has done
//! that work, and the descent begins again at the subject. So two revocations may overlap, and either may be left and taken up
//! by anybody.
//!
//! The descent ends: a region becomes a domain's only while nothing is derived from it, so every domain that is reached
//! through another's holdings was made later than that one; and what is vital to a domain lies in the claim that made it.
//!
//! A core that does not answer leaves the node where it is, quarantined, and with it everything above that was to go.
//! Nothing here allocates, and each step is bounded.

use adyton_abi::error::Error;
use adyton_abi::record::DomainState;

use crate::effect::{Applied, Budget, Effect, Platform};
use crate::engine::{Engine, STEP};
use crate::identity::{ClaimId, DomainId, NodeId, PageNumber};
use crate::node::{Kind, Link, flag};
use crate::operation::{Operation, Progress};
use crate::placement;
use crate::records::Records;
use crate::stage::Step;
use crate::store::Store;
use crate::tree::{Order, Tree, mark};

/// Where the work goes after a visit to a node.
enum Course {
    /// On at the same node.
    Stay,
    /// Others must act first.
    Wait,
    /// To something that must go first, in the same line of derivation.
    Down(Link),
    /// To something that must go first, elsewhere.
    Across(Link),
    /// The node is gone or quarantined: to the node of this name, or to the subject.
    Up(u64),
}

impl<S: Store> Engine<S> {
    /// Takes back a region (or a range of cores) that the claim derived, and all that was derived from it. Repeated, it
    /// carries on with the same.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn revoke(&mut self, claim: ClaimId, region: NodeId) -> Result<Operation, Error> {
        let page = self.store.find_claim(claim).ok_or(Error::NotFound)?;
        let link = self.region_of(page, region)?;
        Ok(self.begin_revoke(link))
    }

    pub(crate) fn begin_revoke(&mut self, link: Link) -> Operation {
        self.mark_dying(link);
        Operation::Revoke(self.store.node(link).id)
    }

    /// From here on nothing is derived from the node, and a domain whose control page it is does nothing any more.
    fn mark_dying(&mut self, link: Link) {
        let node = self.store.node_mut(link);
        node.flags |= flag::DYING;
        if node.kind == Kind::Control
            && let Some(domain) = node.target
        {
            self.store.domain_mut(domain).state = DomainState::Dying;
        }
    }

    /// Carries a revocation on.
    pub(crate) fn advance_revoke(
        &mut self,
        subject: NodeId,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Progress {
        loop {
            let Some(top) = self.store.find_node(subject) else {
                return Progress::Done(Ok(0));
            };
            if self.store.node(top).has(flag::QUARANTINED) {
                return Progress::Done(Err(Error::Quarantined));
            }
            if budget.is_spent() {
                return Progress::Again;
            }
            budget.spend(STEP);
            let cursor = NodeId::from_word(self.store.node(top).course().cursor);
            let here = self
                .store
                .find_node(cursor)
                .filter(|link| self.store.node(*link).is_workable())
                .unwrap_or(top);
            let next = match self.visit(here, platform, budget) {
                Course::Stay => continue,
                Course::Wait => return Progress::Again,
                Course::Down(link) => self.store.node(link).id.word(),
                Course::Across(link) => {
                    let back = self.store.node(here).id.word();
                    let node = self.store.node_mut(link);
                    node.set_course(|course| course.back = back);
                    node.id.word()
                }
                Course::Up(name) => name,
            };
            if let Some(top) = self.store.find_node(subject) {
                let top = self.store.node_mut(top);
                top.set_course(|course| course.cursor = next);
            }
        }
    }

    fn visit(&mut self, link: Link, platform: &mut impl Platform, budget: &mut Budget) -> Course {
        self.mark_dying(link);
        if let Some(child) = self.first_workable_child(link) {
            return Course::Down(child);
        }
        let node = self.store.node(link);
        match node.kind {
            Kind::Control => match node.target {
                Some(domain) => self.bury(link, domain, platform, budget),
                None => self.remove(link),
            },
            Kind::Claim => self.empty_claim(link),
            Kind::Exit => self.remove(link),
            Kind::Root | Kind::Carve | Kind::Share => self.take_out(link, platform, budget),
        }
    }

    /// Domains first, so that what they run stops before what they use goes.
    fn first_workable_child(&self, link: Link) -> Option<Link> {
        let children = self.store.node(link).children;
        let tree = Tree::new(&self.store, Order::Siblings, children);
        tree.marked(mark::WORKABLE_CONTROL, (0, 0))
            .or_else(|| tree.marked(mark::WORKABLE, (0, 0)))
    }

    /// Drops a claim from which nothing workable is derived; cores that it pays for may still be on their way out, since
    /// they are derived from its owner's, not from the claim.
    fn empty_claim(&mut self, link: Link) -> Course {
        let node = self.store.node(link);
        let unowned = self.store.claim(node.payer).unowned;
        let leaving = Tree::new(&self.store, Order::Holder, unowned).marked(mark::WORKABLE, (0, 0));
        match leaving {
            Some(cores) => Course::Across(cores),
            None if node.children.is_some() || unowned.is_some() => self.give_up(link),
            None => self.remove(link),
        }
    }

    /// Does the next thing for a region or a range of cores from which nothing workable is derived.
    fn take_out(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Course {
        self.withdraw(link);
        if let Some(control) = self.awaited(link) {
            return Course::Across(control);
        }
        match self.step_node(link, platform, budget) {
            Step::Done => Course::Stay,
            Step::Wait => Course::Wait,
            Step::Quarantined => self.give_up(link),
            // A quarantined part keeps the whole.
            Step::Settled if self.store.node(link).children.is_some() => self.give_up(link),
            Step::Settled => self.remove(link),
        }
    }

    /// The control page of the domain that must be gone first.
    fn awaited(&self, link: Link) -> Option<Link> {
        let domain = DomainId::from_word(self.store.node(link).course().awaits);
        let control = self.store.domain(self.store.find_domain(domain)?).control?;
        self.store.node(control).is_workable().then_some(control)
    }

    /// Does the next thing for a domain that dies.
    fn bury(
        &mut self,
        control: Link,
        domain: PageNumber,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Course {
        let record = self.store.domain(domain);
        let id = record.id;
        if !record.stopped {
            match platform.apply(&Effect::Stop { domain: id }, 0, budget) {
                Applied::Done | Applied::Measured(_) => {}
                Applied::TimedOut => self.store.domain_mut(domain).unanswered = true,
                _ => return Course::Wait,
            }
            self.store.domain_mut(domain).stopped = true;
            return Course::Stay;
        }
        let holdings = Tree::new(&self.store, Order::Holder, record.holdings);
        if let Some(holding) = holdings.marked(mark::WORKABLE, (0, 0)) {
            return Course::Across(holding);
        }
        if record.holdings.is_some() || record.unanswered {
            return self.give_up(control);
        }
        if let Some(offer) = record.offers {
            self.withdraw(offer);
            return Course::Stay;
        }
        match platform.apply(&Effect::Retire { domain: id }, 0, budget) {
            Applied::Done | Applied::Measured(_) => {
                self.drop_domain(domain);
                Course::Stay
            }
            Applied::TimedOut => self.give_up(control),
            _ => Course::Wait,
        }
    }

    /// Takes the node out of the forest; it pays back what it cost.
    fn remove(&mut self, link: Link) -> Course {
        let onward = self.onward(link);
        match self.store.node(link).kind {
            Kind::Claim => self.drop_claim(link),
            Kind::Exit => {
                placement::detach(&mut self.store, link);
                self.drop_node(link);
            }
            Kind::Control => self.drop_node(link),
            // Never: nothing begins to revoke a root.
            Kind::Root => {}
            Kind::Carve | Kind::Share => {
                self.unlist_unowned(link);
                self.drop_node(link);
            }
        }
        Course::Up(onward)
    }

    fn give_up(&mut self, link: Link) -> Course {
        self.quarantine(link);
        Course::Up(self.onward(link))
    }

    /// Where the work goes when the node is done with: back to where it came from, or to the parent if that dies too.
    fn onward(&self, link: Link) -> u64 {
        let node = self.store.node(link);
        let back = node.course().back;
        if self.store.find_node(NodeId::from_word(back)).is_some() {
            return back;
        }
        let parent = node.parent.map(|parent| self.store.node(parent));
        parent
            .filter(|parent| parent.has(flag::DYING))
            .map_or(0, |parent| parent.id.word())
    }
}
