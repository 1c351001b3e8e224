//! The EPCM: what the processor knows of each EPC page (SDM, section 35.20), and who works on it at the moment.
//!
//! An entry is words that change atomically; nobody waits for anybody. Who changes more than a flag of a page claims it first
//! ([`EpcmEntry::claim`], [`EpcmEntry::share`]) for the length of one slice, and whoever comes meanwhile gets the conflict that the SDM
//! documents. Parts of an entry are claimed apart ([`Part`]), as the SDM's second concurrency tables say.
//!
//! What must hold: a page that is not valid belongs to nobody and its bytes are reachable by nobody; a valid child names
//! a valid SECS, which counts it.

mod audit;

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::fault::Access;
use crate::structures::secinfo_flags;
use crate::tracking::Tracking;

pub use audit::{Census, Violation, audit};

/// An EPC page by its number, dense over all sections from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EpcPage(pub u32);

/// What a page is for (SDM, chapter 35). Shadow-stack pages do not exist without CET.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the SDM's names, without their PT_")]
pub enum PageType {
    Secs = 0,
    Tcs = 1,
    Reg = 2,
    Va = 3,
    Trim = 4,
}

impl PageType {
    /// The type that a number names.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Secs,
            1 => Self::Tcs,
            2 => Self::Reg,
            3 => Self::Va,
            4 => Self::Trim,
            _ => return None,
        })
    }

    /// Whether a page of this type belongs to an enclave, whose SECS counts it.
    #[must_use]
    pub const fn is_child(self) -> bool {
        matches!(self, Self::Tcs | Self::Reg | Self::Trim)
    }
}

/// Everything the EPCM says of a page but its address, read or written at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Whether the page is in use.
    pub valid: bool,
    /// Reading is allowed.
    pub read: bool,
    /// Writing is allowed.
    pub write: bool,
    /// Executing is allowed.
    pub execute: bool,
    /// Added by EAUG and not accepted yet.
    pub pending: bool,
    /// Changed by EMODT and not accepted yet.
    pub modified: bool,
    /// Restricted by EMODPR and not accepted yet.
    pub restricted: bool,
    /// No new translations.
    pub blocked: bool,
    /// What it is for.
    pub kind: PageType,
    /// Its SECS, if [`PageType::is_child`].
    pub secs: EpcPage,
}

impl Attributes {
    /// Of a page that nobody uses.
    pub const FREE: Self = Self {
        valid: false,
        read: false,
        write: false,
        execute: false,
        pending: false,
        modified: false,
        restricted: false,
        blocked: false,
        kind: PageType::Secs,
        secs: EpcPage(0),
    };

    /// Of a valid page without rights and flags.
    #[must_use]
    pub const fn of(kind: PageType, secs: EpcPage) -> Self {
        Self {
            valid: true,
            kind,
            secs,
            ..Self::FREE
        }
    }

    /// Whether it is valid and of this type.
    #[must_use]
    pub fn is(&self, kind: PageType) -> bool {
        self.valid && self.kind == kind
    }

    /// As SECINFO.FLAGS tells of them.
    #[must_use]
    pub fn secinfo_flags(self) -> u64 {
        self.word() & secinfo_flags::KNOWN
    }

    /// Takes rights and states, not the type, from SECINFO.FLAGS.
    pub fn set_rights_and_states(&mut self, flags: u64) {
        *self = Self::from_word(self.word() & !RIGHTS_AND_STATES | flags & RIGHTS_AND_STATES);
    }

    /// Every flag and its bit.
    fn flags(&mut self) -> [(&mut bool, u64); 8] {
        [
            (&mut self.read, READ),
            (&mut self.write, WRITE),
            (&mut self.execute, EXECUTE),
            (&mut self.pending, PENDING),
            (&mut self.modified, MODIFIED),
            (&mut self.restricted, RESTRICTED),
            (&mut self.blocked, BLOCKED),
            (&mut self.valid, VALID),
        ]
    }

    fn word(mut self) -> u64 {
        let rest = u64::from(self.kind as u8) << KIND_SHIFT | u64::from(self.secs.0) << SECS_SHIFT;
        let set = self.flags().into_iter().filter(|(is_set, _)| **is_set);
        set.fold(rest, |word, (_, bit)| word | bit)
    }

    fn from_word(word: u64) -> Self {
        let kind = PageType::from_number((word >> KIND_SHIFT) as u8).unwrap_or(PageType::Trim);
        let mut attributes = Self::of(kind, EpcPage((word >> SECS_SHIFT) as u32));
        for (flag, bit) in attributes.flags() {
            *flag = word & bit != 0;
        }
        attributes
    }
}

// The low bits of the word are those of SECINFO.FLAGS, and two more.
const READ: u64 = secinfo_flags::R;
const WRITE: u64 = secinfo_flags::W;
const EXECUTE: u64 = secinfo_flags::X;
const PENDING: u64 = secinfo_flags::PENDING;
const MODIFIED: u64 = secinfo_flags::MODIFIED;
const RESTRICTED: u64 = secinfo_flags::PR;
const BLOCKED: u64 = 1 << 6;
const VALID: u64 = 1 << 7;
const RIGHTS_AND_STATES: u64 = READ | WRITE | EXECUTE | PENDING | MODIFIED | RESTRICTED;
const KIND: u64 = 0xFF << KIND_SHIFT;
const KIND_SHIFT: u32 = secinfo_flags::TYPE_SHIFT;
const SECS_SHIFT: u32 = 32;
/// What makes a page unusable for threads although it is valid.
const HELD: u64 = PENDING | MODIFIED | BLOCKED;

const _: () = assert!(secinfo_flags::KNOWN == RIGHTS_AND_STATES | KIND);

/// A part of an entry that instructions claim apart from the page itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Part {
    /// EACCEPT, EACCEPTCOPY, EMODPE, EMODPR, EMODT on this page.
    Modification = 1 << 28,
    /// EADD, EEXTEND, EINIT on this SECS: MRENCLAVE and whether the enclave is initialized.
    Measurement = 1 << 29,
    /// ETRACK, ETRACKC on this SECS.
    Tracking = 1 << 30,
}

const EXCLUSIVE: u32 = 1 << 31;
const SHARES: u32 = (1 << 28) - 1;

/// The record of one page. All zero bytes mean a free page.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct EpcmEntry {
    attributes: AtomicU64,
    /// ENCLAVEADDRESS.
    address: AtomicU64,
    /// The epoch of its SECS when the page was last blocked, restricted or modified.
    epoch: AtomicU64,
    /// Of a SECS: threads inside, by epoch.
    tracking: AtomicU64,
    /// Of a SECS: how many pages belong to it.
    children: AtomicU32,
    claims: AtomicU32,
    /// Changes whenever the page may have changed between the slices of an instruction.
    stamp: AtomicU64,
    unused: [u64; 2],
}

const _: () = assert!(size_of::<EpcmEntry>() == 64);

/// A claim on a page or a part of its entry; given back when dropped.
#[derive(Debug)]
#[must_use]
pub struct Claim<'e> {
    entry: &'e EpcmEntry,
    bits: u32,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.entry.claims.fetch_sub(self.bits, Ordering::AcqRel);
    }
}

impl EpcmEntry {
    /// What is said of the page now.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        Attributes::from_word(self.attributes.load(Ordering::SeqCst))
    }

    /// ENCLAVEADDRESS: the linear address of the page in its enclave.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.address.load(Ordering::SeqCst)
    }

    /// Pages that belong to this SECS.
    #[must_use]
    pub fn children(&self) -> u32 {
        self.children.load(Ordering::SeqCst)
    }

    /// Of a SECS: its epochs and who is inside.
    #[must_use]
    pub fn tracking(&self) -> Tracking<'_> {
        Tracking::new(&self.tracking)
    }

    /// What changes whenever anything but a thread may have changed the page or its entry.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::SeqCst)
    }

    /// Claims the page for oneself; `None` while anybody else works on it.
    pub fn claim(&self) -> Option<Claim<'_>> {
        self.claims
            .compare_exchange(0, EXCLUSIVE, Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some(Claim {
            entry: self,
            bits: EXCLUSIVE,
        })
    }

    /// Claims the page together with others who share it; `None` while somebody has it for oneself.
    pub fn share(&self) -> Option<Claim<'_>> {
        self.take(1, |claims| {
            claims & EXCLUSIVE == 0 && claims & SHARES != SHARES
        })
    }

    /// Claims a part of the entry; `None` while another has that part, or the page for oneself.
    pub fn part(&self, part: Part) -> Option<Claim<'_>> {
        let bit = part as u32;
        self.take(bit, |claims| claims & (EXCLUSIVE | bit) == 0)
    }

    fn take(&self, bits: u32, free: impl Fn(u32) -> bool) -> Option<Claim<'_>> {
        self.claims
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |claims| {
                free(claims).then_some(claims + bits)
            })
            .ok()?;
        Some(Claim { entry: self, bits })
    }

    /// Whether nobody works on the page. For checks while everything is at rest.
    #[must_use]
    pub fn is_unclaimed(&self) -> bool {
        self.claims.load(Ordering::SeqCst) == 0
    }

    pub(crate) fn touch(&self) {
        self.stamp.fetch_add(1, Ordering::SeqCst);
    }

    /// Gives a free page its new role; whoever calls has claimed it.
    pub(crate) fn occupy(&self, attributes: Attributes, address: u64) {
        self.touch();
        self.address.store(address, Ordering::SeqCst);
        self.epoch.store(0, Ordering::SeqCst);
        if attributes.kind == PageType::Secs {
            self.tracking().reset();
            self.children.store(0, Ordering::SeqCst);
        }
        self.attributes.store(attributes.word(), Ordering::SeqCst);
    }

    /// Makes the page free; whoever calls has claimed it.
    pub(crate) fn vacate(&self) {
        self.touch();
        let word = Attributes::FREE.word();
        self.attributes.store(word, Ordering::SeqCst);
        self.address.store(0, Ordering::SeqCst);
    }

    /// Changes attributes at once; what they were.
    pub(crate) fn change(&self, change: impl Fn(&mut Attributes)) -> Attributes {
        self.touch();
        let changed = self
            .attributes
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
                let mut attributes = Attributes::from_word(word);
                change(&mut attributes);
                Some(attributes.word())
            });
        let (Ok(word) | Err(word)) = changed;
        Attributes::from_word(word)
    }

    /// Sets BLOCKED; whether it was set before.
    pub(crate) fn block(&self) -> bool {
        self.attributes.fetch_or(BLOCKED, Ordering::SeqCst) & BLOCKED != 0
    }

    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::SeqCst);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    pub(crate) fn count_child(&self) {
        self.children.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn discount_child(&self) {
        self.children.fetch_sub(1, Ordering::SeqCst);
    }

    /// What a thread of an enclave may do with the page at a linear address (page-aligned), by the EPCM alone; `None`: #PF with
    /// the SGX bit. An instruction on another core may change the answer and call [`forget`](crate::Machine::forget) before a translation made
    /// from it can be used: that translation lives until the thread leaves, as one that was there before does.
    #[must_use]
    pub fn access(&self, secs: EpcPage, address: u64) -> Option<Attributes> {
        let word = self.attributes.load(Ordering::SeqCst);
        (is_usable(word, PageType::Reg, secs) && self.address() == address)
            .then(|| Attributes::from_word(word))
    }

    /// Whether a thread of an enclave may access the page at a linear address so, by the EPCM: [`access`](Self::access) with fewer words.
    #[must_use]
    #[inline]
    pub fn allows(&self, secs: EpcPage, address: u64, access: Access) -> bool {
        let right = match access {
            Access::Read => READ,
            Access::Write => WRITE,
            Access::Execute => EXECUTE,
        };
        let word = self.attributes.load(Ordering::SeqCst);
        word & right != 0 && is_usable(word, PageType::Reg, secs) && self.address() == address
    }

    /// The SECS of a TCS through which a thread may enter at a linear address.
    #[inline]
    pub(crate) fn entered(&self, address: u64) -> Option<EpcPage> {
        let word = self.attributes.load(Ordering::SeqCst);
        let secs = EpcPage((word >> SECS_SHIFT) as u32);
        (is_usable(word, PageType::Tcs, secs) && self.address() == address).then_some(secs)
    }
}

/// Whether a page of this type belongs to the SECS and nothing is held back.
#[inline]
fn is_usable(word: u64, kind: PageType, secs: EpcPage) -> bool {
    let wanted = VALID | (kind as u64) << KIND_SHIFT | u64::from(secs.0) << SECS_SHIFT;
    word & (VALID | HELD | KIND | u64::MAX << SECS_SHIFT) == wanted
}

#[cfg(test)]
mod tests;
