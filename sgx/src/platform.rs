//! What all cores share: the EPCM, the secrets of the processor, and what it can do.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::epcm::{EpcPage, EpcmEntry};
use crate::report;
use crate::secrets::{Kept, Secrets};
use crate::structures::{Report, Targetinfo};

/// A component of the extended state (CPUID leaf 0DH).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateComponent {
    /// Offset in the standard format.
    pub offset: u32,
    /// Bytes, 0 if the processor does not have it.
    pub size: u32,
}

/// State components that are known by number.
pub const STATE_COMPONENTS: usize = 20;

/// What the processor offers; CPUID leaf 12H is made of it ([`Capabilities::leaf`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// ATTRIBUTES.FLAGS that an enclave may have, see [`attribute`].
    pub attributes: u64,
    /// ATTRIBUTES.XFRM that an enclave may have, includes 3.
    pub xfrm: u64,
    /// MISCSELECT that an enclave may have.
    pub miscselect: u32,
    /// Enclaves of 32 bits are smaller than 2 to this.
    pub size_32: u8,
    /// Enclaves of 64 bits are smaller than 2 to this.
    pub size_64: u8,
    /// Bits of a canonical linear address: 48, or 57.
    pub linear_bits: u8,
    /// MXCSR bits that may be set.
    pub mxcsr_mask: u32,
    /// Components by number; the first two lie in the legacy region and are not listed.
    pub components: [StateComponent; STATE_COMPONENTS],
}

/// Bits of ATTRIBUTES.FLAGS (SDM, chapter 35).
pub mod attribute {
    /// The enclave has been initialized; never set by software.
    pub const INIT: u64 = 1 << 0;
    /// A debugger may read and write the enclave.
    pub const DEBUG: u64 = 1 << 1;
    /// The enclave runs in 64-bit mode.
    pub const MODE64BIT: u64 = 1 << 2;
    /// It may have provisioning keys.
    pub const PROVISIONKEY: u64 = 1 << 4;
    /// It may have the EINITTOKEN key.
    pub const EINITTOKEN_KEY: u64 = 1 << 5;
    /// Key separation and sharing.
    pub const KSS: u64 = 1 << 7;
    /// Threads may be told of asynchronous exits.
    pub const AEXNOTIFY: u64 = 1 << 10;
    /// All that are implemented here; CET is not.
    pub const ALL: u64 = DEBUG | MODE64BIT | PROVISIONKEY | EINITTOKEN_KEY | KSS | AEXNOTIFY;
}

/// Bytes of the legacy region and the header of an XSAVE area.
const XSAVE_HEADER_END: u32 = 576;

impl Capabilities {
    /// Everything that is implemented here, on a processor with x87 and SSE state only.
    pub const BASIC: Self = Self {
        attributes: attribute::ALL,
        xfrm: 3,
        miscselect: 1,
        size_32: 31,
        size_64: 36,
        linear_bits: 48,
        mxcsr_mask: 0xFFFF,
        components: [StateComponent { offset: 0, size: 0 }; STATE_COMPONENTS],
    };

    /// Bytes of an XSAVE area with these components.
    #[must_use]
    pub fn xsave_size(&self, xfrm: u64) -> u32 {
        let ends = self.components.iter().zip(0..).skip(2);
        let chosen = ends.filter(|(_, bit)| xfrm >> bit & 1 != 0);
        chosen
            .map(|(component, _): (_, u32)| component.offset + component.size)
            .fold(XSAVE_HEADER_END, u32::max)
    }

    /// CPUID leaf 12H, subleaves 0 and 1 (EAX, EBX, ECX, EDX); the EPC sections of subleaves from 2 are the machine's.
    #[must_use]
    pub fn leaf(&self, subleaf: u32) -> [u32; 4] {
        match subleaf {
            // SGX1; SGX2; ETRACKC, ERDINFO, ELDBC and ELDUC; EDECCSSA.
            0 => {
                const LEAVES: u32 = 1 << 0 | 1 << 1 | 1 << 6 | 1 << 11;
                let sizes = u32::from(self.size_32) | u32::from(self.size_64) << 8;
                [LEAVES, self.miscselect, 0, sizes]
            }
            1 => [
                self.attributes as u32,
                (self.attributes >> 32) as u32,
                self.xfrm as u32,
                (self.xfrm >> 32) as u32,
            ],
            _ => [0; 4],
        }
    }

    /// Whether a linear address is canonical: all bits above the space are like its highest.
    #[must_use]
    #[inline]
    pub const fn is_canonical(&self, address: u64) -> bool {
        let above = u64::BITS - self.linear_bits as u32;
        ((address << above) as i64 >> above) as u64 == address
    }
}

/// Shared by all cores.
pub struct Platform<'e> {
    /// One entry for each page, by number.
    pub epcm: &'e [EpcmEntry],
    /// What the processor can do.
    pub capabilities: Capabilities,
    secrets: Kept,
    next_enclave: AtomicU64,
    next_version: AtomicU64,
}

/// Versions differ above the three bits that EDBGRD does not look at, and none is 0.
const VERSION_STEP: u64 = 8;

impl<'e> Platform<'e> {
    /// A platform at reset, with an EPC of as many pages as there are entries, all zero.
    #[must_use]
    pub fn new(epcm: &'e [EpcmEntry], secrets: Secrets, capabilities: Capabilities) -> Self {
        Self {
            epcm,
            secrets: Kept::new(secrets),
            capabilities,
            next_enclave: AtomicU64::new(1),
            next_version: AtomicU64::new(VERSION_STEP),
        }
    }

    /// The entry of a page; `None` for a number beyond the EPC.
    #[must_use]
    pub fn entry(&self, page: EpcPage) -> Option<&'e EpcmEntry> {
        self.epcm.get(usize::try_from(page.0).ok()?)
    }

    /// Whether EREPORT made this report for the target here: see [`report::is_genuine`].
    #[must_use]
    pub fn is_genuine(&self, target: &Targetinfo, report: &Report) -> bool {
        report::is_genuine(&self.secrets(), target, report)
    }

    /// Zeroes the secrets: the machine ends, and nobody executes a leaf any more.
    pub fn wipe_secrets(&self) {
        self.secrets.wipe();
    }

    pub(crate) fn secrets(&self) -> Secrets {
        self.secrets.get()
    }

    pub(crate) fn new_enclave(&self) -> u64 {
        self.next_enclave.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn new_version(&self) -> u64 {
        self.next_version.fetch_add(VERSION_STEP, Ordering::SeqCst)
    }
}
