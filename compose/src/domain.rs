//! A domain, from its owner's side: what it gets before seal, and its end.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use adyton_abi::PAGE_SIZE;
use adyton_abi::error::Error;
use adyton_abi::policy::Policy;
use adyton_abi::region::{Attributes, RegionName};
use spin::Mutex;

use crate::calls::{self, Acceptance, Entry, Name, Placement};
use crate::claim::{Claim, Failure, Pages};
use crate::devices::{self, Assignment};
use crate::environment::{Environment, Refusal};
use crate::evidence::{Asked, evidence};
use crate::vcpu::Vcpu;
use crate::whole;

/// What the owner's handles of one domain have in common.
pub(crate) struct Held<E: Environment> {
    pub(crate) claim: Claim<E>,
    pub(crate) name: Name,
    id: u64,
    gone: AtomicBool,
    /// Control page, exit pages, and what was carved or shared out of this domain's pages.
    pages: Mutex<Vec<Pages<E>>>,
}

impl<E: Environment> Held<E> {
    fn destroy(&self) -> Result<(), Refusal> {
        if self.gone.load(Ordering::Acquire) {
            return Ok(());
        }
        let outcome = self
            .claim
            .exclusively(|place| calls::destroy(place, self.name));
        let gone = match &outcome {
            Ok(()) => true,
            Err(refusal) => refusal.is(Error::Dead) || refusal.is(Error::NotFound),
        };
        self.gone.store(gone, Ordering::Release);
        if gone { Ok(()) } else { outcome }
    }
}

impl<E: Environment> Drop for Held<E> {
    fn drop(&mut self) {
        if !self.gone.load(Ordering::Acquire) {
            self.pages.get_mut().drain(..).for_each(Pages::leak);
        }
    }
}

/// A domain that this claim's owner composes and commands; dropping it destroys the domain, unless in the
/// copy of the process that `fork` made.
pub struct Domain<E: Environment>(Arc<Held<E>>);

impl<E: Environment> Drop for Domain<E> {
    fn drop(&mut self) {
        if self.0.claim.is_own() {
            // A refusal leaves the pages in use; the claim's release takes them back.
            let _refused = self.0.destroy();
        }
    }
}

impl<E: Environment> Domain<E> {
    /// Creates a domain with `quota` pages of monitor memory out of the claim's account.
    ///
    /// # Errors
    /// No room for the control page, or what the monitor refuses.
    pub fn create(claim: &Claim<E>, policy: Policy, quota: u64) -> Result<Self, Failure> {
        let control = claim.pages(PAGE_SIZE)?;
        let name = Name {
            address: control.address(),
            key: claim.name().key,
        };
        let id = claim.exclusively(|place| calls::create(place, name, policy, quota))?;
        Ok(Self(Arc::new(Held {
            claim: claim.clone(),
            name,
            id,
            gone: AtomicBool::new(false),
            pages: Mutex::new(Vec::from([control])),
        })))
    }

    /// The monitor's id of the domain, as listings show it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The control page and key that command the domain.
    #[must_use]
    pub fn name(&self) -> Name {
        self.0.name
    }

    /// The claim that the domain lives in.
    #[must_use]
    pub fn claim(&self) -> &Claim<E> {
        &self.0.claim
    }

    /// Keeps `pages` out of the claim's allocator until the domain is gone.
    pub fn keep(&self, pages: Pages<E>) {
        self.0.pages.lock().push(pages);
    }

    /// What keeps the domain's pages out of the allocator.
    pub(crate) fn owner(&self) -> Arc<Held<E>> {
        Arc::clone(&self.0)
    }

    fn call<T>(&self, call: impl FnOnce(&E, Name) -> Result<T, Refusal>) -> Result<T, Refusal> {
        self.0.claim.exclusively(|place| call(place, self.0.name))
    }

    /// Adds a vCPU.
    ///
    /// # Errors
    /// No room for the exit page, or what the monitor refuses.
    pub fn add_vcpu(&self, entry: Entry) -> Result<Vcpu<E>, Failure> {
        let exit_page = self.0.claim.pages(PAGE_SIZE)?;
        let address = exit_page.address();
        let index = self.call(|place, name| calls::vcpu(place, name, address, entry))?;
        self.keep(exit_page);
        Ok(Vcpu::new(Arc::clone(&self.0), index, address))
    }

    /// Gives the domain memory that nobody else, its owner included, can reach meanwhile.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn carve(&self, what: Placement) -> Result<RegionName, Refusal> {
        self.call(|place, name| calls::carve(place, name, what))
    }

    /// Gives the domain memory that its owner keeps.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn share(&self, what: Placement) -> Result<RegionName, Refusal> {
        self.call(|place, name| calls::share(place, name, what))
    }

    /// Shares a part of a region that belongs to nobody with the domain.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn derive(&self, source: RegionName, what: Placement) -> Result<RegionName, Refusal> {
        self.call(|place, name| calls::derive(place, name, source, what))
    }

    /// Lets the domain be entered on the cores `first .. first + count`.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn cores(&self, first: u64, count: u64) -> Result<RegionName, Refusal> {
        self.call(|place, name| calls::cores(place, name, first, count))
    }

    /// Gives the domain a PCI function, whose registers appear at guest-physical `what.place`: the region, and how many bytes they take.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn assign(&self, what: Assignment) -> Result<(RegionName, u64), Refusal> {
        self.call(|place, name| devices::assign(place, name, what))
    }

    /// Gives the domain a core that domain 0 has taken offline: the core itself, with all its threads, and nobody else runs there.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn carve_core(&self, core: u64) -> Result<RegionName, Refusal> {
        self.call(|place, name| whole::carve(place, name, core))
    }

    /// Accepts an offer for the domain, before it is sealed.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn accept(&self, offer: RegionName, expected: Acceptance) -> Result<(), Refusal> {
        self.call(|place, name| calls::accept(place, Some(name), offer, expected))
    }

    /// Freezes the initial state and has it measured.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn seal(&self) -> Result<(), Refusal> {
        self.call(calls::seal)
    }

    /// Evidence about the domain, for whoever sent `nonce` (8 to 64 bytes). It says that the owner fetched it, and the domain binds
    /// nothing to it: for that the domain asks itself.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn evidence(&self, nonce: &[u8]) -> Result<Vec<u8>, Refusal> {
        let asked = Asked {
            nonce,
            ..Asked::default()
        };
        evidence(self.0.claim.environment(), Some(self.0.name), &asked)
    }

    /// Ends an unfinished entry whose caller is gone, or stops the vCPU where it was started on a whole core; returns the number of the vCPU's last exit.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn abandon(&self, vcpu: u64) -> Result<u64, Refusal> {
        calls::abandon(self.0.claim.environment(), self.0.name, vcpu)
    }

    /// Reads seven words of a `debug` domain's memory.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn debug_read(&self, address: u64) -> Result<[u64; 7], Refusal> {
        calls::debug_read(self.0.claim.environment(), self.0.name, address)
    }

    /// Ends the domain on every core and takes back all it held.
    ///
    /// # Errors
    /// What the monitor refuses; the domain then is as it was.
    pub fn destroy(&self) -> Result<(), Refusal> {
        self.0.destroy()
    }
}

/// Rights of memory that a domain computes with.
pub const READ_WRITE: Attributes = Attributes::READ.union(Attributes::WRITE);
/// Rights of memory that holds a domain's code as well.
pub const ALL_RIGHTS: Attributes = READ_WRITE.union(Attributes::EXECUTE);
