//! Monotonic counters: `counter`.
//!
//! A domain reads its own and counts it up; domain 0 hands counters out and takes them back, so that nobody else can use up what the TPM has room
//! for. Each takes commands of the TPM's, which the desk gives in slices.

use adyton_abi::counter::{Operation, Place};
use adyton_abi::error::Error;
use adyton_abi::key::Binding;
use adyton_abi::record::DomainState;
use adyton_secrets::derivation::{self, class, holder};
use adyton_secrets::{Hash, hash};

use super::{Request, Results, keys, naming};
use crate::attestation::counters::{Errand, NoPlace, SLOTS, Slot, Wish};
use crate::attestation::errand;
use crate::attestation::quote::{Asker, QuoteInput};
use crate::attestation::{self, platform_key};
use crate::domain::context::{Context, Standing};
use crate::domain::engine;
use crate::domain::name::Refusal;
use crate::tpm::command::AnswerError;
use crate::tpm::device::TpmError;
use crate::tpm::storage;
use crate::vcpu::Owner;
use crate::{iommu, log};

/// Why the TPM was not asked, or gave no answer.
enum Failure {
    Refused(Error),
    Tpm(TpmError),
}

impl From<TpmError> for Failure {
    fn from(error: TpmError) -> Self {
        Self::Tpm(error)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => error.into(),
            Failure::Tpm(TpmError::Answer(AnswerError::Code(storage::NO_ROOM))) => {
                Error::Exhausted.into()
            }
            Failure::Tpm(reason) => {
                log!("the TPM has not counted: {reason:x?}");
                Error::Tpm.into()
            }
        }
    }
}

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
                errand(Wish::Create, number, holder)
            })
        }
        Operation::Destroy => carry_out(request, || {
            match SLOTS.lock().get(selector).ok_or(Error::Invalid)? {
                Slot::Free => Err(Error::NotFound),
                Slot::Held(_) | Slot::Foreign => {
                    errand(Wish::Destroy, selector as u32, Hash::default())
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
    let mut words = [place as u64, 0, 0, 0, 0];
    for (word, bytes) in words.iter_mut().skip(1).zip(holder.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    Ok(Results::of(&words))
}

/// Reads or counts the caller's own.
fn own(request: &Request<'_>, wish: Wish) -> Result<Results, Refusal> {
    let holder = holder_of(request, request.caller.seat.context())?;
    carry_out(request, || {
        let number = SLOTS.lock().of(&holder).ok_or(Error::NoCounter)?;
        errand(wish, number, holder)
    })
}

fn errand(wish: Wish, number: u32, holder: Hash) -> Result<Errand, Error> {
    let errand = platform_key::with(|platform| Errand::new(wish, number, holder, platform));
    errand.ok_or(Error::Unmeasured)
}

/// The holder that the domain is which the caller names, and commands.
fn named(request: &Request<'_>) -> Result<Hash, Refusal> {
    let page = naming::page(request)?;
    let engine = engine::lock();
    let (_, context) = naming::domain(&engine, request, page)?;
    let facts = engine.domain_facts(context.id).ok_or(Error::Dead)?;
    drop(engine);
    if facts.state != DomainState::Sealed {
        return Err(Error::WrongState.into());
    }
    Ok(holder_of(request, context)?)
}

/// Whose counter is meant: the domain's by its measurement, or by the signer that it has shown.
fn holder_of(request: &Request<'_>, context: &Context) -> Result<Hash, Error> {
    let binding = Binding::from_number(request.arguments[4]).ok_or(Error::Invalid)?;
    let binding = match (binding, &*context.standing.lock()) {
        (Binding::Measurement, _) => {
            derivation::Binding::Measurement(keys::measurement(context.id)?)
        }
        (Binding::Signer, Standing::Known(identity)) => derivation::Binding::Signer {
            signer: identity.signer,
            product: identity.product,
            version: identity.version,
        },
        (Binding::Signer, _) => return Err(Error::Signature),
    };
    let class = class(context.policy.flags, iommu::is_active());
    Ok(holder(class, binding))
}

/// A slice of what the TPM does: the value, when it is there.
fn carry_out(
    request: &Request<'_>,
    errand: impl FnOnce() -> Result<Errand, Error>,
) -> Result<Results, Refusal> {
    let platform = attestation::platform().ok_or(Error::Unmeasured)?;
    let identity = request.identity().map(u64::to_le_bytes);
    let asker = Asker {
        domain: naming::caller(request),
        token: request.token,
        input: QuoteInput(hash(&[identity.as_flattened()])),
    };
    let outcome = platform.desk.lock().carry_out(asker, || {
        let errand = errand().map_err(Failure::Refused)?;
        Ok::<_, Failure>(errand::Errand::Counter(errand))
    });
    let answer = outcome?.ok_or(Refusal::Again)?;
    // What was deleted has no value.
    let value = storage::count(&answer);
    Ok(value.map_or_else(|_| Results::default(), |value| Results::of(&[value])))
}
