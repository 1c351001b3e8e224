//! A claim: a range of the pool that one key commands, and the pages in it.
//!
//! What must hold: a page is in the hands of one [`Pages`] or free in the allocator; pages that a
//! domain may still hold are never free. The monitor lets one call on a claim be unfinished at a
//! time, so this process makes them one after another.

use alloc::boxed::Box;
use alloc::sync::Arc;

use adyton_abi::PAGE_SIZE;
use adyton_abi::region::{Attributes, RegionName};
use spin::Mutex;

use crate::allocator::PageAllocator;
use crate::calls::{self, Name, Placement};
use crate::environment::{Environment, Refusal};
use crate::image::ImageError;

/// Why a composition failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The monitor refused a call.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The claim has no room.
    #[error("the claim has no free run of {wanted} pages ({free} pages are free in all)")]
    NoRoom {
        /// Pages asked for.
        wanted: u64,
        /// Pages free, in however many runs.
        free: u64,
    },
    /// The payload cannot be loaded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The arguments do not fit.
    #[error("the arguments take more than {0} bytes")]
    Arguments(u64),
}

struct Held<E: Environment> {
    place: E,
    name: Name,
    size: u64,
    process: u64,
    pages: Mutex<PageAllocator>,
    operation: Mutex<()>,
    /// Says that the claim is alive, until after it was released.
    _liveness: Option<Box<dyn Send + Sync>>,
}

impl<E: Environment> Drop for Held<E> {
    fn drop(&mut self) {
        if self.place.process() == self.process {
            // Nobody is left who could be told; `gc` finds what stays behind.
            let _refused = calls::release(&self.place, self.name.address);
        }
    }
}

/// A claimed range. Clones name the same claim; the last one releases it, destroying what lives in it.
pub struct Claim<E: Environment>(Arc<Held<E>>);

impl<E: Environment> Clone for Claim<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E: Environment> Claim<E> {
    /// Claims `size` bytes at `address`. `liveness` is kept as long as the claim.
    ///
    /// The first page stays out of the allocator: it names the claim, and tells what its owner
    /// wants others to know.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn take(
        place: E,
        address: u64,
        size: u64,
        liveness: Option<Box<dyn Send + Sync>>,
    ) -> Result<Self, Refusal> {
        let key = calls::claim(&place, address, size)?;
        let process = place.process();
        Ok(Self(Arc::new(Held {
            place,
            name: Name { address, key },
            size,
            process,
            pages: Mutex::new(PageAllocator::new(1, (size / PAGE_SIZE).saturating_sub(1))),
            operation: Mutex::new(()),
            _liveness: liveness,
        })))
    }

    /// Address of the first byte.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.name.address
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// The address and key that command the claim.
    #[must_use]
    pub fn name(&self) -> Name {
        self.0.name
    }

    /// The place where the claim's calls are made.
    #[must_use]
    pub fn environment(&self) -> &E {
        &self.0.place
    }

    /// Whether this process made the claim (and is not a forked copy of the one that did).
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.0.place.process() == self.0.process
    }

    /// Bytes that are free.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.0.pages.lock().available() * PAGE_SIZE
    }

    /// Takes enough pages for `size` bytes, aligned to a page.
    ///
    /// # Errors
    /// [`Failure::NoRoom`].
    pub fn pages(&self, size: u64) -> Result<Pages<E>, Failure> {
        self.aligned_pages(size, PAGE_SIZE)
    }

    /// Takes enough pages for `size` bytes, at a distance from the claim's beginning that is a
    /// multiple of `alignment` bytes.
    ///
    /// # Errors
    /// [`Failure::NoRoom`].
    pub fn aligned_pages(&self, size: u64, alignment: u64) -> Result<Pages<E>, Failure> {
        let wanted = size.div_ceil(PAGE_SIZE);
        let mut allocator = self.0.pages.lock();
        let first = allocator
            .allocate(wanted, alignment.div_ceil(PAGE_SIZE))
            .ok_or(Failure::NoRoom {
                wanted,
                free: allocator.available(),
            })?;
        let address = self.address() + first * PAGE_SIZE;
        Ok(Pages {
            claim: self.clone(),
            address,
            size: wanted * PAGE_SIZE,
        })
    }

    /// Makes a call while no other thread of this process has one unfinished on this claim.
    pub(crate) fn exclusively<T>(&self, call: impl FnOnce(&E) -> T) -> T {
        let _one_at_a_time = self.0.operation.lock();
        call(&self.0.place)
    }

    /// Carves `from` (in this claim) to nobody: it can then be granted, or shared with several.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn carve_for_nobody(
        &self,
        from: u64,
        size: u64,
        attributes: Attributes,
    ) -> Result<RegionName, Refusal> {
        let attributes = attributes | Attributes::NOBODY;
        let what = Placement {
            from,
            size,
            place: 0,
            attributes,
        };
        self.exclusively(|place| calls::carve(place, self.name(), what))
    }

    /// Offers a region that belongs to nobody to the domain with the control page `target`; before that
    /// domain is sealed, and in the same claim, it gets the region at once.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn grant(&self, region: RegionName, target: u64, at: u64) -> Result<RegionName, Refusal> {
        self.exclusively(|place| calls::grant(place, self.name(), region, target, at))
    }

    /// Closes a region: nothing can be derived from it any more.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn close(&self, region: RegionName) -> Result<(), Refusal> {
        self.exclusively(|place| calls::close(place, self.name(), region))
    }

    /// Takes back a region and all that was derived from it; withdraws an offer.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn revoke(&self, region: RegionName) -> Result<(), Refusal> {
        self.exclusively(|place| calls::revoke(place, self.name(), region))
    }

    /// Finishes a call on this claim that somebody began and left unfinished.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn finish(&self) -> Result<(), Refusal> {
        calls::finish(self.environment(), self.name())
    }
}

/// A run of pages of a claim; dropping it gives them back to the claim.
///
/// Reading and writing panic outside the run, as indexing a slice does. While a domain holds the
/// pages exclusively an access raises the fault that any access to its memory raises.
pub struct Pages<E: Environment> {
    claim: Claim<E>,
    address: u64,
    size: u64,
}

impl<E: Environment> Drop for Pages<E> {
    fn drop(&mut self) {
        let first = (self.address - self.claim.address()) / PAGE_SIZE;
        self.claim.0.pages.lock().free(first, self.size / PAGE_SIZE);
    }
}

impl<E: Environment> Pages<E> {
    /// Virtual address of the first byte, in the claim's owner.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The claim that they belong to.
    #[must_use]
    pub fn claim(&self) -> &Claim<E> {
        &self.claim
    }

    fn within(&self, offset: u64, length: u64) -> u64 {
        let end = offset.checked_add(length);
        assert!(
            end.is_some_and(|end| end <= self.size),
            "access outside the pages"
        );
        self.address + offset
    }

    /// Copies `bytes` to `offset`.
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let address = self.within(offset, bytes.len() as u64);
        self.claim.environment().write(address, bytes);
    }

    /// Copies from `offset` to `bytes`.
    pub fn read(&self, offset: u64, bytes: &mut [u8]) {
        let address = self.within(offset, bytes.len() as u64);
        self.claim.environment().read(address, bytes);
    }

    /// Sets all to zero.
    pub fn zero(&self) {
        self.claim.environment().zero(self.address, self.size);
    }

    /// Loads the aligned word at `offset`.
    #[must_use]
    pub fn load(&self, offset: u64) -> u64 {
        self.claim.environment().load(self.within(offset, 8))
    }

    /// Stores the aligned word at `offset`.
    pub fn store(&self, offset: u64, word: u64) {
        self.claim.environment().store(self.within(offset, 8), word);
    }

    /// Never gives the pages back to the allocator: a domain may still hold them.
    pub(crate) fn leak(self) {
        core::mem::forget(self);
    }
}
