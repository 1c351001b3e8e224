//! How a core waits for the others, and when it gives one up.
//!
//! Nobody waits in place: a slice looks, asks who is behind to come out, and ends; the call is executed again. What is
//! waited for and since when is kept with the domain, under the lock that guards it. A core that has not answered when
//! the patience is over is given up, and what it may still reach is never used again (quarantine): that is for the caller of
//! these functions to see to.

use crate::flush::Generation;
use crate::owner::Owner;
use crate::presence::{Epoch, Presence};

#[cfg(all(test, not(loom)))]
mod tests;

/// Another core, as who waits for it sees it.
pub trait Peer {
    /// Where it is.
    fn presence(&self) -> &Presence;
    /// Brings it into the monitor soon, if it is inside a guest.
    fn kick_out(&self);
}

/// What a look at the others came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Answer {
    /// Nobody has to be waited for any more.
    All,
    /// Look again later.
    NotYet,
    /// Somebody has not answered in time.
    TooLate,
}

/// The time as a waiter sees it, in any unit.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// Now.
    pub now: u64,
    /// How long an answer may take.
    pub patience: u64,
}

/// A wait for other cores.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Cores that were in the monitor must have come back since this epoch.
    epoch: u64,
    /// When it began.
    since: u64,
}

impl Wait {
    /// Begins to wait. What was taken away must have been published before.
    #[must_use]
    pub fn begin(epoch: &Epoch, now: u64) -> Self {
        Self {
            epoch: epoch.begin(),
            since: now,
        }
    }

    /// Whether `others` may have references from before the wait.
    pub fn for_references<'peer, P: Peer + 'peer>(
        &self,
        others: impl Iterator<Item = &'peer P>,
        time: Time,
    ) -> Answer {
        // They come out by themselves: a core is in the monitor for no longer than a slice.
        let mut others = others;
        let behind = others.any(|core| core.presence().is_inside_since_before(self.epoch));
        answer(behind, self.since, time)
    }
}

/// A flush that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// What [`Generation::invalidate`] gave.
    ticket: u64,
    wait: Wait,
}

/// What a domain's flush is at: one for all who took something from the domain. An entry that joins what is under way is covered
/// by it; who takes more away begins anew, which covers all before.
///
/// The patience is for the oldest flush that some core has not answered, so that who keeps taking away does not make the others
/// wait for ever. While a core is that silent, whoever has to wait for it is too late at once.
#[derive(Debug, Default)]
pub struct Flushing {
    unmapped: bool,
    newest: Option<Begun>,
    /// None without a newest.
    oldest: Option<Begun>,
}

impl Flushing {
    /// None is needed.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            unmapped: false,
            newest: None,
            oldest: None,
        }
    }

    /// Translations were taken out of the domain's tables.
    pub fn need(&mut self) {
        self.unmapped = true;
    }

    /// Begins a flush if one is needed; whether it did.
    pub fn begin(&mut self, generation: &Generation, epoch: &Epoch, now: u64) -> bool {
        let needed = core::mem::take(&mut self.unmapped);
        if needed {
            let ticket = generation.invalidate();
            let wait = Wait::begin(epoch, now);
            let begun = Begun { ticket, wait };
            self.newest = Some(begun);
            self.oldest.get_or_insert(begun);
        }
        needed
    }

    /// Whether a flush has begun that is still waited for.
    #[must_use]
    pub const fn is_begun(&self) -> bool {
        self.newest.is_some()
    }

    /// Whether any of `others`, or what is not a core (`devices_behind`), may use what was taken away before the flush began; asks
    /// those cores to come out.
    pub fn look<'peer, P: Peer + 'peer>(
        &mut self,
        domain: u64,
        generation: &Generation,
        others: impl Iterator<Item = &'peer P>,
        devices_behind: bool,
        time: Time,
    ) -> Answer {
        let (Some(newest), Some(oldest)) = (self.newest, self.oldest) else {
            return Answer::All;
        };
        let (mut behind, mut is_silent) = (devices_behind, false);
        for core in others {
            let presence = core.presence();
            if presence.may_use_old(domain, generation, newest.wait.epoch) {
                behind = true;
                is_silent |= presence.may_use_older(domain, oldest.ticket, oldest.wait.epoch);
                core.kick_out();
            }
        }
        if !behind {
            *self = Self {
                unmapped: self.unmapped,
                ..Self::new()
            };
            return Answer::All;
        }
        let patient_with = if is_silent { oldest } else { newest };
        self.oldest = Some(patient_with);
        answer(behind, patient_with.wait.since, time)
    }
}

/// Whether any core has one of the vCPUs for which, both, `concerns` holds, since when that is asked; `kick` asks it to let go. To be
/// called after the gate was closed to those cores. A vCPU is whatever the caller knows it by.
pub fn for_owners<'owner, V>(
    owners: impl Iterator<Item = (V, &'owner Owner)>,
    concerns: impl Fn(V, u32) -> bool,
    mut kick: impl FnMut(u32),
    since: u64,
    time: Time,
) -> Answer {
    let mut behind = false;
    for (vcpu, owner) in owners {
        if let Some(core) = owner.core().filter(|core| concerns(vcpu, *core)) {
            behind = true;
            kick(core);
        }
    }
    answer(behind, since, time)
}

/// What a wait since `since` comes to, if somebody is still `behind` or not.
pub const fn answer(behind: bool, since: u64, time: Time) -> Answer {
    if !behind {
        Answer::All
    } else if time.now.saturating_sub(since) > time.patience {
        Answer::TooLate
    } else {
        Answer::NotYet
    }
}
