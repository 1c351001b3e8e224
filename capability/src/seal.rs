//! Seal: freezes what a domain is and has, and measures it.
//!
//! While a domain is being measured it gets nothing more. It may lose something, since revocation never waits; then the
//! measurement begins again. If something that it has is not in place, or is being taken back, seal fails and the domain
//! is being composed as before.

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_abi::record::DomainState;
use adyton_abi::region::Attributes;

use crate::effect::{Applied, Budget, Effect, Platform};
use crate::engine::{Engine, STEP};
use crate::identity::{ClaimId, DomainId, PageNumber};
use crate::measure;
use crate::node::{Detail, Kind, Link, Resource, Stage, flag};
use crate::operation::{Operation, Progress};
use crate::records::Records;
use crate::store::Store;
use crate::tree::{self, Order, Tree, class};

/// What of a domain is measured next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measuring {
    Begin,
    Header,
    /// The exit page of a vCPU with at least this index, which bears its entry state.
    Vcpu(u64),
    /// The record of the first region at or behind this place.
    Region(u64),
    /// The contents of the region at this place, from this byte on.
    Contents(u64, u64),
    End,
}

impl Measuring {
    pub(crate) const BEGIN: Self = Self::Begin;

    /// What has been measured counts no more.
    pub(crate) const fn restart(&mut self) {
        *self = Self::Begin;
    }
}

/// What one step of the measurement came to.
enum Outcome {
    Done,
    Wait,
    Failed,
}

impl<S: Store> Engine<S> {
    /// Seals a domain that is being composed and has a vCPU.
    ///
    /// # Errors
    /// `NotFound`, `Dead`, `Policy`, `WrongState` (also without vCPU); later `Busy` if something it has is not in place.
    pub fn seal(&mut self, claim: ClaimId, domain: DomainId) -> Result<Operation, Error> {
        let (claim, _) = self.authorize(claim, Flags::MAY_CREATE)?;
        let page = self.building_in(claim, domain)?;
        let record = self.store.domain_mut(page);
        if record.vcpus == 0 {
            return Err(Error::WrongState);
        }
        record.state = DomainState::Sealing;
        record.measuring = Measuring::BEGIN;
        Ok(Operation::Seal(domain))
    }

    /// Carries a seal on.
    pub(crate) fn advance_seal(
        &mut self,
        domain: DomainId,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Progress {
        loop {
            let Some(page) = self.store.find_domain(domain) else {
                return Progress::Done(Err(Error::Dead));
            };
            match self.store.domain(page).state {
                DomainState::Sealing => {}
                DomainState::Sealed => return Progress::Done(Ok(0)),
                DomainState::Building => return Progress::Done(Err(Error::Busy)),
                DomainState::Dying => return Progress::Done(Err(Error::Dead)),
            }
            if budget.is_spent() {
                return Progress::Again;
            }
            budget.spend(STEP);
            match self.step_seal(page, domain, platform, budget) {
                Outcome::Done => {}
                Outcome::Wait => return Progress::Again,
                Outcome::Failed => self.store.domain_mut(page).state = DomainState::Building,
            }
        }
    }

    fn step_seal(
        &mut self,
        page: PageNumber,
        domain: DomainId,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Outcome {
        let record = self.store.domain(page);
        let (effect, next) = match record.measuring {
            Measuring::Begin => (Effect::MeasureBegin { domain }, Measuring::Header),
            Measuring::Header => {
                let bytes = measure::header(record.policy, record.vcpus, record.regions);
                (Effect::MeasureRecord { domain, bytes }, Measuring::Vcpu(0))
            }
            Measuring::Vcpu(index) => match self.vcpu_entry(page, index) {
                Some((index, entry)) => {
                    let bytes = measure::vcpu(index, entry);
                    let next = Measuring::Vcpu(index + 1);
                    (Effect::MeasureRecord { domain, bytes }, next)
                }
                None => return self.measure_next(page, Measuring::Region(0)),
            },
            Measuring::Region(place) => match self.next_region(page, place) {
                Some(link) if !self.is_settled(link) => return Outcome::Failed,
                Some(link) => self.region_record(domain, link),
                None => return self.measure_next(page, Measuring::End),
            },
            Measuring::Contents(place, from) => {
                return self.step_contents(page, place, from, platform, budget);
            }
            Measuring::End => return self.finish_seal(page, domain, platform, budget),
        };
        match platform.apply(&effect, 0, budget) {
            Applied::Done => self.measure_next(page, next),
            Applied::TimedOut | Applied::Measured(_) => Outcome::Failed,
            Applied::Partial(_) | Applied::Wait | Applied::Ticket(_) => Outcome::Wait,
        }
    }

    fn measure_next(&mut self, page: PageNumber, next: Measuring) -> Outcome {
        self.store.domain_mut(page).measuring = next;
        Outcome::Done
    }

    fn vcpu_entry(&self, page: PageNumber, index: u64) -> Option<(u64, crate::node::Entry)> {
        let holdings = Tree::new(&self.store, Order::Holder, self.store.domain(page).holdings);
        let node = self.store.node(holdings.at_or_after((class::EXIT, index))?);
        match node.detail {
            Detail::Vcpu(entry) => Some((node.place, entry)),
            Detail::Course(_) => None,
        }
    }

    /// The domain's first region of memory at or behind `place`.
    pub(crate) fn next_region(&self, page: PageNumber, place: u64) -> Option<Link> {
        let holdings = Tree::new(&self.store, Order::Holder, self.store.domain(page).holdings);
        let link = holdings.at_or_after((class::MEMORY, place))?;
        let found = tree::key(Order::Holder, self.store.node(link)).0;
        (found == class::MEMORY).then_some(link)
    }

    fn is_settled(&self, link: Link) -> bool {
        let node = self.store.node(link);
        node.stage == Stage::Live && !node.has(flag::DYING)
    }

    fn region_record(&self, domain: DomainId, link: Link) -> (Effect, Measuring) {
        let node = self.store.node(link);
        let exclusive = node.kind == Kind::Carve;
        let bytes = measure::region(node.place, node.size, node.attributes, exclusive);
        if node.resource == Resource::Device {
            let device = node.base;
            let next = Measuring::Region(node.place + node.size);
            return (
                Effect::MeasureDevice {
                    domain,
                    device,
                    bytes,
                },
                next,
            );
        }
        let next = if node.attributes.contains(Attributes::MEASURED) {
            Measuring::Contents(node.place, 0)
        } else {
            Measuring::Region(node.place + node.size)
        };
        (Effect::MeasureRecord { domain, bytes }, next)
    }

    fn step_contents(
        &mut self,
        page: PageNumber,
        place: u64,
        from: u64,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Outcome {
        let Some(link) = self
            .next_region(page, place)
            .filter(|l| self.is_settled(*l))
        else {
            return Outcome::Failed;
        };
        let node = self.store.node(link);
        let size = node.size;
        let effect = Effect::MeasureContents {
            domain: self.store.domain(page).id,
            base: node.base,
            size,
        };
        match platform.apply(&effect, from, budget) {
            Applied::Done => self.measure_next(page, Measuring::Region(place + size)),
            Applied::Partial(bytes) => {
                let bytes = bytes.clamp(from, size);
                self.measure_next(page, Measuring::Contents(place, bytes))
            }
            Applied::Wait | Applied::Ticket(_) => Outcome::Wait,
            Applied::TimedOut | Applied::Measured(_) => Outcome::Failed,
        }
    }

    fn finish_seal(
        &mut self,
        page: PageNumber,
        domain: DomainId,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Outcome {
        match platform.apply(&Effect::MeasureEnd { domain }, 0, budget) {
            Applied::Measured(digest) => {
                let record = self.store.domain_mut(page);
                record.measurement = digest;
                record.state = DomainState::Sealed;
                Outcome::Done
            }
            Applied::Wait | Applied::Partial(_) | Applied::Ticket(_) => Outcome::Wait,
            Applied::Done | Applied::TimedOut => Outcome::Failed,
        }
    }
}
