//! Taking a core out of a chain of entries: design note 004.
//!
//! What must hold: who completes which caller is settled while this core still owns the whole chain. From the moment at which a vCPU
//! is given up, another core may have it, with another caller: so [`Settled`], which alone can give the chain up, is made at the end of
//! all that.

use adyton_abi::error::Error;
use adyton_abi::exit::ExitKind;

use super::enter::conclude;
use super::name;
use super::report::Operands;
use crate::instructions::time_stamp;
use crate::vcpu::{Owner, Vcpu};

#[cfg(test)]
mod tests;

/// Something that is domain 0's to take (an interrupt, an NMI), or another core, wants this core out of the chain that
/// ends in `leaf`: suspends all of it and returns what began it, which is not given up: domain 0's vCPU, which stands at its call,
/// or one that was started on a whole core.
///
/// Each level pays for its running time; the outermost one whose limit is used up exits to its caller. Linear in depth.
pub fn suspend(leaf: &'static mut Vcpu, interrupted: bool) -> &'static mut Vcpu {
    // SAFETY: this core owns the vCPU that runs on it, and all that led to it.
    let (root, is_answered) = unsafe { settle(leaf).give_up() };
    let is_system = root.owner() == Owner::Domain0;
    if interrupted && is_system && !is_answered && !root.has_interrupts() {
        name::complete(root, Error::Interrupted as u64);
    }
    root
}

/// A chain of which it is settled who has come to an exit, and who executes its call again.
#[must_use]
struct Settled {
    leaf: *mut Vcpu,
    root: &'static mut Vcpu,
    /// The root's own call is complete.
    is_answered: bool,
}

/// Charges every level, and has the outermost one whose limit is used up exit.
///
/// # Safety
/// This core owns every vCPU from `leaf` on, and holds no other reference to one; the chain ends in domain 0's, or in one that was started.
unsafe fn settle(leaf: *mut Vcpu) -> Settled {
    let now = time_stamp();
    let mut exhausted = None;
    let mut vcpu = leaf;
    // SAFETY: as the caller warrants.
    unsafe {
        while !(*vcpu).seat.begins_chain((*vcpu).owner()) {
            if (*vcpu).seat.entry.charge(now) {
                exhausted = Some(vcpu);
            }
            let caller = (*vcpu).seat.caller;
            (*caller).seat.calling = true;
            vcpu = caller;
        }
        let root = vcpu;
        (*root).seat.calling = false;
        if let Some(vcpu) = exhausted {
            let caller = (*vcpu).seat.caller;
            (*caller).seat.calling = false;
            conclude(
                &mut *vcpu,
                &mut *caller,
                ExitKind::Budget,
                &Operands::default(),
            );
        }
        Settled {
            leaf,
            root: &mut *root,
            is_answered: exhausted.is_some_and(|vcpu| (*vcpu).seat.caller == root),
        }
    }
}

impl Settled {
    /// Gives up every vCPU from the leaf to the one that the root entered. The root, and whether its call is complete.
    ///
    /// # Safety
    /// This core owns them all.
    unsafe fn give_up(self) -> (&'static mut Vcpu, bool) {
        let mut vcpu = self.leaf;
        // SAFETY: as the caller warrants; a vCPU is not touched after it was released.
        unsafe {
            while !(*vcpu).seat.begins_chain((*vcpu).owner()) {
                let caller = (*vcpu).seat.caller;
                (*vcpu).seat.owner.release();
                vcpu = caller;
            }
        }
        (self.root, self.is_answered)
    }
}
