//! What the monitor's own paths need of a domain, in one page that several cores read at once without a lock.
//!
//! The engine's record says what a domain is entitled to; this page is what entering, exiting and faulting look at. What
//! never changes is plain, what changes under readers is atomic, and [`Changing`] belongs to whoever holds the engine's
//! lock. A context is freed by [`Effect::Retire`](adyton_capability::effect::Effect::Retire) only after every core has
//! left the monitor once since its directory word was cleared ([`adyton_synchronization::presence`]).

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use adyton_abi::policy::Policy;
use adyton_capability::identity::DomainId;
use adyton_secrets::signature::{Check, Identity};
use adyton_synchronization::flush::Generation;
use adyton_synchronization::gate::Gate;
use adyton_synchronization::wait::{Flushing, Wait};
use sha2::Sha256;

use crate::address::{HostPhysical, PAGE_SIZE};
use crate::devices;
use crate::frames::FRAMES;
use crate::iommu;
use crate::lock::Lock;
use crate::nested::{NestedTables, View};
use crate::once::Once;
use crate::vcpu::Vcpu;

/// Cores that a domain's bit map can name.
pub const CORE_LIMIT: u64 = 64 * CORE_WORDS as u64;
/// Words of that bit map.
pub const CORE_WORDS: usize = 64;
const VCPU_SLOTS: usize = 320;

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
    /// Whether it may be entered, and on which cores.
    pub gate: Gate<CORE_WORDS>,
    /// Who has signed it, once it has shown that: for good.
    pub signer: Once<Identity>,
    /// The signature that it has shown, while that is checked.
    pub signature: Lock<Option<Check>>,
    vcpu_count: AtomicU32,
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
    /// Which flush is being waited for, or needed.
    pub flushing: Flushing,
    /// Table pages that wait for a flush to begin, and for the one that has begun to end: heads of chains, 0 for none.
    pub retired: u64,
    /// See [`Self::retired`].
    pub retiring: u64,
    /// What devices are to forget of what was taken away.
    pub device_flush: iommu::Flush,
    /// Under which number what devices are to forget is filed.
    pub device_filed: u16,
    /// What devices are to forget of what was absent, and since when that is waited for.
    pub device_opening: Option<(iommu::Flush, u64)>,
    /// When cores were first asked to let go of the vCPUs of the domain, which has died.
    pub stopping: Option<u64>,
    /// Cores are being waited for to let go of the context. Each wait has a word of its own: one that was left half-way
    /// and found much later by another would seem to have lasted all the time.
    pub retirement: Option<Wait>,
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
    /// Under which number the IOMMUs file what they remember of the tables of this domain, whose name is `id`; none if no device goes
    /// through them.
    #[must_use]
    pub fn filed(&self, id: DomainId) -> Option<u16> {
        if !iommu::is_active() {
            return None;
        }
        match self.control_page {
            None => Some(iommu::DOMAIN0),
            Some(_) => devices::filed(id),
        }
    }
}

impl Context {
    /// Whether it is domain 0's, who is its own owner.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.id == self.owner
    }

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
            gate: Gate::new(),
            signer: Once::new(),
            signature: Lock::new(None),
            vcpu_count: AtomicU32::new(0),
            vcpus: [const { AtomicU64::new(0) }; VCPU_SLOTS],
            changing: UnsafeCell::new(Changing {
                tables: Some(origin.tables),
                hasher: Sha256::default(),
                hashed: 0,
                control_page: origin.control_page,
                flushing: Flushing::new(),
                retired: 0,
                retiring: 0,
                device_flush: iommu::Flush::Done,
                device_filed: 0,
                device_opening: None,
                stopping: None,
                retirement: None,
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
