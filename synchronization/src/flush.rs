//! Which translations must be forgotten where, and who must be waited for.
//!
//! A core caches translations under the address space identifier (ASID) of the vCPU that it runs, and keeps them after the
//! vCPU has left. When something is unmapped from a domain, two things follow: every core that runs the domain *now* must be
//! made to leave it (kicked), and every vCPU of it must begin with a flush when it enters *next*, on the core whose cache knows
//! it. Both come from one number: a domain's [`Generation`], raised by each [`Generation::invalidate`]. An entry compares it with
//! that of the vCPU's last entry; whoever waits for a flush looks which cores run the domain with an older one.
//!
//! Nothing here takes a lock: entry and exit are a handful of loads and stores. The order that makes it right:
//!
//! - who unmaps writes the page tables, then raises the generation, then looks what each core runs;
//! - a core says what it is about to run, then reads the generation, then runs.
//!
//! Both middle steps are sequentially consistent, so of an unmap and an entry that meet at least one sees the other: the core
//! reads the new generation, flushes, and walks the new tables, or it is seen running with an old generation and is waited for.
//!
//! An ASID is given to a vCPU on one core, for as long as the vCPU stays there and the core does not run out of ASIDs. A vCPU that
//! comes back gets a fresh one, so what its guest flushed elsewhere in between cannot come back either. ASID 0 is the host's.

use crate::atomic::{AtomicU32, AtomicU64, Ordering, constant};

#[cfg(all(test, not(loom)))]
mod exhaustive;
#[cfg(all(test, not(loom)))]
mod tests;

/// What an entry must do about the core's translation cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Tlb {
    /// Enter with this ASID, which the vCPU had at its last entry.
    Keep(u32),
    /// Enter with this ASID, which is new to the vCPU and under which nothing is cached.
    Fresh(u32),
    /// Forget everything under this ASID, then enter with it.
    FlushAsid(u32),
    /// Forget everything under every ASID of this core, then enter with this one.
    FlushAll(u32),
}

impl Tlb {
    /// The ASID to enter with.
    #[must_use]
    pub const fn asid(self) -> u32 {
        match self {
            Self::Keep(asid) | Self::Fresh(asid) | Self::FlushAsid(asid) | Self::FlushAll(asid) => {
                asid
            }
        }
    }
}

/// How often something was taken from a domain's tables. One for each domain.
#[derive(Debug)]
pub struct Generation(AtomicU64);

impl Generation {
    constant! {
        /// That of a new domain.
        #[must_use]
        pub const fn new() -> Self {
            Self(AtomicU64::new(1))
        }
    }

    /// What it is now.
    #[inline]
    #[must_use]
    pub fn current(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Raises it; call it after the page tables were changed. The result is the ticket for [`CoreTranslations::is_pending`],
    /// never 0.
    pub fn invalidate(&self) -> u64 {
        // Ordering: the stores to the tables come before (release), the looks at the cores after (total order, see above).
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Default for Generation {
    fn default() -> Self {
        Self::new()
    }
}

/// What one vCPU remembers of its last entry. Only the core that has the vCPU touches it. All zeros is that of one that
/// never ran.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tag {
    asid: u32,
    /// The core's epoch, which tells the core too; 0 before the first entry.
    epoch: u64,
    generation: u64,
}

impl Tag {
    /// That of a vCPU that never ran.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            asid: 0,
            epoch: 0,
            generation: 0,
        }
    }

    /// The vCPU flushes at its next entry, and what was made for it then is of this generation. If the domain's
    /// has risen by then, the entry says so as if the vCPU had run.
    pub fn set_generation(&mut self, generation: u64) {
        self.generation = generation;
    }
}

/// Instead of a domain's name, of which none is as great.
const RESTING: u64 = u64::MAX;

/// What is added to a core's epoch when it begins a new one: more than any name.
const ROUND: u64 = 1 << 17;

/// What one core runs, and the ASIDs that it has given out. The core alone changes it; others read what it runs.
#[derive(Debug)]
pub struct CoreTranslations {
    /// Greatest ASID of this core (CPUID Fn8000_000A EBX, less one).
    last_asid: u32,
    /// The next ASID that was not given out in this epoch; only the core itself touches it.
    next_asid: AtomicU32,
    /// The core's name plus one, and above it how often the core ran out of ASIDs and forgot everything; only the core itself
    /// touches it.
    epoch: AtomicU64,
    /// The domain that it runs or is about to run, 0 for none, [`RESTING`] while it sleeps.
    domain: AtomicU64,
    /// The generation that it entered with, 0 while it has not been read.
    generation: AtomicU64,
}

impl CoreTranslations {
    constant! {
        /// The core named `name`, whose cache may hold anything, and which has ASIDs up to `last_asid` (at least 1).
        #[must_use]
        pub const fn new(name: u16, last_asid: u32) -> Self {
            Self {
                last_asid,
                // As if all had been given out: the first entry forgets what the core cached before.
                next_asid: AtomicU32::new(u32::MAX),
                epoch: AtomicU64::new(name as u64 + 1),
                domain: AtomicU64::new(0),
                generation: AtomicU64::new(0),
            }
        }
    }

    /// Says on this core that it is about to run a vCPU of `domain`, and how it must enter. Call it after the last look at what
    /// could keep the core from entering; from here on the core may be waited for until [`Self::exit`].
    pub fn enter(&self, tag: &mut Tag, domain: u64, generation: &Generation) -> Tlb {
        if self.enter_as_before(tag, domain, generation) {
            Tlb::Keep(tag.asid)
        } else {
            self.renew(tag, generation)
        }
    }

    /// As [`Self::enter`] where the vCPU keeps everything, which is the common case. If the answer is `false`, [`Self::renew`]
    /// must follow.
    #[inline]
    #[must_use]
    pub fn enter_as_before(&self, tag: &Tag, domain: u64, generation: &Generation) -> bool {
        self.announce(domain);
        self.keeps(tag, generation)
    }

    #[inline]
    fn announce(&self, domain: u64) {
        // Ordering: whoever reads the domain must not take the generation of an earlier entry for this one's, so the
        // zero is stored first (release). The store of the domain stands in the total order with the load of the generation.
        self.generation.store(0, Ordering::Relaxed);
        self.domain.store(domain, Ordering::SeqCst);
    }

    /// Reads the generation and says which one the core enters with.
    #[inline]
    fn adopt(&self, generation: &Generation) -> u64 {
        let current = generation.current();
        // Ordering: it tells others that everything older than `current` is out of use here. Nothing has run since the
        // announcement, and what runs from here on is flushed first, so no store has to be seen before it.
        self.generation.store(current, Ordering::Release);
        current
    }

    #[inline]
    fn keeps(&self, tag: &Tag, generation: &Generation) -> bool {
        let current = self.adopt(generation);
        tag.generation == current && tag.epoch == self.epoch.load(Ordering::Relaxed)
    }

    /// What must be done at an entry that was announced and cannot go on as before.
    pub fn renew(&self, tag: &mut Tag, generation: &Generation) -> Tlb {
        tag.generation = self.adopt(generation);
        if tag.epoch == self.epoch.load(Ordering::Relaxed) {
            return Tlb::FlushAsid(tag.asid);
        }
        let next = self.next_asid.load(Ordering::Relaxed);
        if next <= self.last_asid {
            // Nothing was cached under it since the core last forgot everything.
            self.next_asid.store(next + 1, Ordering::Relaxed);
            tag.asid = next;
            tag.epoch = self.epoch.load(Ordering::Relaxed);
            return Tlb::Fresh(next);
        }
        let epoch = self.epoch.load(Ordering::Relaxed).wrapping_add(ROUND);
        self.epoch.store(epoch, Ordering::Relaxed);
        self.next_asid.store(2, Ordering::Relaxed);
        tag.asid = 1;
        tag.epoch = epoch;
        Tlb::FlushAll(1)
    }

    /// Says on this core that it has left the vCPU. What the core looks up from here on is looked up after that.
    #[inline]
    pub fn exit(&self) {
        // Ordering: everything that the vCPU did comes before; the exchange keeps later loads behind it.
        self.domain.swap(0, Ordering::SeqCst);
    }

    /// Says on this core that it sleeps: it runs nothing, and looks nothing up, until [`Self::exit`].
    pub fn rest(&self) {
        self.domain.store(RESTING, Ordering::SeqCst);
    }

    /// Whether this core runs no domain and is not asleep.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.domain.load(Ordering::SeqCst) == 0
    }

    /// Whether this core must still be waited for, by whoever got `ticket` from the domain's generation: it runs the domain and
    /// may use translations from before.
    #[must_use]
    pub fn is_pending(&self, domain: u64, ticket: u64) -> bool {
        // If the core leaves between the two loads, the second may be of a later entry. Then the core has left the domain
        // since, which is what is asked.
        self.domain.load(Ordering::SeqCst) == domain
            && self.generation.load(Ordering::Acquire) < ticket
    }

    /// Whether this core runs the domain, with whatever generation.
    #[must_use]
    pub fn runs(&self, domain: u64) -> bool {
        self.domain.load(Ordering::SeqCst) == domain
    }
}
