//! What the monitor's own paths need of a domain, in one page that several cores read at once without a lock.
//!
//! The engine's record says what a domain is entitled to; this page is what entering, exiting and faulting look at. What
//! never changes is plain, what changes under readers is atomic, and [`Changing`] belongs to whoever holds the engine's
//! lock. A context is freed by [`Effect::Retire`](adyton_capability::effect::Effect::Retire) only after every core has
//! left the monitor once since its directory word was cleared ([`super::presence`]).

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use adyton_abi::policy::Policy;
use adyton_capability::flush::Generation;
use adyton_capability::identity::DomainId;
use sha2::Sha256;

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::frames::FRAMES;
use crate::iommu;
use crate::nested::{NestedTables, View};
use crate::vcpu::Vcpu;

/// Cores that a domain's bit map can name.
pub const CORE_LIMIT: u64 = 64 * CORE_WORDS as u64;
const CORE_WORDS: usize = 64;
const VCPU_SLOTS: usize = 384;

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
    /// That of the core with this number.
    #[must_use]
    pub const fn of(core: u32) -> Self {
        Self {
            word: core as usize / 64,
            bit: if (core as u64) < CORE_LIMIT {
                1 << (core % 64)
            } else {
                0
            },
        }
    }
}

/// A domain's page.
#[repr(C, align(4096))]
pub struct Context {
    /// The key of the claim that it lives in.
    pub key: [u64; 2],
    /// Its name.
    pub id: DomainId,
    /// The domain that may command it: the one that made the claim.
    pub owner: DomainId,
    /// Fixed at creation.
    pub policy: Policy,
    /// Reader of its nested tables.
    pub view: View,
    /// Raised when translations of it were taken away.
    pub generation: Generation,
    /// Entries so far.
    pub entries: AtomicU64,
    state: AtomicU8,
    vcpu_count: AtomicU32,
    cores: [AtomicU64; CORE_WORDS],
    vcpus: [AtomicU64; VCPU_SLOTS],
    changing: UnsafeCell<Changing>,
}

const _: () = assert!(size_of::<Context>() == PAGE_SIZE as usize);

// SAFETY: `changing` is reached only by the holder of the engine's lock; all else is atomic or never changes.
unsafe impl Sync for Context {}

/// What only the holder of the engine's lock touches.
pub struct Changing {
    /// The nested tables; none once they were given up.
    pub tables: Option<NestedTables>,
    /// The measurement while it is being taken.
    pub hasher: Sha256,
    /// Bytes that the measurement has taken of the page that it is at.
    pub hashed: u64,
    /// The control page; none for domain 0.
    pub control_page: Option<HostPhysical>,
    /// Translations were taken away and no flush was begun since.
    pub unmapped: bool,
    /// Table pages that wait for a flush to begin, and for the one that has begun to end: heads of chains, 0 for none.
    pub retired: u64,
    /// See [`Self::retired`].
    pub retiring: u64,
    /// A flush is being waited for. Apart from the other waits: nothing else that ends may end it.
    pub flushing: Option<Wait>,
    /// What devices are to forget of what was taken away.
    pub device_flush: iommu::Flush,
    /// What devices are to forget of what was absent, and since when that is waited for.
    pub device_opening: Option<(iommu::Flush, u64)>,
    /// Cores are being waited for to let go of the domain's vCPUs, or of its context.
    pub wait: Option<Wait>,
}

/// A wait for other cores.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// Cores that were in the monitor must have come back since this epoch.
    pub epoch: u64,
    /// When it began, by the time-stamp counter.
    pub since: u64,
}

/// What a new context is made of.
pub struct Origin {
    /// See [`Context::key`].
    pub key: [u64; 2],
    /// See [`Context::id`].
    pub id: DomainId,
    /// See [`Context::owner`].
    pub owner: DomainId,
    /// See [`Context::policy`].
    pub policy: Policy,
    /// Empty tables.
    pub tables: NestedTables,
    /// See [`Changing::control_page`].
    pub control_page: Option<HostPhysical>,
}

impl Changing {
    /// Whether devices go through the domain's tables.
    #[must_use]
    pub fn has_devices(&self) -> bool {
        self.control_page.is_none() && iommu::is_active()
    }
}

impl Context {
    /// Fills `page`, which came from [`FRAMES`], with a new context.
    ///
    /// # Safety
    /// The page belongs to nobody else.
    pub unsafe fn create(page: HostPhysical, origin: Origin) -> &'static Self {
        let context = Self {
            key: origin.key,
            id: origin.id,
            owner: origin.owner,
            policy: origin.policy,
            view: origin.tables.view(),
            generation: Generation::new(),
            entries: AtomicU64::new(0),
            state: AtomicU8::new(BUILDING),
            vcpu_count: AtomicU32::new(0),
            cores: [const { AtomicU64::new(0) }; CORE_WORDS],
            vcpus: [const { AtomicU64::new(0) }; VCPU_SLOTS],
            changing: UnsafeCell::new(Changing {
                tables: Some(origin.tables),
                hasher: Sha256::default(),
                hashed: 0,
                control_page: origin.control_page,
                unmapped: false,
                retired: 0,
                retiring: 0,
                flushing: None,
                device_flush: iommu::Flush::Done,
                device_opening: None,
                wait: None,
            }),
        };
        let place = page.value() as *mut Self;
        // SAFETY: as the caller warrants; memory is mapped one to one.
        unsafe {
            place.write(context);
            &*place
        }
    }

    /// What the engine's lock guards.
    ///
    /// # Safety
    /// The caller holds the engine's lock, and no other reference to it.
    #[expect(clippy::mut_from_ref, reason = "the engine's lock makes it exclusive")]
    pub unsafe fn changing(&self) -> &mut Changing {
        // SAFETY: as the caller warrants.
        unsafe { &mut *self.changing.get() }
    }

    /// Whether it may be entered: it was sealed and is not being destroyed.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.load(Ordering::SeqCst) == SEALED
    }

    /// From now on it may be entered, unless it is dead already.
    pub fn set_sealed(&self) {
        let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
        let _was_dead = self
            .state
            .compare_exchange(BUILDING, SEALED, success, failure);
    }

    /// Whether it is being destroyed.
    #[inline]
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state.load(Ordering::SeqCst) == DEAD
    }

    /// From now on nobody enters it.
    pub fn set_dead(&self) {
        self.state.store(DEAD, Ordering::SeqCst);
    }

    /// Whether it may run on the core with this place.
    #[inline]
    #[must_use]
    pub fn may_run_on(&self, core: CorePlace) -> bool {
        self.cores[core.word % CORE_WORDS].load(Ordering::SeqCst) & core.bit != 0
    }

    /// Allows or denies it a core.
    pub fn set_core(&self, core: u64, allowed: bool) {
        let Some(word) = self.cores.get(core as usize / 64) else {
            return;
        };
        let bit = 1 << (core % 64);
        if allowed {
            word.fetch_or(bit, Ordering::SeqCst);
        } else {
            word.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// A vCPU by its index.
    #[inline]
    #[must_use]
    pub fn vcpu(&self, index: u64) -> Option<*mut Vcpu> {
        let address = self.vcpus.get(index as usize)?.load(Ordering::Acquire);
        (address != 0).then_some(address as *mut Vcpu)
    }

    /// How many vCPUs it has.
    #[must_use]
    pub fn vcpu_count(&self) -> u32 {
        self.vcpu_count.load(Ordering::Acquire)
    }

    /// Whether there is room for one more vCPU in the page.
    #[must_use]
    pub fn has_vcpu_room(&self) -> bool {
        (self.vcpu_count() as usize) < VCPU_SLOTS
    }

    /// Adds a vCPU and says its index. Only under the engine's lock, after [`Self::has_vcpu_room`].
    pub fn add_vcpu(&self, vcpu: *mut Vcpu) -> u64 {
        let index = self.vcpu_count();
        if let Some(slot) = self.vcpus.get(index as usize) {
            slot.store(vcpu as u64, Ordering::Release);
            self.vcpu_count.store(index + 1, Ordering::Release);
        }
        u64::from(index)
    }

    /// Gives all its pages back but its own tables' (which [`NestedTables::destroy`] does).
    ///
    /// # Safety
    /// No core refers to the context or to any of its vCPUs.
    pub unsafe fn free(&'static self) {
        for index in 0..u64::from(self.vcpu_count()) {
            if let Some(vcpu) = self.vcpu(index) {
                // SAFETY: as the caller warrants.
                unsafe { (*vcpu).destroy() };
            }
        }
        let page = HostPhysical(core::ptr::from_ref(self) as u64);
        // SAFETY: as the caller warrants; the page came from there.
        unsafe { FRAMES.free(page) };
    }
}
