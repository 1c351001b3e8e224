//! Operations on their way: what [`Engine::advance`](crate::Engine::advance) carries on, and what a claim
//! remembers of the one that it has begun.
//!
//! How far an operation is stands in the nodes and domains that it changes, so an [`Operation`] is only a
//! name: anybody may carry it on, two may overlap, and losing one loses nothing.

use adyton_abi::error::Error;

use crate::identity::{DomainId, NodeId};

/// Something that was decided and is being carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A node is being put in place: carve, share, grant, accept, cores. Its result is the node's name.
    Place(NodeId),
    /// A node and all below it are being taken back: revoke, release, destroy. Its result is 0.
    Revoke(NodeId),
    /// A domain is being measured. Its result is 0.
    Seal(DomainId),
}

/// How far [`Engine::advance`](crate::Engine::advance) came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The operation has ended: its result word, or why it failed on the way.
    Done(Result<u64, Error>),
    /// The budget is spent, or another core must act first: call again.
    Again,
}

/// The unfinished operation of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The call's number and arguments, all that makes a repetition equal.
    pub arguments: [u64; 10],
    /// The caller's token, not 0.
    pub token: u64,
    /// What was begun.
    pub operation: Operation,
}

/// What a call meets in its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Nothing is unfinished: begin.
    New,
    /// This very call is unfinished: carry on.
    Continue(Operation),
    /// Another call is unfinished.
    Busy,
}

/// Whether a grant took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The region belongs to the target; the operation maps it.
    Granted(Operation),
    /// The region waits for the target's `accept`.
    Offered,
}
