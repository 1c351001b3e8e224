//! The domain, as its own payload sees it.

use alloc::vec::Vec;

use adyton_abi::call::Information;
use adyton_abi::report::{self, Report};
use adyton_abi::start::{Range, StartPage};
use adyton_compose::calls;
use adyton_compose::claim::Claim;
use adyton_compose::convention::{OFFER_WINDOW, SIGNATURE_WINDOW};
use adyton_compose::environment::Refusal;
use adyton_compose::evidence::{self, Asked};
use adyton_compose::ring::Window;

use crate::call::Inside;
use crate::device::Device;
use crate::start;

/// The running domain, on one of its vCPUs.
#[derive(Debug)]
pub struct Domain {
    page: &'static StartPage,
    vcpu: u64,
}

impl Domain {
    pub(crate) fn new(page: &'static StartPage, vcpu: u64) -> Self {
        Self { page, vcpu }
    }

    /// Index of the vCPU that runs this.
    #[must_use]
    pub fn vcpu(&self) -> u64 {
        self.vcpu
    }

    /// vCPUs of the domain.
    #[must_use]
    pub fn vcpus(&self) -> u64 {
        self.page.vcpus
    }

    /// The arguments, as bytes: whoever built the domain chose them, and they are measured.
    pub fn arguments(&self) -> impl Iterator<Item = &'static [u8]> + use<> {
        let Range { base, size } = self.page.arguments;
        let bytes = if size == 0 {
            &[][..]
        } else {
            // SAFETY: the loader placed the arguments in measured memory that is private to this domain
            // and mapped read-only.
            unsafe { core::slice::from_raw_parts(base as *const u8, size as usize) }
        };
        bytes
            .split_inclusive(|&byte| byte == 0)
            .map(|word| word.strip_suffix(&[0]).unwrap_or(word))
    }

    /// The arguments that are valid UTF-8.
    pub fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.arguments()
            .filter_map(|word| core::str::from_utf8(word).ok())
    }

    /// The number that the argument `index` spells, in decimal.
    #[must_use]
    pub fn number(&self, index: usize) -> Option<u64> {
        self.words().nth(index)?.parse().ok()
    }

    /// Shared window `index`, if the owner gave it.
    #[must_use]
    pub fn window(&self, index: usize) -> Option<Window<Inside>> {
        let range = self
            .page
            .windows
            .get(index)
            .filter(|range| range.size != 0)?;
        Some(Window::new(Inside, range.base, range.size, None))
    }

    /// Address of the page that begins with the signature that the owner passed on, to be shown in [`Call::Key`](crate::abi::call::Call::Key).
    /// It may be by anybody, and the first that is shown stays: who expects a certain signer compares bytes 64 to 95 of a copy of
    /// its own, and shows that.
    #[must_use]
    pub fn signature(&self) -> Option<u64> {
        Some(self.window(SIGNATURE_WINDOW)?.address())
    }

    /// The PCI function that the owner gave, if the domain has addresses for one.
    #[must_use]
    pub fn device(&self) -> Option<Device> {
        let range = self.page.windows.get(OFFER_WINDOW).copied()?;
        (range.size != 0).then(|| Device::new(range))
    }

    /// The domain's own pool; size 0 if it has none.
    #[must_use]
    pub fn pool(&self) -> Range {
        self.page.pool
    }

    /// Pages of monitor memory that the domain was given.
    #[must_use]
    pub fn quota(&self) -> u64 {
        self.page.quota
    }

    /// Claims all of the domain's own pool, to build children in it.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn claim_pool(&self) -> Result<Claim<Inside>, Refusal> {
        let Range { base, size } = self.page.pool;
        self.claim(base, size)
    }

    /// Claims `size` bytes of the domain's own pool.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn claim(&self, address: u64, size: u64) -> Result<Claim<Inside>, Refusal> {
        Claim::take(Inside, address, size, None)
    }

    /// A fact about the monitor.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn information(&self, topic: Information) -> Result<[u64; 8], Refusal> {
        calls::information(&Inside, topic, 0)
    }

    /// Evidence about this domain, as it goes to a relying party. It takes up to 256 KiB of heap, more where the closure is large, and the policy
    /// flag `MAY_ATTEST`.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn evidence(&self, asked: &Asked<'_>) -> Result<Vec<u8>, Refusal> {
        evidence::evidence(&Inside, None, asked)
    }

    /// A report about this domain for another one on this machine, with 64 bytes of its own. With the policy flag `MAY_ATTEST`.
    ///
    /// # Errors
    /// What the monitor refuses.
    pub fn report(&self, data: &[u8; report::DATA]) -> Result<Report, Refusal> {
        evidence::report(&Inside, data)
    }

    /// Has the monitor check another domain's report: how often that domain has accepted memory until now. Whether it is the *right* domain is for
    /// the caller to say, by the measurement and by the data.
    ///
    /// # Errors
    /// `Forged`; `Dead` where the domain is no more.
    pub fn check(&self, report: &Report) -> Result<u64, Refusal> {
        evidence::check(&Inside, report)
    }

    /// Ends the payload.
    pub fn exit(&self, status: u64) -> ! {
        start::finish(status)
    }
}
