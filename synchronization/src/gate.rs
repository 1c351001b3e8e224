//! Whether a domain may be entered, and where.
//!
//! The order that makes it right: who enters takes the vCPU, then looks at the gate; who closes the gate does so, then looks
//! who has a vCPU. Both are sequentially consistent, so at least one sees the other: nobody is inside who was not
//! waited for.

use crate::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::owner::Owner;

// The states of a domain, which it goes through in this order.
const BUILDING: u8 = 0;
const SEALED: u8 = 1;
const DEAD: u8 = 2;

/// Where a core stands in a domain's bit map.
#[derive(Clone, Copy, Debug)]
pub struct CorePlace {
    word: usize,
    /// The bit in that word; none for a core that the map cannot name.
    bit: u64,
}

impl CorePlace {
    /// That of the core with this number in a map of `words` words.
    #[must_use]
    pub const fn of(core: u32, words: usize) -> Self {
        let word = core as usize / 64;
        Self {
            word,
            bit: if word < words { 1 << (core % 64) } else { 0 },
        }
    }
}

/// Why a core did not get a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The domain is not sealed yet.
    Building,
    /// The domain is being destroyed.
    Dead,
    /// The domain has no such vCPU.
    NoVcpu,
    /// Another core has the vCPU.
    Busy,
    /// The domain may not run on this core.
    WrongCore,
}

/// A domain's state, and the cores (64 for each of `WORDS`) on which it may be entered.
#[derive(Debug)]
#[repr(C)]
pub struct Gate<const WORDS: usize> {
    cores: [AtomicU64; WORDS],
    state: AtomicU8,
}

impl<const WORDS: usize> Gate<WORDS> {
    /// That of a domain that is being built and has no cores.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cores: core::array::from_fn(|_| AtomicU64::new(0)),
            state: AtomicU8::new(BUILDING),
        }
    }

    /// Whether it may be entered: it was sealed and is not being destroyed.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::SeqCst) == SEALED
    }

    /// Whether it is being destroyed.
    #[inline]
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.load(Ordering::SeqCst) == DEAD
    }

    /// From now on it may be entered, unless it is dead already.
    pub fn set_sealed(&self) {
        let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
        let _was_dead = self
            .state
            .compare_exchange(BUILDING, SEALED, success, failure);
    }

    /// From now on nobody enters it; who is inside is to be waited for.
    pub fn set_dead(&self) {
        self.state.store(DEAD, Ordering::SeqCst);
    }

    /// Whether it may run on the core with this place.
    #[inline]
    #[must_use]
    pub fn may_run_on(&self, core: CorePlace) -> bool {
        // What the map cannot name has no bit. Cheaper than another look at the bound, on the shortest path there is.
        self.cores[core.word % WORDS].load(Ordering::SeqCst) & core.bit != 0
    }

    /// Allows or denies it a core; if denied, who is inside is to be waited for.
    pub fn set_core(&self, core: u64, allowed: bool) {
        let Some(word) = self.cores.get((core / 64) as usize) else {
            return;
        };
        let bit = 1 << (core % 64);
        if allowed {
            word.fetch_or(bit, Ordering::SeqCst);
        } else {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Makes `core` the owner of a vCPU of the domain, if that may run there at all.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    #[inline]
    pub fn admit(&self, owner: &Owner, core: u32, place: &CorePlace) -> Result<(), Refused> {
        self.take_if(owner, core, || self.may_run_on(*place))
    }

    /// Makes `core` the owner of a vCPU of the domain, which has that core as a whole: it needs no right to be entered there.
    ///
    /// # Errors
    /// Why not; nothing has changed then.
    pub fn admit_as_a_whole(&self, owner: &Owner, core: u32) -> Result<(), Refused> {
        self.take_if(owner, core, || true)
    }

    #[inline]
    fn take_if(
        &self,
        owner: &Owner,
        core: u32,
        may_run: impl FnOnce() -> bool,
    ) -> Result<(), Refused> {
        if !owner.take(core) {
            return Err(self.refused(Refused::Busy));
        }
        // Only now: see the module's text.
        if self.is_open() && may_run() {
            return Ok(());
        }
        owner.release();
        Err(self.refused(Refused::WrongCore))
    }

    /// Why a core is refused: what is true of the whole domain comes before `otherwise`.
    #[must_use]
    pub fn refused(&self, otherwise: Refused) -> Refused {
        if self.is_dead() {
            Refused::Dead
        } else if self.is_open() {
            otherwise
        } else {
            Refused::Building
        }
    }
}

impl<const WORDS: usize> Default for Gate<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_vcpu_is_taken_only_where_and_while_its_domain_may_run() {
        let (gate, owner) = (Gate::<2>::new(), Owner::default());
        let admit = |core| gate.admit(&owner, core, &CorePlace::of(core, 2));
        gate.set_core(70, true);
        assert_eq!(admit(70), Err(Refused::Building));
        gate.set_sealed();
        assert_eq!(admit(6), Err(Refused::WrongCore));
        assert_eq!(
            admit(4096),
            Err(Refused::WrongCore),
            "the map cannot name it"
        );
        assert_eq!(owner.core(), None, "who is refused has nothing");
        assert_eq!(admit(70), Ok(()));
        assert_eq!(admit(70), Err(Refused::Busy));
        owner.release();
        gate.set_core(70, false);
        assert_eq!(admit(70), Err(Refused::WrongCore));
        gate.set_dead();
        gate.set_sealed();
        assert_eq!(admit(70), Err(Refused::Dead));
    }

    #[test]
    fn a_whole_core_needs_no_right_to_be_entered() {
        let (gate, owner) = (Gate::<2>::new(), Owner::default());
        let admit = || gate.admit_as_a_whole(&owner, 1);
        assert_eq!(admit(), Err(Refused::Building));
        gate.set_sealed();
        assert_eq!(admit(), Ok(()));
        assert_eq!(admit(), Err(Refused::Busy));
        owner.release();
        gate.set_dead();
        assert_eq!(admit(), Err(Refused::Dead));
        assert_eq!(owner.core(), None, "who is refused has nothing");
    }
}
