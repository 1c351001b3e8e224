//! From what a caller says to what it means: the naming triple, the mode, the policy, and the answer to a refusal.

use core::sync::atomic::AtomicU64;

use adyton_abi::error::Error;
use adyton_abi::policy::Flags;
use adyton_x86::flags;

use super::context::Context;
use super::directory::{DIRECTORY, Directory};
use super::memory::CallerMemory;
use super::trail::Recorder;
use crate::address::{GuestPhysical, GuestVirtual, HostPhysical};
use crate::guest::walk::{Access, Fault, GuestMemory, Kind};
use crate::vcpu::{Owner, Register, Vcpu};

/// Bytes of VMMCALL and of VMCALL.
pub const CALL_LENGTH: u64 = 3;

/// Why a call does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It ends with this error.
    Error(Error),
    /// The caller takes this fault at the calling instruction, and may call again.
    Fault(Fault),
    /// It is not finished: the caller stays at the calling instruction.
    Again,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Refusal {
    /// Tells the caller.
    #[cold]
    pub fn answer(self, caller: &mut Vcpu) {
        match self {
            Self::Error(error) => complete(caller, error as u64),
            Self::Fault(Fault::Page(fault)) => {
                caller.inject_page_fault(fault.address.value(), fault.error_code);
            }
            Self::Fault(Fault::NotCanonical) => caller.inject_general_protection(),
            // Its own page tables lie where it may not read: no fault of an instruction says that better.
            Self::Fault(Fault::Table { .. }) => complete(caller, Error::NotPool as u64),
            Self::Fault(Fault::Contended) | Self::Again => {}
        }
    }
}

/// Ends a call of 64-bit code with `status`: the caller goes on behind it, or into its single-step handler.
#[inline]
pub fn complete(caller: &mut Vcpu, status: u64) {
    caller.set_rax(status);
    caller.advance_to(caller.rip().wrapping_add(CALL_LENGTH));
    if caller.rflags() & flags::TRAP != 0 {
        caller.inject_single_step();
    }
}

/// Whether the caller's policy allows what needs `flags`. Domain 0 may do everything.
///
/// # Errors
/// `Policy`.
#[inline]
pub fn require(caller: &Vcpu, flags: Flags) -> Result<(), Error> {
    if caller.owner() == Owner::Domain0 || caller.seat.context().policy.flags.contains(flags) {
        Ok(())
    } else {
        Err(Error::Policy)
    }
}

/// The page behind a virtual address of the caller that it may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Guest-physical address.
    pub place: GuestPhysical,
    /// Size of the caller's page.
    pub page_size: u64,
}

/// Walks the caller's page tables to a byte that it may write. Whether its nested rights reach that is another question: it may be
/// carved away at present.
///
/// # Errors
/// The fault that a store would raise.
pub fn walk(caller: &Vcpu, address: u64) -> Result<Place, Refusal> {
    walk_in(caller, address, &CallerMemory::new(caller))
}

fn walk_in(caller: &Vcpu, address: u64, memory: &impl GuestMemory) -> Result<Place, Refusal> {
    let access = Access {
        kind: Kind::Write,
        user: caller.cpl() == 3,
        alignment_check: caller.rflags() & flags::ALIGNMENT_CHECK != 0,
    };
    let regime = caller.regime().ok_or(Error::Unsupported)?;
    let found = regime.translate(memory, GuestVirtual(address), access)?;
    Ok(Place {
        place: found.address,
        page_size: found.page_size,
    })
}

/// Where a guest-physical address of the caller is, if the caller may write there and it is pool.
#[inline]
fn resolve(caller: &Vcpu, place: GuestPhysical) -> Option<HostPhysical> {
    if caller.owner() == Owner::Domain0 {
        // One to one. That domain 0 reaches it is what a pinned page says ([`domain`]) or the engine ([`claim`]).
        let base = HostPhysical(place.value());
        return DIRECTORY
            .get()
            .pool()
            .contains(base.value())
            .then_some(base);
    }
    CallerMemory::new(caller).writable(place)
}

/// The directory's word for the page behind `address`, found by a walk that is recorded.
#[cold]
#[inline(never)]
fn directory_word(
    caller: &Vcpu,
    address: u64,
    generation: u64,
) -> Result<&'static AtomicU64, Refusal> {
    let recorder = Recorder::new(CallerMemory::new(caller));
    let found = walk_in(caller, address, &recorder)?;
    let base = resolve(caller, found.place).ok_or(Error::NotPool)?;
    let word = DIRECTORY.get().word(base).ok_or(Error::NotFound)?;
    let trail = caller.seat.trails.of(address);
    trail.record(caller, address, generation, &recorder, word);
    Ok(word)
}

/// The domain that the naming triple in RDI, RSI, RDX means.
///
/// # Errors
/// The fault that a store would raise; `NotPool`; `NotFound` if the page is not the control page of a domain of the caller's; `BadKey`.
pub fn domain(caller: &Vcpu) -> Result<&'static Context, Refusal> {
    let address = caller.register(Register::Rdi);
    // Before the walk: what it finds is good for this generation.
    let own = caller.seat.context();
    let generation = own.generation.current();
    let trail = caller.seat.trails.of(address);
    let word = match trail.follow(caller, address, generation) {
        Some(word) => word,
        None => directory_word(caller, address, generation)?,
    };
    Ok(commanded(caller, own, word)?)
}

/// As [`domain`] where a trail leads there and all is well. Touches nothing, so the other can be asked after all.
#[inline]
pub fn domain_by_trail(caller: &Vcpu) -> Option<&'static Context> {
    let address = caller.register(Register::Rdi);
    let own = caller.seat.context();
    let generation = own.generation.current();
    let trail = caller.seat.trails.of(address);
    commanded(caller, own, trail.follow(caller, address, generation)?).ok()
}

/// The domain in this word of the directory, if the caller, of domain `own`, may command it.
#[inline]
fn commanded(caller: &Vcpu, own: &Context, word: &AtomicU64) -> Result<&'static Context, Error> {
    let context = Directory::domain_in(word).ok_or(Error::NotFound)?;
    // A control page is pinned in the space of the domain that made the claim, so that one reaches it; and it may
    // stand in memory that others reach too, who may not command it.
    if context.owner != own.id {
        return Err(Error::NotFound);
    }
    let key = [
        caller.register(Register::Rsi),
        caller.register(Register::Rdx),
    ];
    let difference = (context.key[0] ^ key[0]) | (context.key[1] ^ key[1]);
    if difference != 0 {
        return Err(Error::BadKey);
    }
    Ok(context)
}
