//! Monotonic counters: `counter`.
//!
//! A domain reads its own and counts it up; domain 0 hands counters out and takes them back, so that nobody else can use up what the TPM has room
//! for. Each takes commands of the TPM's, which the desk gives in slices.

use adyton_abi::counter::{Operation, Place};
use adyton_abi::error::Error;
use adyton_abi::key::Binding;
use adyton_secrets::derivation::{self, class, holder};
use adyton_secrets::{Hash, words};

use super::{Request, Results, errand, keys, naming};
use crate::attestation::counters::{Errand, NoPlace, SLOTS, Slot, Wish};
use crate::attestation::{self, platform_key};
use crate::domain::context::Context;
use crate::domain::engine;
use crate::domain::name::Refusal;
use crate::iommu;
use crate::tpm::storage;
use crate::vcpu::Owner;

/// `counter(name or 0, key or 0, operation, selector; token)`.
pub(super) fn counter(request: &Request<'_>) -> Result<Results, Refusal> {
    request.require_token()?;
    if !platform_key::is_there() {
        return Err(Error::Unmeasured.into());
    }
    let [_, _, _, operation, selector, ..] = request.arguments;
    let operation = Operation::from_number(operation).ok_or(Error::Invalid)?;
    let is_for_domains = matches!(operation, Operation::Read | Operation::Increment);
    if is_for_domains == (request.caller.owner() == Owner::Domain0) {
        return Err(Error::Policy.into());
    }
    match operation {
        Operation::Look => look(selector),
        Operation::Read => own(request, Wish::Read),
        Operation::Increment => own(request, Wish::Increment),
        Operation::Create => {
            let holder = named(request)?;
            carry_out(request, || {
                let slots = SLOTS.lock();
                if slots.of(&holder).is_some() {
                    return Err(Error::Occupied);
                }
                let number = slots.vacancy().map_err(|why| match why {
                    NoPlace::Full => Error::Exhausted,
                    NoPlace::Foreign => Error::WrongState,
                })?;
                about(Wish::Create, number, holder)
            })
        }
        Operation::Destroy => carry_out(request, || {
            match SLOTS.lock().get(selector).ok_or(Error::Invalid)? {
                Slot::Free => Err(Error::NotFound),
                Slot::Held(_) | Slot::Foreign => {
                    about(Wish::Destroy, selector as u32, Hash::default())
                }
            }
        }),
    }
}

fn look(selector: u64) -> Result<Results, Refusal> {
    let slot = SLOTS.lock().get(selector).ok_or(Error::Invalid)?;
    let (place, holder) = match slot {
        Slot::Free => (Place::Free, Hash::default()),
        Slot::Held(holder) => (Place::Held, holder),
        Slot::Foreign => (Place::Foreign, Hash::default()),
    };
    let [a, b, c, d] = words(&holder);
    Ok(Results::of(&[place as u64, a, b, c, d]))
}

/// Reads or counts the caller's own.
fn own(request: &Request<'_>, wish: Wish) -> Result<Results, Refusal> {
    let holder = holder_of(request, request.caller.seat.context())?;
    carry_out(request, || {
        let number = SLOTS.lock().of(&holder).ok_or(Error::NoCounter)?;
        about(wish, number, holder)
    })
}

fn about(wish: Wish, number: u32, holder: Hash) -> Result<Errand, Error> {
    let errand = platform_key::with(|platform| Errand::new(wish, number, holder, platform));
    errand.ok_or(Error::Unmeasured)
}

/// The holder that the domain is which the caller names, and commands.
fn named(request: &Request<'_>) -> Result<Hash, Refusal> {
    let page = naming::page(request)?;
    let engine = engine::lock();
    let (_, context) = naming::domain(&engine, request, page)?;
    let is_sealed = engine.is_sealed(context.id);
    drop(engine);
    if !is_sealed {
        return Err(Error::WrongState.into());
    }
    Ok(holder_of(request, context)?)
}

/// Whose counter is meant: the domain's by its measurement, or by the signer that it has shown.
fn holder_of(request: &Request<'_>, context: &Context) -> Result<Hash, Error> {
    let binding = Binding::from_number(request.arguments[4]).ok_or(Error::Invalid)?;
    let binding = match binding {
        Binding::Measurement => derivation::Binding::Measurement(keys::measurement(context.id)?),
        Binding::Signer => {
            let identity = context.signer.try_get().ok_or(Error::Signature)?;
            derivation::Binding::Signer {
                signer: identity.signer,
                product: identity.product,
                version: identity.version,
            }
        }
    };
    let class = class(context.policy.flags, iommu::is_active());
    Ok(holder(class, binding))
}

/// A slice of what the TPM does: the value, when it is there.
fn carry_out(
    request: &Request<'_>,
    make: impl FnOnce() -> Result<Errand, Error>,
) -> Result<Results, Refusal> {
    let answer = errand::carry_out(request, || {
        Ok(attestation::errand::Errand::Counter(make()?))
    })?;
    // What was deleted has no value.
    let value = storage::count(&answer);
    Ok(value.map_or_else(|_| Results::default(), |value| Results::of(&[value])))
}
