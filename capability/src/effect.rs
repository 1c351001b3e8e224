//! What the engine asks of the hardware, and how the platform answers.

use adyton_abi::region::Attributes;

use crate::identity::DomainId;

/// Bytes in one record of the measured stream, see [`crate::measure`].
pub const RECORD_SIZE: usize = 64;

/// One change to the hardware's state.
///
/// The engine never maps over something that is mapped; it may unmap ranges that are not, or not
/// wholly, mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make host-physical `base ..` appear at guest-physical `place ..` of the domain. Needs no flush.
    Map {
        /// Who sees it.
        domain: DomainId,
        /// Guest-physical address.
        place: u64,
        /// Host-physical address.
        base: u64,
        /// Bytes.
        size: u64,
        /// READ, WRITE and EXECUTE, no other bits.
        rights: Attributes,
    },
    /// Take guest-physical `place ..` from the domain's tables. A `Flush` follows.
    Unmap {
        /// Who loses it.
        domain: DomainId,
        /// Guest-physical address.
        place: u64,
        /// Bytes.
        size: u64,
    },
    /// Done when no core and no device uses a translation of the domain that was unmapped before
    /// this effect was first applied, with `from` 0. Several may be on their way for one domain, so the platform
    /// answers [`Applied::Ticket`] with a word that tells it which one is asked about again.
    Flush {
        /// Whose translations.
        domain: DomainId,
    },
    /// Let the domain drive the device: its registers appear at guest-physical `place ..`, and it reaches the domain's memory. It was
    /// reset since it was last attached.
    Attach {
        /// Who gets it.
        domain: DomainId,
        /// Which, see [`crate::device`].
        device: u64,
        /// Guest-physical address, or for who has all the machine's devices the device's number.
        place: u64,
        /// Bytes of its registers.
        size: u64,
    },
    /// Take the device from the domain: it reaches no memory from now on, and the domain's tables lead to its registers no more. A
    /// `Flush` follows.
    Detach {
        /// Who loses it.
        domain: DomainId,
        /// Which.
        device: u64,
        /// As for `Attach`.
        place: u64,
        /// Bytes.
        size: u64,
    },
    /// Done when nothing is in the device of what its last holder put there, nor will happen of what he began, as far as the device
    /// can be made to forget. Nobody drives it.
    Reset {
        /// Which.
        device: u64,
        /// Bytes of its registers.
        size: u64,
    },
    /// Put the record into the domain's measurement, with the kind of the device as its last word.
    MeasureDevice {
        /// Whose.
        domain: DomainId,
        /// Which device.
        device: u64,
        /// See [`crate::measure`].
        bytes: [u8; RECORD_SIZE],
    },
    /// Zero the range and write it back from the caches.
    Scrub {
        /// Host-physical address.
        base: u64,
        /// Bytes.
        size: u64,
    },
    /// Begin the domain's measurement anew.
    MeasureBegin {
        /// Whose.
        domain: DomainId,
    },
    /// Put these bytes into the domain's measurement.
    MeasureRecord {
        /// Whose.
        domain: DomainId,
        /// See [`crate::measure`].
        bytes: [u8; RECORD_SIZE],
    },
    /// Put the contents of the range into the domain's measurement.
    MeasureContents {
        /// Whose.
        domain: DomainId,
        /// Host-physical address.
        base: u64,
        /// Bytes.
        size: u64,
    },
    /// End the measurement; answered by [`Applied::Measured`].
    MeasureEnd {
        /// Whose.
        domain: DomainId,
    },
    /// Done when no core runs the domain, or a descendant that was entered through it, and none
    /// will again.
    Stop {
        /// Which.
        domain: DomainId,
    },
    /// The domain may be entered on these cores.
    AllowCores {
        /// Which.
        domain: DomainId,
        /// Number of the first core.
        first: u64,
        /// How many.
        count: u64,
    },
    /// The domain may not be entered on these cores any more; done when none of them runs it.
    DenyCores {
        /// Which.
        domain: DomainId,
        /// Number of the first core.
        first: u64,
        /// How many.
        count: u64,
    },
    /// These threads, all of one core, are the domain's alone: its vCPUs may be started there. To domain 0 they come back waiting
    /// for a start-up.
    GiveCore {
        /// Which.
        domain: DomainId,
        /// Number of the first thread.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Nothing is started any more on these threads; done when nothing of the domain's runs there.
    TakeCore {
        /// Which.
        domain: DomainId,
        /// Number of the first thread.
        first: u64,
        /// How many.
        count: u64,
    },
    /// The domain holds nothing and runs nowhere: free its tables and contexts.
    Retire {
        /// Which.
        domain: DomainId,
    },
}

/// How far the platform came with an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// To the end.
    Done,
    /// Bytes done since the effect began, `from` included; a multiple of the page size, less than
    /// the whole. Only for effects that have a size (in bytes).
    Partial(u64),
    /// Others must act first: ask again.
    Wait,
    /// Others must act first: ask again with this word, not 0, as `from`. Only for effects without a size.
    Ticket(u64),
    /// A core did not answer within the time that is allowed.
    TimedOut,
    /// The digest, the answer to [`Effect::MeasureEnd`].
    Measured([u8; 32]),
}

/// What applies effects: the monitor, or a recorder in tests.
pub trait Platform {
    /// Goes on with `effect` after its first `from` bytes (or with the ticket `from`), as far as `budget` allows.
    ///
    /// The same effect is offered again until the answer is `Done`, `Measured` or `TimedOut`; between,
    /// effects of other operations may come.
    fn apply(&mut self, effect: &Effect, from: u64, budget: &mut Budget) -> Applied;
}

/// Work that one slice may still do, in units of about one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Budget(u64);

impl Budget {
    /// A budget of `units`.
    #[must_use]
    pub const fn new(units: u64) -> Self {
        Self(units)
    }

    /// Takes `units` away, or what is left of them.
    pub const fn spend(&mut self, units: u64) {
        self.0 = self.0.saturating_sub(units);
    }

    /// Units left.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.0
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_budget_is_what_is_left_of_it() {
        let mut budget = Budget::new(7);
        assert_eq!((budget.left(), budget.is_spent()), (7, false));
        budget.spend(4);
        assert_eq!((budget.left(), budget.is_spent()), (3, false));
        budget.spend(5);
        assert_eq!((budget.left(), budget.is_spent()), (0, true));
    }
}
