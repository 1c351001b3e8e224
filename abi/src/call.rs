//! Call numbers and the registers of a call.
//!
//! | register | at the call | at the return |
//! | --- | --- | --- |
//! | RAX | [`Call`] number | status: 0 or an [`Error`](crate::error::Error) code |
//! | RDI, RSI, RDX, RCX, R8, R9, R10, R11 | arguments 0 to 7 | results 0 to 7 |
//! | R12 | token (calls that need one) | unchanged |
//!
//! Registers that a call does not return are unchanged, except for [`Call::Exit`].
//! Until a call is finished it changes none: an interrupt takes the caller back
//! to the calling instruction, and executing it again continues the call.
//!
//! Most calls begin with the *naming triple*: argument 0 is a virtual address
//! of the caller, which must be mapped writable and lie in a claim (the control
//! page of a domain, or any page of the claim where no domain is meant);
//! arguments 1 and 2 are the claim's key, low half first.
//!
//! The *token* makes a repetition recognisable: a caller chooses a non-zero
//! value that it has not used before in this claim (for `enter`: with this
//! vCPU). While a call is unfinished, one with another token gets `BUSY`.

/// All call numbers begin with "AD" so that no other hypervisor answers them.
pub const CALL_BASE: u64 = 0x4144_0000;

macro_rules! calls {
    ($($(#[$meta:meta])* $name:ident = $number:expr,)*) => {
        /// The number of a call, in RAX.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u64)]
        pub enum Call { $($(#[$meta])* $name = CALL_BASE + $number,)* }

        impl Call {
            /// Every call, in the order of its number.
            pub const ALL: &'static [Call] = &[$(Call::$name,)*];

            /// The call with the number `value`, if there is one.
            #[must_use]
            pub const fn from_number(value: u64) -> Option<Call> {
                $(if value == CALL_BASE + $number { return Some(Call::$name); })*
                None
            }
        }
    };
}

calls! {
    /// `information(topic)`: facts about the monitor, see [`Information`]. Anybody.
    Information = 0,
    /// `claim(address, size; token)` → key low, key high. Takes a free range of the
    /// caller's pool, page by page mapped writable and contiguous in
    /// guest-physical memory. Bytes; page-aligned (2 MiB in domain 0).
    Claim = 1,
    /// `release(address; token)`: destroys everything in the claim that holds the
    /// address, scrubs, and frees the range. The mapping suffices.
    Release = 2,
    /// `create(control, key, policy flags, exceptions, quota)` → domain id. The page
    /// at `control` becomes the control page of a new domain. `flags`:
    /// [`policy::Flags`](crate::policy::Flags); `exceptions`: bit n set sends
    /// exception n to the parent; `quota`: pages of monitor memory.
    Create = 3,
    /// `vcpu(control, key, exit page, rip, rsp, cr3, argument)` → vCPU index. Adds a
    /// vCPU before seal. The exit page is a page of the same claim; the domain
    /// starts at `rip` with `argument` in RDI.
    Vcpu = 4,
    /// `carve(control, key, address, size, place, rights and attributes; token)`
    /// → region. Derives an exclusive region for the domain, at guest-physical
    /// `place`; with [`Attributes::NOBODY`](crate::region::Attributes) for nobody.
    Carve = 5,
    /// `share(control, key, address, size, place, rights and attributes; token)`
    /// → region. As `carve`, aliased: the caller keeps its access.
    Share = 6,
    /// `derive(control, key, region, offset, size, place, rights and attributes;
    /// token)` → region. Shares part of a region that belongs to nobody.
    Derive = 7,
    /// `grant(claim, key, region, target control, place; token)` → region (the
    /// offer's name). Moves a region that belongs to nobody; to a domain that
    /// is sealed or of another claim it is an offer, which awaits `accept`.
    Grant = 8,
    /// `accept(control or 0, key or 0, offer, place, size, rights and attributes;
    /// token)`: by the domain itself (argument 0 is 0) or, before seal, by the
    /// holder of its key. All must be what the offer says.
    Accept = 9,
    /// `close(claim, key, region)`: nothing can be derived from it any more.
    Close = 10,
    /// `revoke(claim, key, region; token)`: takes back the region and all that was
    /// derived from it.
    Revoke = 11,
    /// `seal(control, key; token)`: freezes the initial state and measures it.
    Seal = 12,
    /// `destroy(control, key; token)`: ends the domain, takes back all it held.
    Destroy = 13,
    /// `enter(control, key, vCPU, sequence, limit; token)` → exit kind, sequence,
    /// operands 0 to 5. Runs the vCPU on this core until it exits. `sequence`:
    /// of the exit that this entry answers, 0 for the first; `limit`: running
    /// time in TSC ticks, 0 for none.
    Enter = 14,
    /// `abandon(control, key, vCPU)` → sequence: ends an entry whose caller is gone;
    /// with vCPU = 2^64-1 finishes the claim's interrupted operation instead.
    Abandon = 15,
    /// `exit(w0 … w5)` → w0 … w5 of the reply. A domain gives control to the caller
    /// of `enter`; the next `enter` returns from here.
    Exit = 16,
    /// `enumerate(address, topic, subject, cursor)` → next cursor (0: no more),
    /// then the record, see [`record`](crate::record). Shows only what lies in claims whose
    /// first page the caller has mapped at the same distance from `address`.
    Enumerate = 17,
    /// `random()` → four words from the monitor's generator. Anybody.
    Random = 18,
    /// `debug_read(control, key, guest-physical address)` → seven words of a `debug`
    /// domain's memory.
    DebugRead = 19,
    /// `cores(control, key, first, count)` → region. Derives the right to be entered
    /// on the cores `first .. first + count` (numbered as the monitor numbers
    /// them) for the domain, out of the caller's own. A count of 0: all of the caller's first range.
    Cores = 20,
    /// `quote(page; token)`: the TPM's statement about this boot, with the nonce in the
    /// page, which it also comes back in: [`QuotePage`](crate::quote::QuotePage). `page` is
    /// page-aligned pool that the caller may write. With policy flag `MAY_ATTEST`.
    Quote = 21,
    /// `event_log(page, offset)` → size of the log, bytes copied. Copies what of the boot's
    /// event log begins at `offset`, a page at most. `page` as for `quote`.
    EventLog = 22,
    /// `evidence(control or 0, key or 0, address, size; token)` → offset, bytes. Writes evidence
    /// about the calling domain (argument 0 is 0), or about one that the caller commands, into
    /// `size` bytes at `address`, both page-aligned; it begins at the offset. The first page says
    /// what is asked: [`Question`](crate::evidence::Question). With policy flag `MAY_ATTEST`.
    Evidence = 23,
    /// `report(page)`: what the calling domain is, for a domain on the same machine: completes the
    /// [`Report`](crate::report::Report) in the page, whose data the caller has written. With policy flag `MAY_ATTEST`.
    Report = 24,
    /// `check(page)` → epoch now. Whether the [`Report`](crate::report::Report) in the page is this monitor's, and its domain
    /// still lives. Anybody.
    Check = 25,
    /// `key(binding, version, signature, label × 4)` → the key, four words. Derives a sealing key of
    /// the calling domain, the same at every boot: [`Binding`](crate::key::Binding). `signature`:
    /// page-aligned, the domain's signature as `docs/attestation.md` defines it, or 0 where one was taken before. Any domain but domain 0.
    Key = 26,
    /// `counter(control or 0, key or 0, operation, selector; token)` → by operation:
    /// [`Operation`](crate::counter::Operation). A domain's monotonic counter, which survives reboots.
    Counter = 27,
    /// `enrol(page, step, offset; token)`: shows who made the TPM, and answers a challenge that only
    /// the TPM of the attestation key can answer: [`EnrolmentPage`](crate::enrolment::EnrolmentPage).
    /// Domain 0. `page` is page-aligned and the caller's to write.
    Enrol = 28,
    /// `carve_core(control, key, core; token)` → region. Gives the domain, before seal, a core (numbered as for `cores`) that domain 0 has
    /// taken offline, with all its threads, exclusively.
    CarveCore = 29,
    /// `start(control, key, vCPU, region, sequence, notice, thread; token)`: begins the vCPU on a core that the domain has as a whole, where it runs
    /// until it exits: its exit page says when. `sequence` as for `enter`; `notice`: the vector that interrupts this core then, 0 for none;
    /// `thread`: which of the core's, from 0 on.
    Start = 30,
    /// `enclave_evidence(address, size; token)` → offset, bytes. Turns an SGX enclave's REPORT into evidence: as `evidence`, but the
    /// first page holds a [`Question`](crate::enclave::Question). Whoever has the REPORT. With policy flag `MAY_ATTEST`.
    EnclaveEvidence = 31,
    /// `assign(control, key, function, address, place, rights and attributes; token)` → region, bytes. Gives a PCI
    /// function exclusively to the domain, its registers at guest-physical `place`. `address`: where the caller has mapped its
    /// first base address, as a whole or the first 4 MiB of it; `function`: bus << 8 | device << 3 | function, of domain 0's callers.
    Assign = 34,
    /// `configure(address, offset, width, write, value)` → value. Reads (`write` 0) or writes (1) `width` bytes of the
    /// configuration space of the PCI function whose registers the caller has at `address`.
    Configure = 35,
}

/// Topics of [`Call::Information`], argument 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Information {
    /// Interface version, monitor version (major << 32 | minor << 16 | patch), build id.
    Version = 0,
    /// Cores in all, number of the core that answers, TSC ticks a second (0: not known).
    Cores = 1,
    /// Pool of the caller: bytes, of them claimed, regions.
    Pool = 2,
    /// The caller's account in pages of monitor memory: limit, used, passed on.
    Quota = 3,
    /// [`Protection`] bits that hold.
    Protection = 4,
    /// Log ring: guest-physical address and size, mapped read-only for domain 0 (0: none).
    Log = 5,
    /// Counters of this machine, argument 1 says which: see `docs/calls.md`.
    Counter = 6,
    /// What a monitor under test does, argument 1 says what; `Invalid` in every other:
    /// see `docs/calls.md`.
    Selfcheck = 7,
    /// Devices: IOMMUs, flushes of theirs so far; to domain 0 also: accesses that they have blocked and logged, and of the last one the
    /// device (bus << 8 | device << 3 | function) and the address; times that a log ran over.
    Devices = 8,
    /// Enclaves, for domain 0. Argument 1: an EPC page to begin with, from 0. Results: the page to go on with, 0 at the end; the number of an
    /// enclave that was found on the way, 0 for none; bytes of its address space, pages that it has, threads inside, ATTRIBUTES. With bit
    /// 63 the page is that of an enclave found before (one less than where to go on): its MRENCLAVE in 4 words, once it is initialized.
    Enclaves = 12,
    /// A PCI function, argument 1: for domain 0 its number (bus << 8 | device << 3 | function), for others the
    /// guest-physical address of its registers. Results: vendor | device << 16 | class << 32; who has it (0 domain 0, 1 nobody, 2 the
    /// caller, 3 another domain); bytes of its registers; in 3 words two by two 32 bits, where each base address begins in them (in
    /// pages plus one, 0 for none); in domain 0 the id of the domain that has it.
    Device = 14,
}

impl Information {
    /// The topic with the number `value`.
    #[must_use]
    pub const fn from_number(value: u64) -> Option<Self> {
        Some(match value {
            0 => Self::Version,
            1 => Self::Cores,
            2 => Self::Pool,
            3 => Self::Quota,
            4 => Self::Protection,
            5 => Self::Log,
            6 => Self::Counter,
            7 => Self::Selfcheck,
            8 => Self::Devices,
            12 => Self::Enclaves,
            14 => Self::Device,
            _ => return None,
        })
    }
}

/// Bits of [`Information::Protection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Protection {
    /// An IOMMU keeps devices out of confidential memory.
    DeviceDma = 1,
    /// The boot was measured into a TPM.
    MeasuredBoot = 2,
}

/// [`Call::Abandon`]'s vCPU argument that means the claim's operation.
pub const CLAIM_OPERATION: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_are_found_again() {
        for pair in Call::ALL.windows(2) {
            assert!((pair[0] as u64) < pair[1] as u64);
        }
        for call in Call::ALL {
            assert_eq!(Call::from_number(*call as u64), Some(*call));
        }
        assert_eq!(Call::from_number(CALL_BASE + 0xffff), None);
        assert_eq!(Call::from_number(1), None);
    }
}
