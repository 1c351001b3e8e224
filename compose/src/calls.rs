//! The calls, typed. One function for each; see `docs/calls.md` for what they mean.
//!
//! Calls that may take long carry a token and are repeated while another call on the same
//! claim is unfinished.

use adyton_abi::call::{CLAIM_OPERATION, Call, Information};
use adyton_abi::counter::Operation;
use adyton_abi::enrolment::Step;
use adyton_abi::error::Error;
use adyton_abi::key::Binding;
use adyton_abi::policy::Policy;
use adyton_abi::region::{Attributes, RegionName};

use crate::environment::{Environment, Refusal, Request};

/// How often a call that finds its claim busy is tried again.
const PATIENCE: u32 = 20_000;

/// The 128-bit key of a claim, low half first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(pub [u64; 2]);

impl core::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Key(hidden)")
    }
}

/// An address in a claim and the claim's key: the beginning of most calls.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// Virtual address of a control page, or of any page of the claim where no domain is meant.
    pub address: u64,
    /// Key of the claim.
    pub key: Key,
}

impl Name {
    /// The caller's own domain, where a call may be about that.
    const NONE: Self = Self {
        address: 0,
        key: Key([0, 0]),
    };

    pub(crate) fn arguments(self, rest: [u64; 5]) -> [u64; 8] {
        let [low, high] = self.key.0;
        let [a, b, c, d, e] = rest;
        [self.address, low, high, a, b, c, d, e]
    }
}

/// Executes `request` once.
///
/// # Errors
/// What the monitor refuses.
pub fn once(place: &impl Environment, request: Request) -> Result<[u64; 8], Refusal> {
    request.outcome(place.call(&request))
}

/// Executes `request` with a new token, again while the claim is busy with another's call.
pub(crate) fn patiently(place: &impl Environment, request: Request) -> Result<[u64; 8], Refusal> {
    let request = request.with_token(place.entropy());
    let mut tries = 0;
    loop {
        match once(place, request) {
            Err(refusal) if waits(&refusal) && tries < PATIENCE => place.pause(),
            outcome => return outcome,
        }
        tries += 1;
    }
}

fn waits(refusal: &Refusal) -> bool {
    refusal.is(Error::Busy) || refusal.is(Error::Interrupted)
}

/// Facts about the monitor; `detail` is 0 except for counters.
///
/// # Errors
/// What the monitor refuses.
pub fn information(
    place: &impl Environment,
    topic: Information,
    detail: u64,
) -> Result<[u64; 8], Refusal> {
    once(
        place,
        Request::new(Call::Information, [topic as u64, detail]),
    )
}

/// Claims `size` bytes at `address`.
///
/// # Errors
/// What the monitor refuses.
pub fn claim(place: &impl Environment, address: u64, size: u64) -> Result<Key, Refusal> {
    let results = patiently(place, Request::new(Call::Claim, [address, size]))?;
    Ok(Key([results[0], results[1]]))
}

/// Releases the claim that holds `address`.
///
/// # Errors
/// What the monitor refuses.
pub fn release(place: &impl Environment, address: u64) -> Result<(), Refusal> {
    patiently(place, Request::new(Call::Release, [address])).map(drop)
}

/// Makes the page that `name` gives the control page of a new domain, and returns its id.
///
/// # Errors
/// What the monitor refuses.
pub fn create(
    place: &impl Environment,
    name: Name,
    policy: Policy,
    quota: u64,
) -> Result<u64, Refusal> {
    let rest = [policy.flags.word(), policy.exceptions.into(), quota, 0, 0];
    let request = Request::new(Call::Create, name.arguments(rest));
    patiently(place, request).map(|results| results[0])
}

/// The state in which a vCPU starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// Instruction pointer.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Guest-physical address of the root page table.
    pub cr3: u64,
    /// RDI.
    pub argument: u64,
}

/// Adds a vCPU and returns its index.
///
/// # Errors
/// What the monitor refuses.
pub fn vcpu(
    place: &impl Environment,
    domain: Name,
    exit_page: u64,
    entry: Entry,
) -> Result<u64, Refusal> {
    let rest = [exit_page, entry.rip, entry.rsp, entry.cr3, entry.argument];
    let request = Request::new(Call::Vcpu, domain.arguments(rest));
    patiently(place, request).map(|results| results[0])
}

/// A range of the caller's memory, and where and how a domain gets it.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// Virtual address of the caller, or offset in the region that is derived from.
    pub from: u64,
    /// Bytes.
    pub size: u64,
    /// Guest-physical address in the domain.
    pub place: u64,
    /// Rights and attributes.
    pub attributes: Attributes,
}

impl Placement {
    fn rest(self) -> [u64; 5] {
        [self.from, self.size, self.place, self.attributes.word(), 0]
    }
}

/// Carves `what` for the domain.
///
/// # Errors
/// What the monitor refuses.
pub fn carve(
    place: &impl Environment,
    domain: Name,
    what: Placement,
) -> Result<RegionName, Refusal> {
    region(place, Call::Carve, domain.arguments(what.rest()))
}

/// Shares `what` with the domain.
///
/// # Errors
/// What the monitor refuses.
pub fn share(
    place: &impl Environment,
    domain: Name,
    what: Placement,
) -> Result<RegionName, Refusal> {
    region(place, Call::Share, domain.arguments(what.rest()))
}

/// Shares `what`, a part of `source`, with the domain.
///
/// # Errors
/// What the monitor refuses.
pub fn derive(
    place: &impl Environment,
    domain: Name,
    source: RegionName,
    what: Placement,
) -> Result<RegionName, Refusal> {
    let rest = [
        source.0,
        what.from,
        what.size,
        what.place,
        what.attributes.word(),
    ];
    region(place, Call::Derive, domain.arguments(rest))
}

fn region(
    place: &impl Environment,
    call: Call,
    arguments: [u64; 8],
) -> Result<RegionName, Refusal> {
    patiently(place, Request::new(call, arguments)).map(|results| RegionName(results[0]))
}

/// Moves a region that belongs to nobody to the domain with the control page `target`.
///
/// # Errors
/// What the monitor refuses.
pub fn grant(
    place: &impl Environment,
    claim: Name,
    source: RegionName,
    target: u64,
    at: u64,
) -> Result<RegionName, Refusal> {
    region(
        place,
        Call::Grant,
        claim.arguments([source.0, target, at, 0, 0]),
    )
}

/// What an offer is expected to be, and where it shall appear.
#[derive(Clone, Copy, Debug)]
pub struct Acceptance {
    /// Guest-physical address in the accepting domain.
    pub place: u64,
    /// Bytes expected.
    pub size: u64,
    /// Rights and attributes expected.
    pub attributes: Attributes,
}

/// Accepts an offer: for the calling domain itself where `domain` is `None`.
///
/// # Errors
/// What the monitor refuses.
pub fn accept(
    place: &impl Environment,
    domain: Option<Name>,
    offer: RegionName,
    expected: Acceptance,
) -> Result<(), Refusal> {
    let name = domain.unwrap_or(Name::NONE);
    let rest = [
        offer.0,
        expected.place,
        expected.size,
        expected.attributes.word(),
        0,
    ];
    patiently(place, Request::new(Call::Accept, name.arguments(rest))).map(drop)
}

/// Closes a region: nothing can be derived from it any more.
///
/// # Errors
/// What the monitor refuses.
pub fn close(place: &impl Environment, claim: Name, region: RegionName) -> Result<(), Refusal> {
    let request = Request::new(Call::Close, claim.arguments([region.0, 0, 0, 0, 0]));
    patiently(place, request).map(drop)
}

/// Revokes a region and all that was derived from it.
///
/// # Errors
/// What the monitor refuses.
pub fn revoke(place: &impl Environment, claim: Name, region: RegionName) -> Result<(), Refusal> {
    let request = Request::new(Call::Revoke, claim.arguments([region.0, 0, 0, 0, 0]));
    patiently(place, request).map(drop)
}

/// Seals a domain.
///
/// # Errors
/// What the monitor refuses.
pub fn seal(place: &impl Environment, domain: Name) -> Result<(), Refusal> {
    patiently(place, Request::new(Call::Seal, domain.arguments([0; 5]))).map(drop)
}

/// Destroys a domain.
///
/// # Errors
/// What the monitor refuses.
pub fn destroy(place: &impl Environment, domain: Name) -> Result<(), Refusal> {
    patiently(place, Request::new(Call::Destroy, domain.arguments([0; 5]))).map(drop)
}

/// The registers of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Entering {
    /// Index of the vCPU.
    pub vcpu: u64,
    /// Number of the exit that this entry answers.
    pub sequence: u64,
    /// Running time in TSC ticks, 0 for no limit.
    pub limit: u64,
    /// Chosen anew for every entry.
    pub token: u64,
}

impl Entering {
    /// The call, whole. Kept apart so that the hot path compiles to loads of registers.
    #[inline(always)]
    #[must_use]
    pub fn request(self, domain: Name) -> Request {
        let [low, high] = domain.key.0;
        let arguments = [
            domain.address,
            low,
            high,
            self.vcpu,
            self.sequence,
            self.limit,
            0,
            0,
        ];
        Request {
            call: Call::Enter,
            arguments,
            token: self.token,
        }
    }
}

/// Ends an entry whose caller is gone, and returns the number of the last exit.
///
/// # Errors
/// What the monitor refuses.
pub fn abandon(place: &impl Environment, domain: Name, vcpu: u64) -> Result<u64, Refusal> {
    let request = Request::new(Call::Abandon, domain.arguments([vcpu, 0, 0, 0, 0]));
    once(place, request).map(|results| results[0])
}

/// Finishes the unfinished call of a claim, whose caller is gone.
///
/// # Errors
/// What the monitor refuses.
pub fn finish(place: &impl Environment, claim: Name) -> Result<(), Refusal> {
    abandon(place, claim, CLAIM_OPERATION).map(drop)
}

/// Four random words.
///
/// # Errors
/// What the monitor refuses.
pub fn random(place: &impl Environment) -> Result<[u64; 4], Refusal> {
    let results = once(place, Request::new(Call::Random, []))?;
    Ok([results[0], results[1], results[2], results[3]])
}

/// Has the TPM make a statement about this boot. The page at `page` holds a nonce, and then the statement:
/// [`adyton_abi::quote::QuotePage`].
///
/// # Errors
/// What the monitor refuses.
pub fn quote(place: &impl Environment, page: u64) -> Result<(), Refusal> {
    let request = Request::new(Call::Quote, [page]).with_token(place.entropy());
    once(place, request).map(|_| ())
}

/// Copies what of the boot's event log begins at `offset` to the page at `page`. Returns the log's size and how many bytes
/// were copied.
///
/// # Errors
/// What the monitor refuses.
pub fn event_log(place: &impl Environment, page: u64, offset: u64) -> Result<[u64; 2], Refusal> {
    let results = once(place, Request::new(Call::EventLog, [page, offset]))?;
    Ok([results[0], results[1]])
}

/// Has evidence written into `size` bytes at `address`, which begin with a [`Question`](adyton_abi::evidence::Question): about the caller's own domain,
/// or about one that it commands. Returns where in them it begins, and its bytes.
///
/// # Errors
/// What the monitor refuses.
pub fn evidence(
    place: &impl Environment,
    domain: Option<Name>,
    address: u64,
    size: u64,
) -> Result<[u64; 2], Refusal> {
    let name = domain.unwrap_or(Name::NONE);
    let rest = [address, size, 0, 0, 0];
    let results = patiently(place, Request::new(Call::Evidence, name.arguments(rest)))?;
    Ok([results[0], results[1]])
}

/// Has evidence about an enclave written into `size` bytes at `address`, which begin with a [`Question`](adyton_abi::enclave::Question). Returns
/// where in them it begins, and its bytes.
///
/// # Errors
/// What the monitor refuses; `Forged` where the REPORT was not made for it, here and since it was booted.
pub fn enclave_evidence(
    place: &impl Environment,
    address: u64,
    size: u64,
) -> Result<[u64; 2], Refusal> {
    let results = patiently(place, Request::new(Call::EnclaveEvidence, [address, size]))?;
    Ok([results[0], results[1]])
}

/// Derives a sealing key of the calling domain. `signature` is the page-aligned address of the structure that says whose the domain
/// is, or 0.
///
/// # Errors
/// What the monitor refuses.
pub fn key(
    place: &impl Environment,
    binding: Binding,
    version: u64,
    signature: u64,
    label: [u64; 4],
) -> Result<[u64; 4], Refusal> {
    let [a, b, c, d] = label;
    let arguments = [binding as u64, version, signature, a, b, c, d];
    let [a, b, c, d, ..] = once(place, Request::new(Call::Key, arguments))?;
    Ok([a, b, c, d])
}

/// Does something with a monotonic counter: the caller's own, or that of the domain that the caller names.
///
/// # Errors
/// What the monitor refuses.
pub fn counter(
    place: &impl Environment,
    domain: Option<Name>,
    operation: Operation,
    selector: u64,
) -> Result<[u64; 8], Refusal> {
    let name = domain.unwrap_or(Name::NONE);
    let arguments = name.arguments([operation as u64, selector, 0, 0, 0]);
    let request = Request::new(Call::Counter, arguments);
    once(place, request.with_token(place.entropy()))
}

/// A step of the machine's enrolment, with the page at `page`: [`adyton_abi::enrolment::EnrolmentPage`].
///
/// # Errors
/// What the monitor refuses.
pub fn enrol(place: &impl Environment, page: u64, step: Step, offset: u64) -> Result<(), Refusal> {
    let request = Request::new(Call::Enrol, [page, step as u64, offset]);
    once(place, request.with_token(place.entropy())).map(drop)
}

/// Seven words of a `debug` domain's memory from guest-physical `address` on.
///
/// # Errors
/// What the monitor refuses.
pub fn debug_read(
    place: &impl Environment,
    domain: Name,
    address: u64,
) -> Result<[u64; 7], Refusal> {
    let request = Request::new(Call::DebugRead, domain.arguments([address, 0, 0, 0, 0]));
    let [a, b, c, d, e, f, g, _] = once(place, request)?;
    Ok([a, b, c, d, e, f, g])
}

/// Gives the domain the right to be entered on the cores `first .. first + count`.
///
/// # Errors
/// What the monitor refuses.
pub fn cores(
    place: &impl Environment,
    domain: Name,
    first: u64,
    count: u64,
) -> Result<RegionName, Refusal> {
    region(
        place,
        Call::Cores,
        domain.arguments([first, count, 0, 0, 0]),
    )
}
