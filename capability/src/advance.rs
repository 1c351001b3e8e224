//! Carrying operations on.

use adyton_abi::error::Error;

use crate::effect::{Budget, Platform};
use crate::engine::{Engine, STEP};
use crate::identity::NodeId;
use crate::node::flag;
use crate::operation::{Operation, Progress};
use crate::records::Records;
use crate::stage::Step;
use crate::store::Store;

impl<S: Store> Engine<S> {
    /// Carries `operation` on until it ends, the budget is spent, or another core must act first.
    ///
    /// It may be called for the same operation by anybody, any number of times, between calls of any other kind.
    pub fn advance(
        &mut self,
        operation: Operation,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Progress {
        match operation {
            Operation::Place(node) => self.advance_place(node, platform, budget),
            Operation::Revoke(node) => self.advance_revoke(node, platform, budget),
            Operation::Seal(domain) => self.advance_seal(domain, platform, budget),
        }
    }

    fn advance_place(
        &mut self,
        node: NodeId,
        platform: &mut impl Platform,
        budget: &mut Budget,
    ) -> Progress {
        loop {
            let Some(link) = self.store.find_node(node) else {
                return Progress::Done(Err(Error::Dead));
            };
            if self.store.node(link).has(flag::QUARANTINED) {
                return Progress::Done(Err(Error::Quarantined));
            }
            if self.store.node(link).has(flag::DYING) {
                return Progress::Done(Err(Error::Dead));
            }
            if budget.is_spent() {
                return Progress::Again;
            }
            budget.spend(STEP);
            match self.step_node(link, platform, budget) {
                Step::Done => {}
                Step::Wait => return Progress::Again,
                Step::Settled => return Progress::Done(Ok(node.word())),
                Step::Quarantined => self.quarantine(link),
            }
        }
    }
}
