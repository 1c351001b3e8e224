//! Walks of a program's tables that its leaves of ENCLU make again and again: to the instruction, the TCS, the frame.
//!
//! A walk is a function of the entries that it reads, the control registers and domain 0's nested tables. A trail keeps where those
//! entries stand and what they said when the walk was over, marks included. If all still say the same, so would a walk, and it would
//! mark nothing: this *is* the walk, only that nothing is computed twice (design note 004 has the same for control pages).
//!
//! What must hold: trails are used for programs only, whose accesses depend on no register but those of [`Circumstances`]; whoever uses
//! them has called [`Trails::prepare`] in the same exit, since what steps point to holds for one generation of domain 0's nested tables.

use core::cell::Cell;

use adyton_x86::paging::cr4;

use super::notes::{Entries, Notes};
use super::space::{Step, Walk};
use crate::address::{GuestPhysical, GuestVirtual, PAGE_SIZE};
use crate::guest::walk::{Access, Fault, Kind, Regime};
use crate::vcpu::Vcpu;

/// Trails of a core to data: a power of two.
const TRAILS: usize = 8;
/// Levels of a walk that can be kept.
const LEVELS: usize = 4;
/// No page with a kind of access.
const NO_PAGE: u64 = u64::MAX;

/// All that a walk depends on beside the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// Of domain 0's nested tables; there is none with number 0.
    generation: u64,
    /// CR0, CR3, CR4, EFER.
    control: [u64; 4],
    /// PKRU, if CR4 says that it matters.
    keys: u32,
}

impl Circumstances {
    /// Whether they are those of this program.
    #[inline(always)]
    pub(super) fn are_of(&self, vcpu: &Vcpu) -> bool {
        let [cr0, cr3, cr4, efer] = self.control;
        let is_keyed = cr4 & cr4::PROTECTION_KEYS != 0;
        vcpu.cr3() == cr3
            && vcpu.seat.context().generation.current() == self.generation
            && (vcpu.cr0() ^ cr0) | (vcpu.cr4() ^ cr4) | (vcpu.efer() ^ efer) == 0
            && (!is_keyed || vcpu.protection_keys() == self.keys)
    }

    /// Those of a program that is not in enclave mode.
    #[inline]
    pub(super) fn of(vcpu: &Vcpu) -> Self {
        let cr4 = vcpu.cr4();
        let is_keyed = cr4 & cr4::PROTECTION_KEYS != 0;
        Self {
            generation: vcpu.seat.context().generation.current(),
            control: [vcpu.cr0(), vcpu.cr3(), cr4, vcpu.efer()],
            keys: if is_keyed { vcpu.protection_keys() } else { 0 },
        }
    }
}

/// One walk.
struct Trail {
    /// The page, and in its low bits the kind of access.
    page: Cell<u64>,
    steps: Cell<[Step; LEVELS]>,
    /// Where it led.
    found: Cell<u64>,
}

impl Default for Trail {
    fn default() -> Self {
        Self {
            page: Cell::new(NO_PAGE),
            steps: Cell::new([Step::NONE; LEVELS]),
            found: Cell::new(0),
        }
    }
}

/// A core's trails.
#[derive(Default)]
pub(super) struct Trails {
    circumstances: Circumstances,
    regime: Option<Regime>,
    /// The last one leads to the instruction, whose page lies anywhere: it must not be in the way of the others.
    trails: [Trail; TRAILS + 1],
}

impl Trails {
    /// Drops them all unless they were made under the registers that `vcpu` has now, outside enclave mode.
    #[inline]
    pub(super) fn prepare(&mut self, vcpu: &Vcpu) {
        let now = Circumstances::of(vcpu);
        if self.circumstances != now {
            self.renew(now, vcpu.regime());
        }
    }

    #[cold]
    fn renew(&mut self, now: Circumstances, regime: Option<Regime>) {
        self.circumstances = now;
        self.regime = regime;
        for trail in &self.trails {
            trail.page.set(NO_PAGE);
        }
    }

    /// The rules of the address space that they were last prepared for.
    #[inline]
    pub(super) fn regime(&self) -> Option<&Regime> {
        self.regime.as_ref()
    }

    /// What they were last prepared for.
    pub(super) fn circumstances(&self) -> Circumstances {
        self.circumstances
    }

    /// Where an access of the program's leads, and by which entries; `None` where it leads nowhere, or by more than can be kept.
    pub(super) fn walk_noted<M: Entries + Copy>(
        &self,
        memory: M,
        address: u64,
        kind: Kind,
    ) -> Option<(GuestPhysical, Walk)> {
        let place = self.walk(memory, address, kind).ok()?;
        let (page, trail) = self.trail(address, kind);
        (trail.page.get() == page).then(|| (place, Walk(trail.steps.get())))
    }

    #[inline]
    fn trail(&self, address: u64, kind: Kind) -> (u64, &Trail) {
        let page = address & !(PAGE_SIZE - 1) | kind as u64;
        let number = match kind {
            Kind::Execute => TRAILS,
            Kind::Read | Kind::Write => (address / PAGE_SIZE) as usize % TRAILS,
        };
        (page, &self.trails[number])
    }

    /// Where an access of the program's leads.
    ///
    /// # Errors
    /// As [`Regime::translate`].
    #[inline]
    pub(super) fn walk<M: Entries + Copy>(
        &self,
        memory: M,
        address: u64,
        kind: Kind,
    ) -> Result<GuestPhysical, Fault> {
        let offset = address % PAGE_SIZE;
        let (page, trail) = self.trail(address, kind);
        if trail.page.get() == page && trail.steps.get().iter().all(Step::still_holds) {
            return Ok(GuestPhysical(trail.found.get() | offset));
        }
        self.walk_anew(memory, address, kind, trail)
    }

    #[cold]
    #[inline(never)]
    fn walk_anew<M: Entries + Copy>(
        &self,
        memory: M,
        address: u64,
        kind: Kind,
        trail: &Trail,
    ) -> Result<GuestPhysical, Fault> {
        trail.page.set(NO_PAGE);
        let access = Access {
            kind,
            user: true,
            alignment_check: false,
        };
        let regime = self.regime.ok_or(Fault::NotCanonical)?;
        let notes = Notes::new(memory);
        let found = regime
            .translate(&notes, GuestVirtual(address), access)?
            .address;
        if let Some(([first, second, third], last)) = notes.way() {
            trail
                .steps
                .set([first, second, third, last.unwrap_or(third)]);
            trail.found.set(found.page().value());
            trail.page.set(address & !(PAGE_SIZE - 1) | kind as u64);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
