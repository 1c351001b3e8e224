//! An engine and a machine together, with short words for what tests do often.

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::{Flags, Policy};
use adyton_abi::region::Attributes;
use adyton_capability::Engine;
use adyton_capability::derive::{Source, Target};
use adyton_capability::effect::{Budget, Effect};
use adyton_capability::identity::{ClaimId, DomainId, NodeId};
use adyton_capability::node::Entry;
use adyton_capability::operation::{Operation, Progress};

use super::machine::Machine;
use super::pages::Pages;
use super::small_engine;

/// Everything a domain may be allowed, confidential.
pub fn confidential() -> Policy {
    Policy {
        flags: Flags::CONFIDENTIAL | Flags::MAY_COMPOSE,
        exceptions: 0,
    }
}

/// A policy with these flags.
pub fn policy(flags: Flags) -> Policy {
    Policy {
        flags,
        exceptions: 0,
    }
}

/// Read and write.
pub fn data() -> Attributes {
    Attributes::READ | Attributes::WRITE
}

/// `count` pages in bytes.
pub const fn pages(count: u64) -> u64 {
    count * PAGE_SIZE
}

/// A range of host memory as a source.
pub fn range(base: u64, count: u64) -> Source {
    Source::Range {
        base,
        size: pages(count),
    }
}

/// A place in a domain as a target.
pub fn into(domain: DomainId, place: u64) -> Option<Target> {
    Some(Target { domain, place })
}

/// The node of an operation that places one.
pub fn node(operation: Operation) -> NodeId {
    match operation {
        Operation::Place(node) => node,
        other => panic!("{other:?} places nothing"),
    }
}

pub struct Scene {
    pub engine: Engine<Pages>,
    pub machine: Machine,
    pub first: DomainId,
}

impl Scene {
    pub fn new() -> Self {
        Self::with_limit(6000)
    }

    pub fn with_limit(limit: u64) -> Self {
        let engine = small_engine(limit);
        let first = engine.first_domain();
        Self {
            engine,
            machine: Machine::new(0),
            first,
        }
    }

    /// Carries the operation to its end.
    pub fn finish(&mut self, operation: Operation) -> Result<u64, Error> {
        for _ in 0..100_000 {
            let mut budget = Budget::new(10_000);
            let progress = self
                .engine
                .advance(operation, &mut self.machine, &mut budget);
            self.engine.check_invariants().unwrap();
            if let Progress::Done(result) = progress {
                return result;
            }
        }
        panic!("{operation:?} does not end");
    }

    /// One step, which says how far it came.
    pub fn step(&mut self, operation: Operation) -> Progress {
        let mut budget = Budget::new(1);
        self.engine
            .advance(operation, &mut self.machine, &mut budget)
    }

    /// The effects of the operation, to its end.
    pub fn effects(&mut self, operation: Operation) -> Vec<Effect> {
        self.machine.log.clear();
        self.finish(operation).unwrap();
        core::mem::take(&mut self.machine.log)
    }

    /// A claim of domain 0.
    pub fn claim(&mut self, place: u64, count: u64) -> ClaimId {
        let size = pages(count);
        self.engine.claim(self.first, place, size, [1, 2]).unwrap()
    }

    /// A domain with its control page at `control` and the exit page of one vCPU behind it.
    pub fn domain(&mut self, claim: ClaimId, control: u64, policy: Policy) -> DomainId {
        let domain = self.engine.create(claim, control, policy, 100).unwrap();
        let exit = control + PAGE_SIZE;
        let entry = Entry::default();
        self.engine.add_vcpu(claim, domain, exit, entry).unwrap();
        domain
    }

    /// A region carved from the claim for a domain.
    pub fn carve(
        &mut self,
        claim: ClaimId,
        source: Source,
        target: Option<Target>,
        attributes: Attributes,
    ) -> NodeId {
        let operation = self.engine.carve(claim, source, target, attributes);
        let operation = operation.unwrap();
        self.finish(operation).unwrap();
        node(operation)
    }

    /// As [`Self::carve`], shared.
    pub fn share(
        &mut self,
        claim: ClaimId,
        source: Source,
        target: Option<Target>,
        attributes: Attributes,
    ) -> NodeId {
        let operation = self.engine.share(claim, source, target, attributes);
        let operation = operation.unwrap();
        self.finish(operation).unwrap();
        node(operation)
    }

    /// Seals the domain.
    pub fn seal(&mut self, claim: ClaimId, domain: DomainId) {
        let operation = self.engine.seal(claim, domain).unwrap();
        self.finish(operation).unwrap();
    }
}
