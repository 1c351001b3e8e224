//! The last walks of a vCPU to control pages, to be taken again with a glance at each entry instead of a walk.
//!
//! A walk is a function of the table entries that it reads, the control registers, and the nested tables. A [`Trail`]
//! keeps where those entries stand and what stood in them. If they all still say the same, so would a walk: this *is*
//! the walk, only that nothing is computed twice. Nothing stale can come of it:
//!
//! - Each entry is read again, accessed and dirty bits included; CR3, CR4, and the privilege level are compared. A trail is
//!   recorded only where CR0.WP and RFLAGS.AC make no difference, and forgotten when EFER changes.
//! - Where the entries stand, and where the page is, is good for one generation of the domain's nested translations, as
//!   the core's own translation cache is. Whoever takes something away raises the generation and then waits for every core
//!   that came into the monitor before ([`adyton_synchronization::presence`]), so a generation that is still the same when the trail is
//!   followed holds until this core leaves the monitor.

use core::cell::Cell;
use core::ptr::{NonNull, null};
use core::sync::atomic::{AtomicU64, Ordering};

use adyton_x86::paging::{Entry, cr4};

use super::memory::CallerMemory;
use crate::address::GuestPhysical;
use crate::guest::walk::{Denied, GuestMemory};
use crate::vcpu::Vcpu;

/// Entries of a walk; one with more is not recorded.
const LEVELS: usize = 4;
/// Trails of a vCPU: a power of two.
const TRAILS: usize = 4;

/// An entry that a walk has read: where, and what.
#[derive(Clone, Copy, Debug)]
struct Step {
    entry: *const AtomicU64,
    word: u64,
}

/// One walk. All zeros is a valid value: of no walk, since no domain has the generation 0.
#[derive(Debug)]
#[repr(align(128))]
pub struct Trail {
    generation: Cell<u64>,
    address: Cell<u64>,
    cr3: Cell<u64>,
    cr4: Cell<u64>,
    /// Bits of PKRU that would refuse.
    keys: Cell<u32>,
    privilege: Cell<u8>,
    steps: [Cell<Step>; LEVELS],
    /// The directory's word for the page that was found.
    found: Cell<*const AtomicU64>,
}

/// A vCPU's trails.
#[derive(Debug)]
pub struct Trails([Trail; TRAILS]);

impl Trails {
    /// The one for `address`.
    #[inline]
    pub fn of(&self, address: u64) -> &Trail {
        // The upper bits of the product depend on all bits of the address.
        const SPREAD: u64 = 0x6a09_e667;
        const SHIFT: u32 = u64::BITS - TRAILS.ilog2();
        &self.0[(address.wrapping_mul(SPREAD) >> SHIFT) as usize % TRAILS]
    }

    /// None of them is good any more.
    pub fn forget(&self) {
        for trail in &self.0 {
            trail.generation.set(0);
        }
    }
}

impl Trail {
    /// The directory's word for the page behind `address`, if a walk by `caller` in this `generation` of its domain would find
    /// what the recorded one found.
    #[inline]
    pub fn follow(
        &self,
        caller: &Vcpu,
        address: u64,
        generation: u64,
    ) -> Option<&'static AtomicU64> {
        let is_same = self.generation.get() == generation
            && self.address.get() == address
            && self.cr3.get() == caller.cr3()
            && self.cr4.get() == caller.cr4()
            && self.privilege.get() == caller.cpl();
        if !is_same {
            return None;
        }
        for step in &self.steps {
            let Step { entry, word } = step.get();
            // SAFETY: it was recorded in this generation, so it is still a word of the caller's memory (see above).
            if unsafe { &*entry }.load(Ordering::Relaxed) != word {
                return None;
            }
        }
        if self.keys.get() != 0 && caller.protection_keys() & self.keys.get() != 0 {
            return None;
        }
        // SAFETY: a word of the directory, which stays, as of every trail that has a generation.
        Some(unsafe { NonNull::new_unchecked(self.found.get().cast_mut()).as_ref() })
    }

    /// Keeps the walk that `recorder` has seen, if it can be told from what is kept whether another would end alike.
    pub fn record(
        &self,
        caller: &Vcpu,
        address: u64,
        generation: u64,
        recorder: &Recorder,
        found: &'static AtomicU64,
    ) {
        self.generation.set(0);
        let Some(last) = recorder.last() else {
            return;
        };
        let has = |bit| caller.cr4() & bit != 0;
        let (all, is_user) = (Entry(recorder.all.get()), caller.cpl() == 3);
        let is_guarded = has(cr4::SUPERVISOR_ACCESS_PREVENTION) && all.has(Entry::USER);
        // A page that every level lets be written can be written whatever CR0.WP says.
        if !all.has(Entry::WRITABLE) || (is_guarded && !is_user) {
            return;
        }
        let is_keyed = has(cr4::PROTECTION_KEYS) && all.has(Entry::USER);
        let keys = if is_keyed {
            3 << (2 * Entry(last.word).protection_key())
        } else {
            0
        };
        self.keys.set(keys);
        self.address.set(address);
        self.cr3.set(caller.cr3());
        self.cr4.set(caller.cr4());
        self.privilege.set(caller.cpl());
        for (step, seen) in self.steps.iter().zip(&recorder.steps) {
            let seen = seen.get();
            // A walk that ended early looks at its last entry again: cheaper than to count.
            step.set(if seen.entry.is_null() { last } else { seen });
        }
        self.found.set(found);
        self.generation.set(generation);
    }
}

/// A caller's memory that notes what a walk reads.
pub struct Recorder {
    memory: CallerMemory,
    steps: [Cell<Step>; LEVELS],
    count: Cell<usize>,
    /// The bits that all entries have.
    all: Cell<u64>,
    /// The walk has changed an entry, so what was read is old.
    changed: Cell<bool>,
}

impl Recorder {
    /// Nothing read yet.
    pub fn new(memory: CallerMemory) -> Self {
        const NONE: Step = Step {
            entry: null(),
            word: 0,
        };
        Self {
            memory,
            steps: [const { Cell::new(NONE) }; LEVELS],
            count: Cell::new(0),
            all: Cell::new(u64::MAX),
            changed: Cell::new(false),
        }
    }

    /// The last entry of a walk that can be recorded.
    fn last(&self) -> Option<Step> {
        if self.changed.get() {
            return None;
        }
        let last = self.count.get().checked_sub(1)?;
        self.steps.get(last).map(Cell::get)
    }
}

impl GuestMemory for Recorder {
    #[inline]
    fn read_entry(&self, place: GuestPhysical) -> Result<u64, Denied> {
        let entry = self.memory.entry(place)?;
        let word = entry.load(Ordering::Relaxed);
        if let Some(step) = self.steps.get(self.count.get()) {
            step.set(Step { entry, word });
        }
        self.count.set(self.count.get() + 1);
        self.all.set(self.all.get() & word);
        Ok(word)
    }

    fn exchange(&self, place: GuestPhysical, old: u64, new: u64) -> Result<bool, Denied> {
        self.changed.set(true);
        self.memory.exchange(place, old, new)
    }
}
