//! One node's way into place and out of it, an effect at a time.
//!
//! A carve is taken from who holds its parent (unmapped, flushed) before it is mapped into its owner; on the way out
//! it is unmapped and flushed, then zeroed if it is clean, and only then mapped back. A share is mapped, unmapped and
//! flushed. A device goes the way of a carve, and is reset before anybody gets it, on the way in and on the way out. A whole core too,
//! but nobody has translations to forget of it. Where it stands is kept in the node, so any caller can carry on, and a node that begins to die half-way in
//! finishes being taken before it goes out: nothing is ever mapped twice or given back before it was flushed.

use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::effect::{Applied, Budget, Effect, Platform};
use crate::engine::Engine;
use crate::identity::{DomainId, PageNumber};
use crate::node::{Kind, Link, Resource, Stage, flag};
use crate::placement;
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, Order};

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done.
    Done,
    /// Others must act first, or the budget is spent.
    Wait,
    /// The node is in place, or out of the way, and has no further step.
    Settled,
    /// A core did not answer: the node is quarantined.
    Quarantined,
}

impl<S: Store> Engine<S> {
    /// Who has what the node was derived from, and where there the node's range is; none if nobody has.
    pub(crate) fn holder_of_parent(&self, link: Link) -> Option<(PageNumber, u64)> {
        let node = self.store.node(link);
        let parent = self.store.node(node.parent?);
        let holder = match parent.kind {
            Kind::Claim => self.store.claim(parent.payer).domain,
            _ => parent.owner?,
        };
        Some((holder, parent.place + (node.base - parent.base)))
    }

    /// Does the next thing for the node.
    pub(crate) fn step_node(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let dying = node.has(flag::DYING);
        match node.stage {
            Stage::Take => self.step_take(link, platform, budget),
            Stage::TakeFlush => self.step_take_flush(link, platform, budget),
            Stage::Reset | Stage::Give | Stage::Live if dying => self.go(link, Stage::Drop),
            Stage::Reset => self.step_reset(link, platform, budget),
            Stage::Give => self.step_give(link, platform, budget),
            Stage::Live | Stage::Gone => Step::Settled,
            Stage::Drop => self.step_drop(link, platform, budget),
            Stage::DropFlush => self.step_drop_flush(link, platform, budget),
            Stage::Scrub => self.step_scrub(link, platform, budget),
            Stage::Return => self.step_return(link, platform, budget),
        }
    }

    fn go(&mut self, link: Link, next: Stage) -> Step {
        self.store.node_mut(link).set_stage(next);
        Step::Done
    }

    /// Applies an effect that may take several slices; goes on to `next` at its end.
    fn apply(
        &mut self,
        link: Link,
        effect: &Effect,
        next: Stage,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let (from, size) = (node.course().offset, node.size);
        match platform.apply(effect, from, budget) {
            Applied::Done | Applied::Measured(_) => self.go(link, next),
            Applied::Partial(bytes) => {
                let done = bytes.clamp(from, size);
                let node = self.store.node_mut(link);
                node.set_course(|course| course.offset = done);
                Step::Done
            }
            Applied::Ticket(word) => {
                let node = self.store.node_mut(link);
                node.set_course(|course| course.offset = word);
                Step::Wait
            }
            Applied::Wait => Step::Wait,
            Applied::TimedOut => Step::Quarantined,
        }
    }

    fn step_take(&mut self, link: Link, platform: &mut impl Platform, budget: &mut Budget) -> Step {
        let Some((holder, place)) = self.holder_of_parent(link) else {
            return self.go(link, Stage::TakeFlush);
        };
        let effect = self.taking(link, self.store.domain(holder).id, place);
        let step = self.apply(link, &effect, Stage::TakeFlush, platform, budget);
        self.release_owner(link, step)
    }

    fn step_take_flush(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let next = match (node.owner, node.resource) {
            (Some(_), Resource::Device) => Stage::Reset,
            (Some(_), _) => Stage::Give,
            (None, _) => Stage::Live,
        };
        // A core keeps no translations for who has it; whom it runs forgets them as anywhere.
        let translated = node.resource != Resource::WholeCore;
        let Some((holder, _)) = self.holder_of_parent(link).filter(|_| translated) else {
            return self.go(link, next);
        };
        let domain = self.store.domain(holder).id;
        let step = self.apply(link, &Effect::Flush { domain }, next, platform, budget);
        self.release_owner(link, step)
    }

    /// If the node was quarantined before anything was mapped into its owner, that one is not to be held up by what it never had.
    fn release_owner(&mut self, link: Link, step: Step) -> Step {
        if step == Step::Quarantined && self.store.node(link).owner.is_some() {
            placement::detach(&mut self.store, link);
            self.list_unowned(link);
        }
        step
    }

    fn step_reset(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let effect = Effect::Reset {
            device: node.base,
            size: node.size,
        };
        let step = self.apply(link, &effect, Stage::Give, platform, budget);
        self.release_owner(link, step)
    }

    /// What makes the node's range appear at `place` of the domain.
    fn giving(&self, link: Link, domain: DomainId, place: u64, rights: Attributes) -> Effect {
        let node = self.store.node(link);
        let (base, size) = (node.base, node.size);
        match node.resource {
            Resource::Memory => Effect::Map {
                domain,
                place,
                base,
                size,
                rights,
            },
            Resource::Core => Effect::AllowCores {
                domain,
                first: base,
                count: size,
            },
            Resource::Device => Effect::Attach {
                domain,
                device: base,
                place,
                size,
            },
            Resource::WholeCore => Effect::GiveCore {
                domain,
                first: base,
                count: size,
            },
        }
    }

    /// What takes the node's range away from `place` of the domain.
    fn taking(&self, link: Link, domain: DomainId, place: u64) -> Effect {
        let node = self.store.node(link);
        let (base, size) = (node.base, node.size);
        match node.resource {
            Resource::Memory => Effect::Unmap {
                domain,
                place,
                size,
            },
            Resource::Core => Effect::DenyCores {
                domain,
                first: base,
                count: size,
            },
            Resource::Device => Effect::Detach {
                domain,
                device: base,
                place,
                size,
            },
            Resource::WholeCore => Effect::TakeCore {
                domain,
                first: base,
                count: size,
            },
        }
    }

    fn step_give(&mut self, link: Link, platform: &mut impl Platform, budget: &mut Budget) -> Step {
        let node = self.store.node(link);
        let Some(owner) = node.owner else {
            return self.go(link, Stage::Live);
        };
        let domain = self.store.domain(owner).id;
        let effect = self.giving(link, domain, node.place, node.rights());
        self.apply(link, &effect, Stage::Live, platform, budget)
    }

    fn step_drop(&mut self, link: Link, platform: &mut impl Platform, budget: &mut Budget) -> Step {
        let node = self.store.node(link);
        let Some(owner) = node.owner else {
            return self.go(link, Stage::Scrub);
        };
        let domain = self.store.domain(owner).id;
        let effect = self.taking(link, domain, node.place);
        self.apply(link, &effect, Stage::DropFlush, platform, budget)
    }

    fn step_drop_flush(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let Some(owner) = node.owner else {
            return self.go(link, Stage::Scrub);
        };
        let translated = !matches!(node.resource, Resource::Core | Resource::WholeCore);
        let vital = node.attributes.contains(Attributes::VITAL);
        let record = self.store.domain(owner);
        let (domain, stopped) = (record.id, record.stopped);
        let dying = record.state == DomainState::Dying;
        if translated {
            if record.unanswered {
                return Step::Quarantined;
            }
            let effect = Effect::Flush { domain };
            let step = self.apply(link, &effect, Stage::Scrub, platform, budget);
            if step == Step::Quarantined && dying {
                // Its other regions need not each wait for the same core.
                self.store.domain_mut(owner).unanswered = true;
            }
            if self.store.node(link).stage == Stage::DropFlush {
                return step;
            }
        }
        if self.store.node(link).children.is_some() {
            // A quarantined part keeps the whole, and its owner.
            return Step::Quarantined;
        }
        placement::detach(&mut self.store, link);
        self.list_unowned(link);
        // A domain that dies for another reason may still run. One whose holdings are being taken runs no more.
        if vital && !stopped {
            let node = self.store.node_mut(link);
            node.set_course(|course| course.awaits = domain.word());
        }
        self.go(link, Stage::Scrub)
    }

    /// Zeroes what is clean, unless it goes back into something clean that is zeroed as a whole afterwards.
    fn step_scrub(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let covered = self.lender(link).is_some_and(|lender| {
            let lender = self.store.node(lender);
            lender.kind == Kind::Carve && lender.has(flag::DYING) && lender.is_clean()
        });
        let clean = node.kind == Kind::Carve && node.is_clean();
        if !clean || covered || node.children.is_some() {
            return self.go(link, Stage::Return);
        }
        let (base, size) = (node.base, node.size);
        let effect = match node.resource {
            Resource::Device => Effect::Reset { device: base, size },
            _ => Effect::Scrub { base, size },
        };
        self.apply(link, &effect, Stage::Return, platform, budget)
    }

    /// Maps a carve back to who holds the parent, unless that is being taken back too.
    fn step_return(
        &mut self,
        link: Link,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Step {
        let node = self.store.node(link);
        let lender = self.lender(link).map(|lender| self.store.node(lender));
        let kept = lender.filter(|lender| !lender.has(flag::DYING));
        let wanted = node.kind == Kind::Carve && node.children.is_none();
        let (Some(lender), true, Some((holder, place))) =
            (kept, wanted, self.holder_of_parent(link))
        else {
            return self.go(link, Stage::Gone);
        };
        let domain = self.store.domain(holder).id;
        let effect = self.giving(link, domain, place, lender.rights());
        self.apply(link, &effect, Stage::Gone, platform, budget)
    }

    /// Takes the node out of use for good; revocations pass it by.
    pub(crate) fn quarantine(&mut self, link: Link) {
        let node = self.store.node_mut(link);
        node.flags |= flag::QUARANTINED | flag::DYING;
        let listed = node.owner.is_some() || matches!(node.kind, Kind::Carve | Kind::Share);
        tree::refresh(&mut self.store, Order::Siblings, link);
        if listed {
            tree::refresh(&mut self.store, Order::Holder, link);
        }
    }
}
